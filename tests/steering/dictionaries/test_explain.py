"""Explanations against softmax, divergence and norms worked out from plain model calls."""

import pytest
import torch
from torch import Tensor

from trimtab import TrimtabError
from trimtab.steering import Entry, Picked, Point, SteeredModel, Steering, SteeringVectors
from trimtab.steering.decoder.sublayers import first_tensor
from trimtab.steering.dictionaries.explain import compare, explain

MESSAGES = [{"role": "user", "content": "w20 w21 w22 w23 w24"}]
ATTN, MID, MLP = Point(1, "attn"), Point(1, "mid"), Point(2, "mlp")


def vectors(*points: Point, size: float = 1.0) -> SteeringVectors:
    generator = torch.Generator().manual_seed(3)
    return SteeringVectors({p: size * torch.randn(32, generator=generator) for p in points})


def picked(key: str, weight: float) -> Picked:
    return Picked(Entry("s1", key, "answer", "response", 0), weight - 0.2, weight, (2.0, 0.5))


def test_explains_by_entries_and_pushes() -> None:
    own = vectors(ATTN, MLP)
    entries = (picked("a red\n lamp", 0.75), picked("x" * 99, 0.25))
    found = explain(Steering(own, {"attn": 2.0, "mlp": -0.5}, picked=entries))
    assert found.picked == entries
    sizes = {point: float(vector.norm()) for point, vector in own.values.items()}
    assert found.pushes == {
        ATTN: pytest.approx(2 * sizes[ATTN], rel=1e-5),
        MLP: pytest.approx(0.5 * sizes[MLP], rel=1e-5),
    }
    first, second, *pushes = str(found).splitlines()
    assert first == " 75.0%  cosine +0.550  norm 2/0.5  a red lamp"
    assert second == f" 25.0%  cosine +0.050  norm 2/0.5  {'x' * 77}..."
    assert pushes == [
        f"push at layer 1, attn: {2 * sizes[ATTN]:.3g}",
        f"push at layer 2, mlp: {0.5 * sizes[MLP]:.3g}",
    ]
    assert explain(Steering(own, 0.3, relative=True)).pushes == {ATTN: 0.3, MLP: 0.3}


def test_says_what_max_norm_takes_off() -> None:
    own = vectors(ATTN, MLP)
    total = sum(float(vector.norm()) ** 2 for vector in own.values.values()) ** 0.5
    free, bound = (explain(Steering(own, max_norm=total * share)) for share in (1.01, 0.5))
    assert not free.capped and bound.capped
    assert sum(push**2 for push in bound.pushes.values()) ** 0.5 == pytest.approx(total / 2)
    assert str(bound).endswith("scaled down to max_norm") and "scaled" not in str(free)


def next_token(model: SteeredModel, rows: list, ids: Tensor) -> Tensor:
    with torch.inference_mode(), model.steered(rows, prompt_lengths=[ids.shape[1]]):
        return model.hf(ids).logits[0, -1].softmax(-1)


@pytest.mark.parametrize("positions", ["answer", "all", (0, 3)])
def test_compares_the_next_token_with_and_without(tiny_steered: SteeredModel, positions) -> None:
    steering = Steering(vectors(MID, MLP), 3.0, positions=positions)
    ids = torch.tensor([tiny_steered.prompt_tokens(MESSAGES)])
    plain, steered = (next_token(tiny_steered, [row], ids) for row in (None, steering))
    found = compare(tiny_steered, MESSAGES, steering, top=5)
    kl = torch.nn.functional.kl_div(plain.log(), steered, reduction="sum")
    assert found.kl == pytest.approx(float(kl), rel=1e-3) and found.kl > 1e-4

    order = (steered - plain).argsort(descending=True).tolist()
    decode = tiny_steered.tokenizer.decode
    assert [shift.token for shift in found.gained] == [decode([t]) for t in order[:5]]
    assert [shift.token for shift in found.lost] == [decode([t]) for t in order[::-1][:5]]
    for shift, token in zip(
        (*found.gained, *found.lost), (*order[:5], *order[::-1][:5]), strict=True
    ):
        assert shift.unsteered == pytest.approx(float(plain[token]), rel=1e-3)
        assert shift.steered == pytest.approx(float(steered[token]), rel=1e-3)
    assert str(found).startswith(f"KL {found.kl:.3f} nats\ngained: {found.gained[0].token!r} ")


def test_the_push_is_set_against_what_it_is_added_to(tiny_steered: SteeredModel) -> None:
    own = vectors(MID, MLP)
    ids = torch.tensor([tiny_steered.prompt_tokens(MESSAGES)])
    outputs: dict[Point, Tensor] = {}
    layers = tiny_steered.hf.model.layers
    handles = [
        module.register_forward_hook(
            lambda m, a, out, point=point: outputs.__setitem__(point, first_tensor(out)[0, -1])
        )
        for point, module in ((MID, layers[1].self_attn), (MLP, layers[2].mlp))
    ]
    with torch.inference_mode():
        tiny_steered.hf(ids)
    for handle in handles:
        handle.remove()
    shares = {
        point: float(2.0 * vector.norm() / outputs[point].norm())
        for point, vector in own.values.items()
    }
    found = compare(tiny_steered, MESSAGES, Steering(own, 2.0))
    assert found.relative == {p: pytest.approx(share, rel=1e-3) for p, share in shares.items()}
    low = min(shares.values()) / 2
    assert compare(tiny_steered, MESSAGES, Steering(own, 2.0, cap=low)).relative == {
        MID: low,
        MLP: low,
    }
    relative = Steering(own, -0.4, relative=True)
    assert compare(tiny_steered, MESSAGES, relative).relative == {MID: 0.4, MLP: 0.4}


def test_no_steering_changes_nothing(tiny_steered: SteeredModel) -> None:
    found = compare(tiny_steered, MESSAGES, Steering(vectors(MLP), 0.0))
    assert found.kl == 0 and found.relative == {MLP: 0}
    assert all(shift.unsteered == shift.steered for shift in (*found.gained, *found.lost))


def test_another_models_steering_is_refused(tiny_steered: SteeredModel) -> None:
    with pytest.raises(TrimtabError, match="the steering was built with another model"):
        compare(tiny_steered, MESSAGES, Steering(vectors(MLP), fingerprint="0000"))
