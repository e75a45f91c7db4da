"""Which entries are called unusual, on vectors whose faults are known."""

import math
import statistics

import pytest
import torch
from torch import Tensor

from trimtab import TrimtabError
from trimtab.steering import Entry, Point, SteeringDictionary
from trimtab.steering.dictionaries.outliers import Limits, Outlier
from trimtab.steering.dictionaries.population import Population

POINTS = (Point(2, "mid"), Point(2, "mlp"))
SIZE = 64


def usual(count: int, *, seed: int = 0, towards: int = 0) -> Tensor:
    """Vectors of about norm 4 that lean to one axis, ``(count, 2, SIZE)``."""
    generator = torch.Generator().manual_seed(seed)
    vectors = 0.35 * torch.randn(count, len(POINTS), SIZE, generator=generator)
    vectors[:, :, towards] += 3
    return vectors


def dictionary(vectors: Tensor, *, first: int = 0, contrast="response") -> SteeringDictionary:
    rows = range(first, first + len(vectors))
    return SteeringDictionary(
        user_id="ada",
        fingerprint="f",
        points=POINTS,
        encoder_name="all-MiniLM-L6-v2",
        entries=[Entry(f"s{n}", f"key {n}", "", contrast, n) for n in rows],
        keys=torch.eye(32)[: len(vectors)],
        vectors=vectors,
    )


def told(outliers: list[Outlier]) -> set[tuple[str, str, str, str]]:
    return {(o.entry.sample_id, o.point.site, o.what, o.against) for o in outliers}


def test_usual_entries_are_left_alone() -> None:
    everybody = Population.of(dictionary(usual(200, seed=9)))
    for seed in range(20):
        assert dictionary(usual(12, seed=seed)).outliers(everybody) == []


def test_a_long_vector_is_told_by_median_and_deviation_of_the_log_norms() -> None:
    vectors = usual(9)
    vectors[4, 1] *= 5
    (found,) = dictionary(vectors).outliers()
    assert told([found]) == {("s4", "mlp", "norm", "user")}
    logs = [math.log(v.norm()) for v in vectors[:, 1]]
    middle = statistics.median(logs)
    scale = 1.4826 * statistics.median(abs(log - middle) for log in logs)
    assert found.value == pytest.approx(float(vectors[4, 1].norm()))
    assert found.usual == pytest.approx(math.exp(middle), rel=1e-5)
    assert found.limit == pytest.approx(math.exp(middle + 3.5 * max(scale, 0.1)), rel=1e-5)
    assert str(found) == (
        f"sample 's4' (response), layer 2 mlp: norm {found.value:.3g}, this user's is "
        f"{found.usual:.3g} and at most {found.limit:.3g} is expected"
    )
    lenient = Limits(z=(logs[4] - middle) / max(scale, 0.1) + 0.01)
    assert dictionary(vectors).outliers(limits=lenient) == []


def test_a_short_vector_is_harmless() -> None:
    vectors = usual(9)
    vectors[4] *= 0.01
    vectors[5] = 0
    assert dictionary(vectors).outliers() == []


def test_another_direction_is_told_unless_it_has_company() -> None:
    vectors = usual(12)
    vectors[3, 0] = usual(1, seed=5, towards=7)[0, 0]
    (found,) = dictionary(vectors).outliers()
    assert told([found]) == {("s3", "mid", "direction", "user")}
    others = torch.nn.functional.normalize(vectors[:, 0], dim=-1)
    others = torch.cat([others[:3], others[4:]]).mean(dim=0)
    cosine = torch.nn.functional.cosine_similarity(vectors[3, 0], others, dim=0)
    assert found.value == pytest.approx(float(cosine), abs=1e-5)
    assert found.value < found.limit < found.usual

    vectors[8, 0] = usual(1, seed=6, towards=7)[0, 0]  # a rare habit, but a habit
    assert dictionary(vectors).outliers() == []
    assert told(dictionary(vectors).outliers(limits=Limits(company=0.99))) == {
        ("s3", "mid", "direction", "user"),
        ("s8", "mid", "direction", "user"),
    }


def test_few_entries_are_compared_with_the_population_only() -> None:
    everybody = Population.of(dictionary(usual(200, seed=9)))
    vectors = usual(3)
    vectors[0, 1] *= 5
    vectors[1, 0] *= -1
    assert dictionary(vectors).outliers() == []
    found = dictionary(vectors).outliers(everybody)
    assert told(found) == {
        ("s0", "mlp", "norm", "population"),
        ("s1", "mid", "direction", "population"),
    }
    (turned,) = [o for o in found if o.what == "direction"]
    mean, norms = everybody.mean("response"), everybody.usual_norms("response")
    agreement = float(mean.values[POINTS[0]].norm()) / norms[POINTS[0]].mean
    assert turned.usual == pytest.approx(agreement) and turned.limit == pytest.approx(agreement - 1)


def test_a_whole_polluted_history_is_told_by_the_population() -> None:
    everybody = Population.of(dictionary(usual(200, seed=9)))
    polluted = dictionary(-3 * usual(8))
    assert polluted.outliers() == []
    assert told(polluted.outliers(everybody)) == {
        (f"s{n}", site, what, "population")
        for n in range(8)
        for site in ("mid", "mlp")
        for what in ("norm", "direction")
    }


def test_where_nobody_agrees_no_direction_is_unusual() -> None:
    generator = torch.Generator().manual_seed(1)
    anywhere = torch.randn(300, 2, SIZE, generator=generator)
    everybody = Population.of(dictionary(anywhere))
    assert dictionary(anywhere[:20]).outliers(everybody) == []


def test_each_kind_of_contrast_has_its_own_usual() -> None:
    both = dictionary(usual(8))
    small = dictionary(0.1 * usual(8, seed=2), contrast="context")
    mixed = SteeringDictionary(
        user_id="ada",
        fingerprint="f",
        points=POINTS,
        encoder_name=both.encoder_name,
        entries=[*both.entries, *small.entries],
        keys=torch.cat([both.keys, small.keys]),
        vectors=torch.cat([both.vectors, small.vectors]),
    )
    assert mixed.outliers() == []
    mixed.vectors[10] *= 4  # still short for a response entry
    assert {o.entry for o in mixed.outliers()} == {small.entries[2]}
    kept = mixed.guarded("drop")
    assert len(kept) == 15 and kept.entries[2] == both.entries[2]
    assert len(mixed) == 16


def test_select_leaves_out_or_caps_outliers() -> None:
    vectors = usual(9)
    vectors[4, 1] *= 5
    vectors[6, 0] = usual(1, seed=5, towards=7)[0, 0]
    polluted = dictionary(vectors.clone())
    limit = next(o.limit for o in polluted.outliers() if o.what == "norm")

    def sites_of(sample: int, **how) -> dict[str, Tensor] | None:
        steering = polluted.select(polluted.keys[sample], k=1, **how)
        assert steering is not None
        if steering.picked[0].entry.sample_id != f"s{sample}":
            return None
        return {point.site: v for point, v in steering.vectors.values.items()}

    assert sites_of(4, outliers="drop") is None and sites_of(6, outliers="drop") is None
    assert sites_of(5, outliers="drop") is not None
    capped, kept = sites_of(4, outliers="cap"), sites_of(4)
    assert capped is not None and kept is not None
    torch.testing.assert_close(kept["mlp"], vectors[4, 1])
    torch.testing.assert_close(capped["mlp"], vectors[4, 1] * limit / vectors[4, 1].norm())
    torch.testing.assert_close(capped["mid"], vectors[4, 0])
    turned = sites_of(6, outliers="cap")
    assert turned is not None
    torch.testing.assert_close(turned["mid"], vectors[6, 0])
    assert torch.equal(polluted.vectors, vectors)


def test_what_is_unusual_is_not_learned_from_later_entries() -> None:
    vectors = torch.cat([usual(6), 20 * usual(20, seed=3)])
    vectors[2] *= 20
    long = dictionary(vectors)
    assert "s2" not in {o.entry.sample_id for o in long.outliers()}
    steering = long.select(long.keys[2], aggregate="naive", before=6, outliers="drop")
    assert steering is not None
    assert {p.entry.sample_id for p in steering.picked} == {"s0", "s1", "s3", "s4", "s5"}


def test_bad_input_is_named() -> None:
    own = dictionary(usual(6))
    with pytest.raises(TrimtabError, match="expected outliers keep, drop, cap, got 'shrink'"):
        own.select(own.keys[0], outliers="shrink")  # type: ignore[arg-type]
    elsewhere = Population.of(own.restricted([POINTS[0]]))
    with pytest.raises(TrimtabError, match=r"population holds no vectors at \[\(2, 'mlp'\)\]"):
        own.outliers(elsewhere)
