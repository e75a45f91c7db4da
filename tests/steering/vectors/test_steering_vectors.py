"""Steering vectors are values: arithmetic gives new ones, and faults are refused."""

import pytest
import torch

from trimtab import TrimtabError
from trimtab.steering import Point, SteeringVectors
from trimtab.steering.vectors.steering_vectors import points_of

ONE = SteeringVectors(
    {Point(1, "attn"): torch.tensor([1.0, 2.0]), Point(3, "mlp"): torch.tensor([-4.0, 3.0])}
)
OTHER = SteeringVectors(  # the same points in another order
    {Point(3, "mlp"): torch.tensor([10.0, 20.0]), Point(1, "attn"): torch.tensor([0.5, 0.25])}
)


def numbers(vectors: SteeringVectors) -> dict[tuple[int, str], list[float]]:
    return {tuple(point): vector.tolist() for point, vector in vectors.values.items()}


def test_arithmetic_goes_point_by_point() -> None:
    assert numbers(ONE + OTHER) == {(1, "attn"): [1.5, 2.25], (3, "mlp"): [6.0, 23.0]}
    assert numbers(ONE - OTHER) == {(1, "attn"): [0.5, 1.75], (3, "mlp"): [-14.0, -17.0]}
    assert numbers(ONE * 2) == numbers(2 * ONE) == {(1, "attn"): [2, 4], (3, "mlp"): [-8, 6]}
    assert numbers(-ONE) == {(1, "attn"): [-1, -2], (3, "mlp"): [4, -3]}
    mean = SteeringVectors.mean([ONE, OTHER, ONE, ONE])
    assert numbers(mean) == {(1, "attn"): [0.875, 1.5625], (3, "mlp"): [-0.5, 7.25]}


def test_operands_stay_as_they_are() -> None:
    before = numbers(ONE)
    total = ONE + OTHER
    total.values[Point(1, "attn")].zero_()
    (ONE * 1.0).values[Point(1, "attn")].zero_()
    SteeringVectors.mean([ONE]).values[Point(1, "attn")].zero_()
    assert numbers(ONE) == before


def test_norms_are_of_the_float32_vector() -> None:
    assert ONE.norms() == {Point(1, "attn"): pytest.approx(5**0.5), Point(3, "mlp"): 5.0}
    half = SteeringVectors({Point(0, "mlp"): torch.full((2,), 60000.0, dtype=torch.float16)})
    assert half.norms()[Point(0, "mlp")] == pytest.approx(84864, rel=1e-3)  # above float16's range


def test_points_come_in_the_order_of_the_forward_pass() -> None:
    assert points_of([5, 2, 5], ["block", "mlp", "attn", "mid"]) == tuple(
        Point(layer, site)  # type: ignore[arg-type]
        for layer in (2, 5)
        for site in ("attn", "mid", "mlp", "block")
    )
    assert points_of(iter([3]), iter(["mlp"])) == (Point(3, "mlp"),)  # type: ignore[list-item]


def test_bad_input_is_named() -> None:
    with pytest.raises(TrimtabError, match=r"the same layers and sites.*attn.*mlp"):
        ONE + SteeringVectors({Point(1, "attn"): torch.ones(2)})
    with pytest.raises(TrimtabError, match="mean of no steering vectors is not defined"):
        SteeringVectors.mean([])
    with pytest.raises(TrimtabError, match=r"\(hidden_size,\) at \(1, 'mlp'\), got shape \(2, 3\)"):
        SteeringVectors({Point(1, "mlp"): torch.ones(2, 3)})
    with pytest.raises(TrimtabError, match="layer 1, site mlp holds NaN or infinity"):
        SteeringVectors({Point(1, "mlp"): torch.tensor([1.0, float("inf")])})
    with pytest.raises(TrimtabError, match="holds NaN or infinity"):
        ONE * float("inf")
    for layers, sites in (([], ["mlp"]), ([1], []), ([1], ["head"])):
        with pytest.raises(TrimtabError, match="at least one layer and sites out of attn, mid"):
            points_of(layers, sites)  # type: ignore[arg-type]
