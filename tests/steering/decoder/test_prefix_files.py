"""What is kept of prompts for the next process: when it is read, and that it changes no answer."""

import copy
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from trimtab.steering import (
    Completion,
    Point,
    Request,
    SteeredModel,
    Steering,
    SteeringVectors,
)
from trimtab.steering.decoder.prefix import Prefix
from trimtab.steering.decoder.prefix_files import PrefixFiles
from trimtab.steering.decoder.prefixes import Prefixes

INSTRUCTIONS = [7 + n % 40 for n in range(80)]
SECRET = 99


def asked(steering: Steering | None = None, said: str = f"w{SECRET} w98") -> Request:
    system = " ".join(f"w{n}" for n in INSTRUCTIONS)
    messages = [{"role": "system", "content": system}, {"role": "user", "content": said}]
    return Request(messages, steering=steering)


def process(
    hf: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, folder: Path | None
) -> SteeredModel:
    """A model as a process has it that has answered nothing yet."""
    return SteeredModel(hf, tokenizer, prefix_folder=folder)


@contextmanager
def tokens_run(model: SteeredModel) -> Iterator[list[int]]:
    """How many tokens each forward pass runs."""
    passes: list[int] = []
    handle = model.parts.decoder.register_forward_pre_hook(
        lambda module, args, kwargs: passes.append(kwargs["input_ids"].numel()), with_kwargs=True
    )
    try:
        yield passes
    finally:
        handle.remove()


def answered(model: SteeredModel, *requests: Request) -> list[Completion]:
    return model.generate(requests or [asked()], max_new_tokens=6)


def test_the_next_process_runs_what_is_new_alone_and_answers_alike(
    any_family: PreTrainedModel, tiny_tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    [plain] = answered(process(any_family, tiny_tokenizer, None))
    [first] = answered(process(any_family, tiny_tokenizer, tmp_path))
    assert len(list(tmp_path.iterdir())) == 1
    next_one = process(any_family, tiny_tokenizer, tmp_path)
    with tokens_run(next_one) as passes:
        [second] = answered(next_one)
    assert first.tokens == second.tokens == plain.tokens
    assert passes[0] == first.prompt_tokens - len(INSTRUCTIONS) - 3  # "system:", its end, "user:"


def test_several_rows_begin_from_the_file_and_write_it(
    llama: PreTrainedModel, tiny_tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    rows = [asked(said=f"w{n} w{n + 1} w{n + 2}") for n in (90, 91, 95)]
    plain = answered(process(llama, tiny_tokenizer, None), *rows)
    assert answered(process(llama, tiny_tokenizer, tmp_path), *rows) == plain
    next_one = process(llama, tiny_tokenizer, tmp_path)
    with tokens_run(next_one) as passes:
        assert answered(next_one, *rows) == plain
    assert passes[0] < len(INSTRUCTIONS)


def test_nothing_that_a_user_said_is_kept_and_nobody_else_reads_it(
    llama: PreTrainedModel, tiny_tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    model = process(llama, tiny_tokenizer, tmp_path)
    answered(model)
    answered(model, asked(said=f"w{SECRET}"))
    [file] = tmp_path.iterdir()
    kept = load_file(file)
    assert SECRET not in kept["tokens"].tolist()
    assert kept["keys.0"].shape[2] == len(kept["tokens"])
    assert file.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("positions", ["all", "prompt", "answer"])
def test_what_steering_touches_is_neither_kept_nor_read(
    llama: PreTrainedModel,
    tiny_tokenizer: PreTrainedTokenizerFast,
    tmp_path: Path,
    positions: str,
) -> None:
    vectors = SteeringVectors({Point(1, "mlp"): torch.ones(32)})
    request = asked(Steering(vectors, strength=2.0, positions=positions))  # type: ignore[arg-type]
    plain = answered(process(llama, tiny_tokenizer, None), request)
    assert answered(process(llama, tiny_tokenizer, tmp_path), request) == plain
    assert len(list(tmp_path.iterdir())) == (positions == "answer")
    answered(process(llama, tiny_tokenizer, tmp_path))  # unsteered: now there is a file
    assert answered(process(llama, tiny_tokenizer, tmp_path), request) == plain


def edited(hf: PreTrainedModel) -> PreTrainedModel:
    other = copy.deepcopy(hf)
    with torch.no_grad():
        other.model.layers[2].mlp.down_proj.weight[5] += 1e-3  # one row, in the middle
    return other


@pytest.mark.parametrize(
    "change", [edited, lambda hf: copy.deepcopy(hf).double(), lambda hf: eager(hf)]
)
def test_another_model_reads_none_of_it(
    llama: PreTrainedModel,
    tiny_tokenizer: PreTrainedTokenizerFast,
    tmp_path: Path,
    change: "object",
) -> None:
    answered(process(llama, tiny_tokenizer, tmp_path))
    other = change(llama)  # type: ignore[operator]
    plain = answered(process(other, tiny_tokenizer, None))
    assert answered(process(other, tiny_tokenizer, tmp_path)) == plain
    assert len(list(tmp_path.iterdir())) == 2


def eager(hf: PreTrainedModel) -> PreTrainedModel:
    other = copy.deepcopy(hf)
    other.set_attn_implementation("eager")
    return other


def cut(content: bytes) -> bytes:
    return content[: len(content) // 2]


def flipped(content: bytes) -> bytes:
    return content[:-9] + bytes([content[-9] ^ 1]) + content[-8:]


@pytest.mark.parametrize("damage", [cut, flipped, lambda content: b"", lambda content: b"x" * 99])
def test_a_damaged_file_is_told_of_and_made_again(
    llama: PreTrainedModel,
    tiny_tokenizer: PreTrainedTokenizerFast,
    tmp_path: Path,
    damage: "object",
    caplog: pytest.LogCaptureFixture,
) -> None:
    plain = answered(process(llama, tiny_tokenizer, tmp_path))
    [file] = tmp_path.iterdir()
    whole = file.read_bytes()
    file.write_bytes(damage(whole))  # type: ignore[operator]
    with caplog.at_level(logging.WARNING):
        assert answered(process(llama, tiny_tokenizer, tmp_path)) == plain
    assert str(file) in caplog.text
    assert load_file(file)["keys.3"].equal(load_file_bytes(whole)["keys.3"])


def load_file_bytes(content: bytes) -> dict[str, torch.Tensor]:
    from safetensors.torch import load

    return load(content)


def test_a_file_of_other_tokens_is_not_used(
    llama: PreTrainedModel, tiny_tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    model = process(llama, tiny_tokenizer, tmp_path)
    answered(model)
    [file] = tmp_path.iterdir()
    answered(model, Request([{"role": "system", "content": "w9 " * 90}, *asked().messages[1:]]))
    [other] = [path for path in tmp_path.iterdir() if path != file]
    other.replace(file)
    assert answered(process(llama, tiny_tokenizer, tmp_path)) == answered(
        process(llama, tiny_tokenizer, None)
    )


def test_where_nothing_can_be_kept_answers_come_all_the_same(
    llama: PreTrainedModel,
    tiny_tokenizer: PreTrainedTokenizerFast,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    with caplog.at_level(logging.WARNING):
        model = process(llama, tiny_tokenizer, blocked)
        assert answered(model) == answered(process(llama, tiny_tokenizer, None))
        answered(model, asked(said="w50"))
    assert caplog.text.count("not kept") == 1


def test_neither_short_beginnings_nor_those_that_shall_not_be_shared_are_kept(
    llama: PreTrainedModel, tiny_tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    model = process(llama, tiny_tokenizer, tmp_path)
    answered(model, Request([{"role": "user", "content": "w20 " * 90}]))
    list(model.completions([asked()], max_new_tokens=2, share_prefix=False))
    assert not list(tmp_path.iterdir())


def test_what_was_not_used_for_longest_goes(llama: PreTrainedModel, tmp_path: Path) -> None:
    def prefix(start: int) -> Prefix:
        def states() -> torch.Tensor:
            return torch.zeros(1, 2, 64, 8)

        layers = tuple((states(), states()) for _ in range(4))
        return Prefix(tuple(range(start, start + 64)), layers)

    PrefixFiles(tmp_path, llama).keep(prefix(0))
    [first] = tmp_path.iterdir()
    files = PrefixFiles(tmp_path, llama, max_bytes=int(2.5 * first.stat().st_size))
    files.keep(prefix(1))
    for age, path in enumerate(sorted(tmp_path.iterdir(), key=lambda path: path != first)):
        os.utime(path, (age, age))
    assert files.load(prefix(0).tokens) is not None  # the first is now the one used last
    files.keep(prefix(2))
    assert files.load(prefix(1).tokens) is None
    assert files.load(prefix(0).tokens) is not None
    assert files.load(prefix(2).tokens) is not None


def test_an_adapter_puts_an_end_to_it(
    llama: PreTrainedModel, tiny_tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    from peft import LoraConfig, get_peft_model

    hf = copy.deepcopy(llama)
    model = process(hf, tiny_tokenizer, tmp_path)
    get_peft_model(hf, LoraConfig(task_type="CAUSAL_LM", target_modules=["q_proj"]))
    assert isinstance(model.prefixes, Prefixes) and model.prefixes.files is None
    answered(model)
    assert not list(tmp_path.iterdir())
