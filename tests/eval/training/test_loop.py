"""Training against plain PyTorch: full passes, ``torch.optim.AdamW``, one user at a time."""

import copy
import random
import signal
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from trimtab import TrimtabError
from trimtab.eval.training.examples import Example, TrainingBatch, steps
from trimtab.eval.training.loop import _Training, train
from trimtab.eval.training.loss import answer_nats
from trimtab.eval.training.lower_layers import (
    LastLower,
    Lower,
    changes_answers_alone,
    lowest_unchanged,
)
from trimtab.eval.training.optimiser import RowAdamW
from trimtab.eval.training.options import TrainingOptions
from trimtab.eval.training.trainable import (
    LoraStack,
    LowRankStack,
    ShiftStack,
    lora_shapes,
    orthonormal,
)
from trimtab.steering.decoder.families import parts_of
from trimtab.steering.decoder.sublayers import first_tensor
from trimtab.steering.reading.likelihood import answer_log_likelihoods
from trimtab.steering.reading.teacher_forcing import TokenizedExchange
from trimtab.steering.vectors.positions import PromptEdges
from trimtab.steering.vectors.steering import Steering

from ...forks import Forked
from .made import trained

OPTIONS = TrainingOptions(learning_rate=1e-2, batch_size=4, epochs=2, patience=0)


def low_rank(owners: int = 1, **how) -> LowRankStack:
    return LowRankStack(
        **{
            "layers": (1, 2),
            "hidden_size": 32,
            "rank": 3,
            "positions": "answer",
            "owners": owners,
            **how,
        }
    )


def by_plain_pytorch(model, examples, options, start: LowRankStack) -> dict[str, torch.Tensor]:
    """One owner: whole passes, one sample at a time, ``torch.optim.AdamW``."""
    numbers = {name: nn.Parameter(n.detach().clone()) for name, n in start.numbers.items()}
    optimiser = torch.optim.AdamW(
        numbers.values(), lr=options.learning_rate, weight_decay=options.weight_decay
    )
    blocks = [layer.block for layer in model.parts.layers]
    for epoch in range(options.epochs):
        how = {"apart": True, "seed": options.seed, "epoch": epoch, "answers_alone": True}
        for step in steps(examples, options.batch_size, **how):
            losses = []
            for example in (examples[row] for row in step):
                handles = []
                first = len(example.prompt) - 1
                for layer in start.layers:

                    def hook(module, args, output, layer=layer, first=first):
                        x = first_tensor(output)
                        free = numbers[f"{layer}.free"][0]
                        rotation = orthonormal(free)
                        weight = rotation + numbers[f"{layer}.change"][0]
                        phi = (
                            x
                            + (x @ weight.T + numbers[f"{layer}.bias"][0] - x @ rotation.T)
                            @ rotation
                        )
                        return torch.cat([x[:, :first], phi[:, first:]], dim=1)

                    handles.append(blocks[layer].register_forward_hook(hook))
                logits = model.hf(torch.tensor([example.tokens])).logits[0]
                for handle in handles:
                    handle.remove()
                start_of_answer = len(example.prompt)
                losses.append(
                    nn.functional.cross_entropy(
                        logits[start_of_answer - 1 : -1],
                        torch.tensor(example.answer),
                        reduction="none",
                    )
                )
            torch.cat(losses).mean().backward()
            nn.utils.clip_grad_norm_(numbers.values(), options.clip)
            optimiser.step()
            optimiser.zero_grad()
    return {name: n.detach() for name, n in numbers.items()}


def close(one, other, **how) -> None:
    for name, numbers in one.items():
        torch.testing.assert_close(numbers.detach(), other[name].detach(), **how)


@pytest.mark.parametrize("keep_lower", [True, False])
@pytest.mark.parametrize("tokens_at_once", [4096, 40])
def test_gives_what_plain_training_gives(language_model, examples, keep_lower, tokens_at_once):
    some = examples([11])
    expected = by_plain_pytorch(language_model, some, OPTIONS, low_rank())
    trainable = low_rank()
    train(
        language_model,
        trainable,
        some,
        OPTIONS,
        keep_lower=keep_lower,
        tokens_at_once=tokens_at_once,
    )
    close(expected, trainable.numbers, atol=1e-5, rtol=1e-4)
    assert (trainable.numbers["1.change"].abs() > 1e-3).any()


@pytest.mark.parametrize(
    ("family", "shape"),
    [
        ("Llama", {}),
        ("Gemma2", {"head_dim": 8, "sliding_window": 64}),
        ("Gemma2", {"head_dim": 8, "sliding_window": 8}),  # shorter than the rows
        ("GPT2", None),
    ],
)
@pytest.mark.parametrize("positions", ["answer", 2, "all", PromptEdges(1, 2)])
@pytest.mark.parametrize("beginning", [0, 20])
def test_what_is_kept_changes_no_number(causal, examples, family, shape, positions, beginning):
    model = causal(family, shape)
    # What all prompts begin with is run once.
    some = [
        replace(each, prompt=(*range(5, 5 + beginning), *each.prompt)) for each in examples([5])
    ]
    frozen = [[low_rank(positions=positions, layers=(2,), seed=3).stage(0)]]
    trainable = low_rank(positions=positions, layers=(1, 2))
    with torch.no_grad():
        trainable.numbers["1.change"].normal_()
    alone = changes_answers_alone(trainable, frozen)
    assert alone == (positions in ("answer", 2))
    layer = lowest_unchanged(trainable, frozen)
    assert layer == 1
    lower = Lower.keep(model, some, layer, answers_alone=alone, token_budget=60 + 3 * beginning)
    assert lower is not None
    kept = any(lower.starts)
    assert not kept or lower.starts == [len(each.prompt) - 1 for each in some]
    assert (lower._shared is not None) == (kept and beginning > 0)
    assert kept == (alone and shape != {"head_dim": 8, "sliding_window": 8})
    batch = TrainingBatch.of(some, [3, 0, 4, 1], torch.device("cpu"))
    numbers = list(trainable.numbers.values())
    found = [answer_nats(model, trainable, batch, frozen, each) for each in (None, lower)]
    torch.testing.assert_close(*found, atol=1e-5, rtol=1e-5)
    gradients = [torch.autograd.grad(each.sum(), numbers) for each in found]
    for plain, ours in zip(*gradients, strict=True):
        torch.testing.assert_close(plain, ours, atol=1e-4, rtol=1e-4)


def test_batches_hold_answers_of_alike_lengths_where_passes_hold_answers_alone():
    drawn = random.Random(0)
    some = [
        Example(0, (5,) * drawn.randint(2, 90), (6,) * drawn.randint(1, 40)) for _ in range(160)
    ]

    def padding(answers_alone: bool) -> int:
        batches = steps(some, 16, apart=False, seed=0, epoch=1, answers_alone=answers_alone)
        assert sorted(place for batch in batches for place in batch) == list(range(160))
        lengths = [[len(some[place].answer) for place in batch] for batch in batches]
        return sum(max(own) * len(own) - sum(own) for own in lengths)

    assert padding(True) < 0.2 * padding(False)


def test_a_training_on_the_same_samples_finds_the_lower_layers_run(
    language_model, examples, monkeypatch
):
    runs: list[int] = []
    keep = Lower.keep

    def counting(model, every, layer, **how):
        runs.append(layer)
        return keep(model, every, layer, **how)

    monkeypatch.setattr(Lower, "keep", counting)
    last = LastLower()

    def numbers(some, layers, last_lower):
        trainable = low_rank(owners=2, layers=layers)
        train(language_model, trainable, some, OPTIONS, last_lower=last_lower)
        return trainable.numbers

    some = examples([6])
    first = numbers(some, (1, 2), last)
    # Whose they are is all the same to what lies below.
    second = numbers([replace(each, owner=1) for each in some], (1, 2), last)
    assert runs == [1]
    for name in first:
        torch.testing.assert_close(first[name][0], second[name][1])
    close(numbers(some[:4], (1, 2), last), numbers(some[:4], (1, 2), None))
    close(numbers(some[:4], (2,), last), numbers(some[:4], (2,), None))
    assert runs == [1, 1, 1, 2, 2]


def test_many_users_in_one_batch_get_what_each_gets_alone(language_model, examples):
    some = examples([9, 1, 6])
    held = examples([2, 0, 3], seed=5)
    options = TrainingOptions(learning_rate=3e-2, batch_size=4, epochs=3)
    together = low_rank(3)
    result = train(language_model, together, some, options, held=held)
    for owner in range(3):
        alone = low_rank()
        own = [
            copy.replace(e, owner=0) if hasattr(copy, "replace") else type(e)(0, e.prompt, e.answer)
            for e in some
            if e.owner == owner
        ]
        back = [type(e)(0, e.prompt, e.answer) for e in held if e.owner == owner]
        found = train(language_model, alone, own, options, held=back)
        assert found.best[0] == result.best[owner]
        for name, numbers in alone.numbers.items():
            torch.testing.assert_close(
                numbers[0].detach(), together.numbers[name][owner].detach(), atol=2e-5, rtol=1e-3
            )


@pytest.mark.parametrize(
    "make",
    [
        lambda model: low_rank(2, positions=PromptEdges(2, 3)),
        lambda model: low_rank(2, positions="all", layers=(0, 3)),
        lambda model: ShiftStack((1, 3), 32, "answer", owners=2),
        lambda model: LoraStack(lora_shapes(model), rank=2, owners=2),
    ],
)
def test_what_was_trained_steers_as_it_was_trained(language_model, examples, make):
    """The stage that comes of it, through the injection, against the training pass."""
    trainable = make(language_model)
    some = examples([6, 6])
    train(language_model, trainable, some, OPTIONS)
    batch = TrainingBatch.of(some, range(len(some)), torch.device("cpu"))
    with torch.no_grad():
        trained = -answer_nats(language_model, trainable, batch)
        untrained = -answer_nats(language_model, None, batch)
    assert trained.sum() > untrained.sum() + 1
    stages = [trainable.stage(owner) for owner in range(2)]
    likely = answer_log_likelihoods(
        language_model,
        [TokenizedExchange(e.prompt, e.answer) for e in some],
        [Steering.by_stages([stages[e.owner]]) for e in some],
    )
    torch.testing.assert_close(likely, trained, atol=1e-4, rtol=1e-4)


def test_a_second_stage_is_trained_on_top_of_the_first(language_model, examples):
    some = examples([6, 6])
    first = low_rank()
    pooled = [type(e)(0, e.prompt, e.answer) for e in some]
    train(language_model, first, pooled, OPTIONS)
    frozen = first.stage(0)
    second = low_rank(2, layers=(2,), rank=1, seed=1)
    train(language_model, second, some, OPTIONS, before=[[frozen], [frozen]])
    batch = TrainingBatch.of(some, range(len(some)), torch.device("cpu"))
    with torch.no_grad():
        trained = -answer_nats(language_model, second, batch, [[frozen], [frozen]])
    rows = [Steering.by_stages([frozen, second.stage(e.owner)]) for e in some]
    likely = answer_log_likelihoods(
        language_model, [TokenizedExchange(e.prompt, e.answer) for e in some], rows
    )
    torch.testing.assert_close(likely, trained, atol=1e-4, rtol=1e-4)


def test_lora_trains_as_peft_does(language_model, examples):
    from peft import LoraConfig, get_peft_model

    some = examples([8])
    options = TrainingOptions(learning_rate=1e-2, batch_size=8, epochs=3, patience=0)
    trainable = LoraStack(lora_shapes(language_model), rank=2, alpha=4)
    adapted = get_peft_model(
        copy.deepcopy(language_model.hf),
        LoraConfig(r=2, lora_alpha=4, target_modules=["q_proj", "v_proj"]),
    ).eval()
    start = {}
    for layer, each in enumerate(parts_of(adapted).layers):
        for name in ("self_attn.q_proj", "self_attn.v_proj"):
            module = each.block.get_submodule(name)
            place = next(p for p in trainable.shapes if p == (layer, name))
            with torch.no_grad():
                module.lora_A["default"].weight.copy_(trainable.numbers[f"{place}.down"][0])
            start[str(place)] = module
    weights = [p for p in adapted.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(weights, lr=1e-2, weight_decay=1e-2)
    for _ in range(3):
        lost = []
        for e in some:
            logits = adapted(torch.tensor([e.tokens])).logits[0, len(e.prompt) - 1 : -1]
            lost.append(
                nn.functional.cross_entropy(logits, torch.tensor(e.answer), reduction="none")
            )
        torch.cat(lost).mean().backward()
        nn.utils.clip_grad_norm_(weights, 0.3)
        optimiser.step()
        optimiser.zero_grad()
    train(language_model, trainable, some, options)
    for place, module in start.items():
        up = module.lora_B["default"].weight
        torch.testing.assert_close(
            trainable.numbers[f"{place}.up"][0].detach(), up.detach(), atol=1e-5, rtol=1e-3
        )


def test_resumed_after_an_interruption_at_any_step_it_ends_the_same(
    language_model, examples, tmp_path: Path
):
    some, held = examples([11]), examples([3], seed=9)
    options = TrainingOptions(learning_rate=1e-2, batch_size=3, epochs=2, patience=2)
    whole = low_rank()
    expected = train(language_model, whole, some, options, held=held)

    class Killed(BaseException):
        pass

    for stop in range(1, 8):
        left = stop

        def progress(done: int, total: int) -> None:
            nonlocal left
            left -= 1
            if not left:
                raise Killed

        folder = tmp_path / str(stop)
        with pytest.raises(Killed):
            train(
                language_model, low_rank(), some, options, held=held, folder=folder,
                checkpoint_seconds=0, progress=progress,
            )  # fmt: skip
        again = low_rank()
        found = train(language_model, again, some, options, held=held, folder=folder)
        assert found.held == pytest.approx(expected.held)
        for name, numbers in whole.numbers.items():
            assert torch.equal(numbers, again.numbers[name])
        # Kept: a third call trains nothing.
        third = low_rank()
        train(language_model, third, some, options, held=held, folder=folder,
              progress=lambda *_: pytest.fail("trained again"))  # fmt: skip
        assert torch.equal(third.numbers["1.free"], again.numbers["1.free"])
        assert len(list(folder.iterdir())) == 1


def test_killed_while_it_writes_it_is_resumed_to_the_same_numbers(language_model, tmp_path: Path):
    expected, losses = trained(language_model)
    # The sixth write, in the middle of the second epoch, has no end.
    script = str(Path(__file__).with_name("made.py"))
    child = Forked(
        "import runpy; runpy.run_path(script)['train_until_killed'](folder, writes)",
        script=script,
        folder=tmp_path,
        writes=5,
    )
    assert child.ended() == -signal.SIGKILL
    counted = []
    again, told = trained(
        language_model, tmp_path, progress=lambda done, total: counted.append(done)
    )
    assert counted[0] == 5
    assert told == pytest.approx(losses, rel=1e-6)
    close(expected, again, atol=1e-6, rtol=1e-6)


def test_ctrl_c_keeps_what_is_trained(language_model, examples, tmp_path: Path):
    some = examples([11])

    def interrupt(done: int, total: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(language_model, low_rank(), some, OPTIONS, folder=tmp_path, progress=interrupt)
    counted = []
    train(
        language_model, low_rank(), some, OPTIONS, folder=tmp_path,
        progress=lambda done, total: counted.append((done, total)),
    )  # fmt: skip
    assert counted[0] == (3, 6)


@pytest.mark.parametrize("patience", [0, 5])
@pytest.mark.parametrize(
    ("where", "when"),
    [("judging", 1), ("judging", 2), ("judging", 3), ("moving", 2), ("moving", 5)],
)
def test_ctrl_c_at_any_place_ends_in_the_same_numbers(
    language_model, examples, tmp_path: Path, monkeypatch, where, when, patience
):
    """While held-back samples are looked at, and while the numbers are moved."""
    some, held = examples([11]), examples([3], seed=3)
    options = replace(OPTIONS, patience=patience)
    expected = low_rank()
    told = train(language_model, expected, some, options, held=held)
    owner, name = {"judging": (_Training, "_held_nats"), "moving": (RowAdamW, "step")}[where]
    real, calls = getattr(owner, name), []

    def interrupted(self, *args):
        calls.append(None)
        if len(calls) == when and where == "moving":
            real(self, *args)  # as if the last of the numbers were still to come
        if len(calls) == when:
            raise KeyboardInterrupt
        return real(self, *args)

    monkeypatch.setattr(owner, name, interrupted)
    with pytest.raises(KeyboardInterrupt):
        train(language_model, low_rank(), some, options, held=held, folder=tmp_path)
    resumed = low_rank()
    again = train(language_model, resumed, some, options, held=held, folder=tmp_path)
    close(expected.numbers, resumed.numbers, atol=1e-6, rtol=1e-6)
    assert again.held == pytest.approx(told.held, rel=1e-6)
    assert (again.steps, again.best) == (told.steps, told.best)


def test_other_samples_options_or_model_are_trained_anew(language_model, examples, tmp_path: Path):
    for some, options, trainable in (
        (examples([4]), OPTIONS, low_rank()),
        (examples([4], seed=2), OPTIONS, low_rank()),
        (examples([4]), TrainingOptions(epochs=1), low_rank()),
        (examples([4]), OPTIONS, low_rank(rank=2)),
    ):
        train(language_model, trainable, some, options, folder=tmp_path)
    assert len(list(tmp_path.iterdir())) == 4


def test_training_stops_when_held_back_samples_get_no_likelier(language_model, examples):
    some, held = examples([8]), examples([4], seed=3)
    options = TrainingOptions(learning_rate=0.3, epochs=30, batch_size=4, patience=2)
    trainable = low_rank()
    result = train(language_model, trainable, some, options, held=held)
    assert len(result.held) < 31
    assert result.best[0] == min(range(len(result.held)), key=result.held.__getitem__)
    batch = TrainingBatch.of(held, range(4), torch.device("cpu"))
    with torch.no_grad():
        nats = answer_nats(language_model, trainable, batch).sum() / sum(
            len(e.answer) for e in held
        )
    assert nats.item() == pytest.approx(min(result.held), rel=1e-4)


def test_bad_input_ends_it_in_one_line(language_model, examples):
    some = examples([4])
    with pytest.raises(TrimtabError, match="nothing to train on"):
        train(language_model, low_rank(), [], OPTIONS)
    with pytest.raises(TrimtabError, match="100 tokens does not fit .* context of 64"):
        long = type(some[0])(0, (5,) * 95, (6,) * 5)
        train(language_model, low_rank(), [long], OPTIONS)
    with pytest.raises(TrimtabError, match="loss is not finite.*lower learning rate than 1e"):
        train(language_model, low_rank(), some, TrainingOptions(learning_rate=1e30, epochs=9))
    for wrong in ({"learning_rate": 0}, {"epochs": 0}, {"patience": -1}, {"clip": float("nan")}):
        with pytest.raises(TrimtabError, match="expected"):
            TrainingOptions(**wrong)


@pytest.mark.parametrize(
    ("layer", "gradients"),
    [(0, False), (3, False), (3, True)],
    ids=["what is kept", "the held-back samples", "a step"],
)
@pytest.mark.parametrize("error", [torch.OutOfMemoryError("no room"), MemoryError()])
def test_without_memory_passes_are_halved_once(
    language_model, examples, caplog, layer, gradients, error
):
    """A block of the model that has room for 50 tokens at once, then for 10."""
    some, held = examples([6]), examples([6], seed=1)
    options = TrainingOptions(epochs=1, patience=1, learning_rate=1e-2)
    usual, halved = low_rank(), low_rank()
    expected = train(language_model, usual, some, options, held=held)
    room, how = 50, {"held": held, "tokens_at_once": 80, "keep_lower": not layer}

    def short_of_memory(block, given):
        if given[0].shape[:2].numel() > room and torch.is_grad_enabled() == gradients:
            raise error

    block = language_model.parts.layers[layer].block
    hook = block.register_forward_pre_hook(short_of_memory)
    try:
        found = train(language_model, halved, some, options, **how)
        assert caplog.text.count("trying half as many, 40") == 1
        assert found.held == pytest.approx(expected.held, rel=1e-5)
        close(usual.numbers, halved.numbers, atol=1e-5, rtol=1e-4)
        room = 10
        with pytest.raises(TrimtabError, match="no memory to train in passes of 40 tokens") as told:
            train(language_model, low_rank(), some, options, **how)
        assert "\n" not in str(told.value)
    finally:
        hook.remove()


def test_tells_how_far_it_is_before_the_first_step_too(language_model, examples):
    """What never changes may take longer than the steps."""
    told, steps_told = [], []
    train(
        language_model,
        low_rank(),
        examples([5]),
        OPTIONS,
        held=examples([2], seed=1),
        tokens_at_once=40,
        progress=lambda done, total: steps_told.append(done),
        on_lower=lambda done, total: told.append((done, total, len(steps_told))),
    )
    assert told[-1] == (7, 7, 0) and len(told) > 1
    assert [done for done, *_ in told] == sorted({done for done, *_ in told})


@pytest.mark.parametrize("positions", ["answer", "all"])
def test_what_several_owners_have_is_run_once(language_model, examples, positions):
    """Every owner learns on what the one before has, and one sample more."""
    every = examples([6])
    some = [replace(each, owner=owner) for owner in range(4) for each in every[: owner + 3]]
    numbers = []
    for keep_lower in (True, False):
        told = []
        stack = low_rank(4, positions=positions)
        train(
            language_model, stack, some, OPTIONS, keep_lower=keep_lower,
            on_lower=lambda done, total, told=told: told.append((done, total)),
        )  # fmt: skip
        numbers.append(stack.numbers)
        assert [total for _, total in told] == [6] * len(told) and bool(told) == keep_lower
    close(*numbers, atol=1e-5, rtol=1e-4)
