"""The collective and the personal part, against sums written out."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from trimtab import TrimtabError
from trimtab.steering import (
    Point,
    Population,
    SteeringDictionary,
    SteeringSettings,
    SteeringStore,
    TwoParts,
    population_of,
)
from trimtab.steering.vectors.entries import Entry

POINTS = (Point(1, "attn"), Point(2, "mlp"))


def dictionary(user_id: str, seed: int, kinds: tuple[str, ...]) -> SteeringDictionary:
    draws = torch.Generator().manual_seed(seed)
    count = len(kinds)
    return SteeringDictionary(
        user_id=user_id,
        fingerprint="f",
        points=POINTS,
        encoder_name="e",
        entries=[
            Entry(f"s{n}", f"key {n}", "answer", kind, n)  # type: ignore[arg-type]
            for n, kind in enumerate(kinds)
        ],
        keys=torch.nn.functional.normalize(torch.randn(count, 3, generator=draws), dim=-1),
        vectors=torch.randn(count, 2, 5, generator=draws),
    )


KINDS = ("response", "context", "context", "response", "context")
OWN = dictionary("ann", 1, KINDS)
BOB = dictionary("bob", 2, KINDS)
CID = dictionary("cid", 3, ("context", "response", "response"))
OTHERS = Population.of(BOB, CID)
QUERY = torch.tensor([0.6, 0.8, 0.0])


def rows(dictionary: SteeringDictionary, kind: str) -> list[int]:
    return [n for n, entry in enumerate(dictionary.entries) if entry.contrast == kind]


def others_mean(kind: str) -> Tensor:
    every = [dictionary.vectors[rows(dictionary, kind)] for dictionary in (BOB, CID)]
    return torch.cat(every).mean(dim=0)


def stacked(steering: object) -> Tensor:
    values = steering.vectors.values  # type: ignore[attr-defined]
    return torch.stack([values[point] for point in POINTS])


@pytest.mark.parametrize("aggregate", ["naive", "mean", "attentive"])
def test_others_mean_and_what_sets_the_user_apart_from_it(aggregate: str) -> None:
    steering = OWN.select(
        QUERY,
        k=2,
        aggregate=aggregate,  # type: ignore[arg-type]
        two_parts=TwoParts(OTHERS, collective=2.0, personal=3.0),
        strength=1.5,
    )
    context = rows(OWN, "context")
    cosines = OWN.keys[context] @ QUERY
    chosen = cosines.argsort(descending=True)[: 3 if aggregate == "naive" else 2]
    weights = torch.full((len(chosen),), 1 / len(chosen))
    if aggregate == "attentive":
        weights = torch.exp(cosines[chosen] / 0.1)
        weights /= weights.sum()
    own = (weights[:, None, None] * OWN.vectors[context][chosen]).sum(dim=0)
    expected = 2.0 * others_mean("response") + 3.0 * (own - others_mean("context"))
    assert steering is not None
    torch.testing.assert_close(stacked(steering), expected, rtol=1e-5, atol=1e-6)
    assert [p.entry.sample_id for p in steering.picked] == [f"s{context[n]}" for n in chosen]
    assert steering.strength == 1.5


def test_a_new_user_gets_the_collective_part() -> None:
    steering = OWN.select(QUERY, before=0, two_parts=TwoParts(OTHERS, collective=0.5))
    assert steering is not None
    assert not steering.picked
    torch.testing.assert_close(stacked(steering), 0.5 * others_mean("response"))


def test_the_kinds_are_a_choice() -> None:
    parts = TwoParts(OTHERS, 1.0, 1.0, collective_from="context", personal_from="response")
    steering = OWN.select(QUERY, aggregate="naive", two_parts=parts)
    own = OWN.vectors[rows(OWN, "response")].mean(dim=0)
    assert steering is not None
    expected = others_mean("context") + own - others_mean("response")
    torch.testing.assert_close(stacked(steering), expected)


def test_the_contrast_of_the_settings_names_the_personal_parts_kind() -> None:
    settings = SteeringSettings(
        collective=1.0, personal=0.5, contrast="response", aggregate="naive"
    )
    steering = settings.select(OWN, QUERY, others=OTHERS)
    own = OWN.vectors[rows(OWN, "response")].mean(dim=0)
    assert steering is not None
    torch.testing.assert_close(stacked(steering), 0.5 * others_mean("response") + 0.5 * own)


def test_without_a_personal_part_nothing_is_picked() -> None:
    steering = OWN.select(QUERY, two_parts=TwoParts(OTHERS, collective=2.0, personal=0.0))
    assert steering is not None and not steering.picked
    torch.testing.assert_close(stacked(steering), 2.0 * others_mean("response"))


def test_only_the_dictionarys_points_are_steered() -> None:
    steering = OWN.restricted(POINTS[1:]).select(QUERY, two_parts=TwoParts(OTHERS))
    assert steering is not None
    assert steering.vectors.points == POINTS[1:]
    few = Population.of(BOB.restricted(POINTS[:1]))
    with pytest.raises(TrimtabError, match=r"no vectors at \[\(2, 'mlp'\)\]"):
        OWN.select(QUERY, two_parts=TwoParts(few))


def test_a_population_without_a_kind_is_refused() -> None:
    others = Population.of(dictionary("dan", 4, ("context",)))
    with pytest.raises(TrimtabError, match="no entry of 'response' contrast"):
        OWN.select(QUERY, two_parts=TwoParts(others))
    with pytest.raises(TrimtabError, match="finite weights"):
        TwoParts(others, collective=float("nan"))


def test_populations_of_other_points_do_not_mix() -> None:
    with pytest.raises(TrimtabError, match="same points"):
        Population.of(BOB, CID.restricted(POINTS[:1]))


def test_settings_say_it_in_a_file() -> None:
    settings = SteeringSettings(collective=2.0, personal=3.0, k=2)
    steering = settings.select(OWN, QUERY, others=OTHERS)
    expected = OWN.select(QUERY, k=2, two_parts=TwoParts(OTHERS, 2.0, 3.0))
    assert steering is not None and expected is not None
    assert torch.equal(stacked(steering), stacked(expected))
    with pytest.raises(TrimtabError, match="needs the other users' entries"):
        settings.select(OWN, QUERY)
    only = replace(settings, collective=0.0, personal=0.0, contrast="response")
    picked = only.select(OWN, QUERY, others=OTHERS)
    assert picked is not None
    assert {p.entry.contrast for p in picked.picked} == {"response"}


@pytest.mark.parametrize("kept", ["mapping", "store"])
def test_a_population_of_a_mapping_and_of_a_store_are_the_same(kept: str, tmp_path: Path) -> None:
    halved = [own.replaced(vectors=own.vectors.half().float()) for own in (OWN, BOB, CID)]
    dictionaries: Mapping[str, SteeringDictionary] = {own.user_id: own for own in halved}
    if kept == "store":
        store = SteeringStore(tmp_path / "users.db")
        store.put(*halved)
        dictionaries = store
    others = population_of(dictionaries, without="ann")
    for kind in ("response", "context"):
        expected = torch.cat([own.vectors[rows(own, kind)] for own in halved[1:]]).mean(dim=0)
        mean = others.mean(kind).values  # type: ignore[arg-type]
        torch.testing.assert_close(torch.stack([mean[p] for p in POINTS]), expected)


def test_nobody_else_is_no_population() -> None:
    with pytest.raises(TrimtabError, match="others than 'ann', got none"):
        population_of({"ann": OWN}, without="ann")
