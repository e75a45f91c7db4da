"""The whole path of ``trimtab run`` on a tiny random model and a small bazaar."""

import io
import json
from collections import Counter

import pytest
import torch
from rich.console import Console
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

from trimtab.envs.bazaar import generate_bazaar
from trimtab.envs.personalwab import save_world
from trimtab.errors import TrimtabError
from trimtab.eval.command import pick_tasks, run_command
from trimtab.steering import SteeredModel

TEMPLATE = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A cache folder, a world and a model that all tests here share."""
    folder = tmp_path_factory.mktemp("run")
    save_world(generate_bazaar(users=3, products=100), folder / "world")
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    inner = Tokenizer(models.BPE(vocab={c: n for n, c in enumerate(alphabet)}, merges=[]))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    inner.add_special_tokens(["<|endoftext|>", "<|im_start|>", "<|im_end|>"])
    inner.add_tokens([AddedToken("<tool_call>"), AddedToken("</tool_call>")])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=inner, eos_token="<|im_end|>", pad_token="<|endoftext|>"
    )
    tokenizer.chat_template = TEMPLATE
    torch.manual_seed(0)
    model = Qwen2ForCausalLM(
        Qwen2Config(
            vocab_size=len(tokenizer),
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=4,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=16384,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
            initializer_range=0.3,
        )
    )
    model.save_pretrained(folder / "model")
    tokenizer.save_pretrained(folder / "model")
    return folder


@pytest.fixture
def run(folders, monkeypatch):
    """Run the command and give back what it printed."""
    monkeypatch.setenv("TRIMTAB_HOME", str(folders / "home"))

    def run(**arguments):
        console = Console(file=io.StringIO(), width=100)
        defaults = {"model": str(folders / "model"), "world": str(folders / "world")}
        try:
            run_command(**{**defaults, "episodes": 3, "console": console, **arguments})
        finally:
            run.printed = console.file.getvalue()
        return run.printed

    return run


def test_a_run_prints_its_tables_keeps_its_results_and_is_not_played_twice(
    run, tmp_path, monkeypatch
):
    text = run(out=tmp_path / "out", show=True)
    assert "function accuracy" in text and "steered minus" in text
    assert "12 of 12 episodes" in text
    assert text.count("request") >= 12 and "picked" in text
    records = [json.loads(line) for line in (tmp_path / "out/results.jsonl").open()]
    assert len(records) == 12
    for record in records:
        assert not record["error"]
        assert record["episode"]["outcome"] == "done"  # constrained: always a valid call
        picked = record["episode"]["steps"][0]["picked"]
        assert bool(picked) == (record["arm"] in ("steered", "steered-by-other"))

    monkeypatch.setattr(SteeredModel, "generate", None)  # neither episodes nor dictionaries
    again = run(out=tmp_path / "out")
    assert "12 of 12 episodes" in again
    assert again.split("function accuracy")[1].split("of 12")[0] in text


def test_ctrl_c_shows_what_is_finished(run, tmp_path, monkeypatch):
    run(out=tmp_path / "first")  # builds the dictionaries
    real, calls = SteeredModel.generate, []

    def interrupted(self, requests, **options):
        calls.append(len(requests))
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(self, requests, **options)

    monkeypatch.setattr(SteeredModel, "generate", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(out=tmp_path / "out", max_live=4)
    assert "4 of 12 episodes" in run.printed
    assert "function accuracy" in run.printed
    assert len((tmp_path / "out/results.jsonl").read_text().splitlines()) == 4


def test_one_users_episodes_have_a_control_too(run, folders, tmp_path):
    from trimtab.envs.personalwab import load_world

    user = load_world(folders / "world").users[1]
    run(users=[user], episodes=1, out=tmp_path / "out")
    records = [json.loads(line) for line in (tmp_path / "out/results.jsonl").open()]
    assert {record["user_id"] for record in records} == {user}
    assert len(records) == 4


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"episodes": 0}, "got 0"),
        ({"episodes": 10_000}, "got 10000"),
        ({"users": ["nobody"]}, "no user 'nobody'"),
        ({"world": "/no/such/world"}, "/no/such/world"),
        ({"settings": "/no/such.toml"}, "/no/such.toml"),
        ({"dictionaries": "/no/such/folder"}, "no folder of dictionaries"),
        ({"model": "/no/such/model"}, "/no/such/model"),
        ({"max_live": 0}, "max_live"),
    ],
)
def test_bad_input_is_refused_in_one_line(run, tmp_path, arguments, said):
    from pathlib import Path

    paths = {k: Path(v) for k, v in arguments.items() if k in ("settings", "dictionaries")}
    with pytest.raises(TrimtabError, match=said) as refused:
        run(out=tmp_path / "out", **{**arguments, **paths})
    assert "\n" not in str(refused.value)


def test_dictionaries_of_another_model_are_refused(run, folders, tmp_path):
    from trimtab.envs.personalwab import load_world
    from trimtab.steering import SteeringDictionary

    run(out=tmp_path / "out")
    user = load_world(folders / "world").users[0]
    kept = next((folders / "home/dictionaries").glob("*.safetensors"))
    foreign = SteeringDictionary.load(kept)
    foreign.fingerprint = "another"
    foreign.save(tmp_path / "given" / f"{user}.safetensors")
    with pytest.raises(TrimtabError, match="another model"):
        run(dictionaries=tmp_path / "given", out=tmp_path / "out2")
    (tmp_path / "empty").mkdir()
    with pytest.raises(TrimtabError, match="none of the users"):
        run(dictionaries=tmp_path / "empty", out=tmp_path / "out3")


def test_picked_tasks_are_those_of_the_users_asked_for():
    world = generate_bazaar(users=4, products=100)
    user = world.users[2]
    tasks = pick_tasks(world, 3, 0, [user])
    assert [task.user_id for task in tasks] == [user] * 3
    assert len(pick_tasks(world, 8, 0)) == 8
    assert pick_tasks(world, 8, 0) != pick_tasks(world, 8, 1)
    with pytest.raises(TrimtabError, match="test tasks of"):
        pick_tasks(world, 500, 0, [user])


def test_tasks_are_spread_over_as_few_users_as_asked_or_as_it_takes():
    world = generate_bazaar(users=6, products=100)
    few = pick_tasks(world, 8, 0, spread=2)
    assert sorted(Counter(task.user_id for task in few).values()) == [4, 4]
    assert few[:2] == pick_tasks(world, 2, 0)
    users = {task.user_id for task in pick_tasks(world, 30, 0, spread=2)}
    assert 30 / 8 <= len(users) < 6
