"""The map from a history to a shift, against plain PyTorch and NumPy."""

import random

import numpy as np
import pytest
import torch

from trimtab import TrimtabError
from trimtab.eval.training.examples import Example
from trimtab.eval.training.shift_map import learn_map
from trimtab.steering.decoder.sublayers import first_tensor

LAYERS = (1, 2)
WIDTH = 32


def people(count: int, seed: int = 0) -> tuple[torch.Tensor, list[Example]]:
    """A sample each: which words a person has goes by the first number of their ``z``."""
    drawn = random.Random(seed)
    z = torch.randn(count, 3, generator=torch.Generator().manual_seed(seed))
    z[:, 0] = torch.tensor([1.0 if n % 2 else -1.0 for n in range(count)])
    made = [
        Example(
            owner,
            tuple(drawn.choices(range(60, 90), k=drawn.randint(4, 9))),
            (*drawn.choices(range(5, 15) if owner % 2 else range(25, 35), k=6), 2),
        )
        for owner in range(count)
    ]
    return z, made


def plain_nats(model, example: Example, shifts: torch.Tensor) -> torch.Tensor:
    """An answer's nats by a whole pass of the model, the shift added after each layer."""

    def adding(shift):
        def hook(module, args, output):
            hidden = first_tensor(output)
            where = torch.arange(hidden.shape[1])[:, None] >= len(example.prompt) - 1
            return hidden + where * shift

        return hook

    blocks = [model.parts.layers[layer].block for layer in LAYERS]
    handles = [
        block.register_forward_hook(adding(shift))
        for block, shift in zip(blocks, shifts, strict=True)
    ]
    try:
        logits = model.hf(torch.tensor([example.tokens])).logits[0, len(example.prompt) - 1 : -1]
    finally:
        for handle in handles:
            handle.remove()
    return -logits.log_softmax(-1).gather(1, torch.tensor(example.answer)[:, None]).sum()


def by_numpy(model, z, examples, centre, ridge) -> np.ndarray:
    """One step: the ridge regression of each person's own gradient on their ``z``."""
    gradients = []
    for example in examples:
        shifts = centre.clone().requires_grad_()
        plain_nats(model, example, shifts).backward()
        gradients.append(shifts.grad.flatten().double().numpy())
    answers = np.array([len(each.answer) for each in examples], dtype=float)
    own = z[[each.owner for each in examples]].double().numpy()
    a_token = np.array(gradients) / answers[:, None]
    weights = answers / answers.sum()
    own_apart = own - weights @ own
    apart = a_token - weights @ a_token
    across = (own_apart * weights[:, None]).T @ apart
    spread = (own_apart * weights[:, None]).T @ own_apart
    curvature = (weights @ apart**2) * answers.mean()
    curvature += curvature.mean()
    step = -np.linalg.inv(spread + ridge * np.trace(spread) / len(spread) * np.eye(3)) @ across
    step /= curvature
    slope = -(step * across).sum()
    return step * slope / np.einsum("ds,de,es,s->", step, spread, step, curvature) / 8


@pytest.fixture
def centre() -> torch.Tensor:
    return torch.randn(2, WIDTH, generator=torch.Generator().manual_seed(5)) * 0.1


def learned(model, z, centre, examples, held=(), **how):
    return learn_map(model, z, centre, LAYERS, "answer", examples, held, **how)


@pytest.mark.parametrize("tokens_at_once", [4096, 40])
def test_a_pass_is_the_regression_of_everybodys_gradient(language_model, centre, tokens_at_once):
    z, examples = people(14)
    found, told = learned(
        language_model, z, centre, examples, passes=1, ridge=0.5, tokens_at_once=tokens_at_once
    )
    expected = by_numpy(language_model, z, examples, centre, 0.5)
    assert found.matrix.flatten(1).numpy() == pytest.approx(
        expected, abs=2e-4 * abs(expected).max()
    )
    assert told.steps == 1 and told.held == ()
    shift = found.stage(z[3]).layers[2].bias
    assert torch.allclose(shift, centre[1] + z[3] @ found.matrix[:, 1], atol=1e-6)
    assert torch.equal(found.stage(torch.zeros(3)).layers[1].bias, centre[0])


def test_what_is_learned_is_the_persons(language_model, centre):
    z, examples = people(40)
    _, others = people(52)
    held = others[40:]
    z = torch.cat([z, people(52)[0][40:]])
    found, told = learned(language_model, z, centre, examples, held, passes=3)
    assert list(told.held) == sorted(told.held, reverse=True) and len(told.held) > 1

    def nats(whose):
        with torch.no_grad():
            return [
                plain_nats(language_model, e, found.shifts(z[[whose(e.owner)]])[0]) for e in held
            ]

    own, other, nobody = (
        nats(lambda o: o),
        nats(lambda o: o ^ 1),
        [plain_nats(language_model, e, centre).detach() for e in held],
    )
    answers = sum(len(each.answer) for each in held)
    assert sum(own) / answers == pytest.approx(told.held[-1], rel=1e-4)
    assert sum(nobody) / answers == pytest.approx(told.held[0], rel=1e-4)
    assert all(mine < theirs for mine, theirs in zip(own, other, strict=True))
    assert sum(own) < sum(nobody) < sum(other)


def test_no_step_is_taken_that_others_do_not_gain_by(language_model, centre):
    z, examples = people(20)
    mirrored = z.clone()
    mirrored[:, 0] *= -1
    _, held = people(30)
    z = torch.cat([z, mirrored[:10]])  # those held back say the opposite
    found, told = learned(language_model, z, centre, examples, held[20:], passes=3)
    assert not found.matrix.any()
    assert told.steps == 0 and len(told.held) == 1


def test_broken_off_anywhere_it_goes_on_to_the_same_map(language_model, centre, tmp_path):
    z, examples = people(30)
    how = {"held": examples[24:], "passes": 2, "tokens_at_once": 40}
    expected, told = learned(language_model, z, centre, examples[:24], **how)
    broken = 0
    for until in range(1, 40):
        folder = tmp_path / str(until)
        told_of: list[int] = []

        def progress(done, total, until=until, told_of=told_of):
            told_of.append(done)
            if len(told_of) == until:
                raise KeyboardInterrupt

        try:
            learned(
                language_model, z, centre, examples[:24], folder=folder, progress=progress, **how
            )
        except KeyboardInterrupt:
            broken += 1
        else:
            break
        seen = []
        found, again = learned(
            language_model, z, centre, examples[:24], folder=folder,
            progress=lambda done, total, seen=seen: seen.append(done), **how,
        )  # fmt: skip
        assert torch.equal(found.matrix, expected.matrix)
        assert again.held == pytest.approx(told.held)
        assert told_of[-1] <= seen[0] <= told_of[-1] + 3 and seen[-1] == 48  # nothing is read again
    assert broken > 20
    seen = []
    kept, _ = learned(
        language_model, z, centre, examples[:24], folder=folder,
        progress=lambda done, total: seen.append(done), **how,
    )  # fmt: skip
    assert torch.equal(kept.matrix, expected.matrix)
    assert seen == [48]


def test_another_map_is_learned_for_other_people_or_another_ridge(language_model, centre, tmp_path):
    z, examples = people(8)
    for ridge, numbers in ((1.0, z), (2.0, z), (1.0, z + 1)):
        learned(language_model, numbers, centre, examples, ridge=ridge, passes=1, folder=tmp_path)
    assert len(list(tmp_path.iterdir())) == 3


def test_without_memory_passes_are_halved_once(language_model, centre, caplog):
    z, examples = people(12)
    expected, _ = learned(language_model, z, centre, examples, passes=1)

    def short_of_memory(block, given):
        if given[0].shape[:2].numel() > 50 and torch.is_grad_enabled():
            raise torch.OutOfMemoryError("no room")

    hook = language_model.parts.layers[3].block.register_forward_pre_hook(short_of_memory)
    try:
        found, _ = learned(language_model, z, centre, examples, passes=1, tokens_at_once=160)
    finally:
        hook.remove()
    assert caplog.text.count("trying half as many, 80") == 1
    assert torch.allclose(found.matrix, expected.matrix, atol=1e-4 * expected.matrix.abs().max())


def test_bad_input_ends_it_in_one_line(language_model, centre):
    z, examples = people(4)
    with pytest.raises(TrimtabError, match="at least one sample"):
        learned(language_model, z, centre, [])
    with pytest.raises(TrimtabError, match="not finite") as told:
        learned(language_model, z, centre * float("nan"), examples)
    assert "\n" not in str(told.value)
