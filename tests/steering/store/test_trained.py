"""Trained stages in a store: given back, applied for their own user alone, gone with the user."""

from pathlib import Path

import pytest
import torch

from trimtab import TrimtabError
from trimtab.steering import Point, Steering, SteeringVectors
from trimtab.steering.store.steering_store import SteeringStore
from trimtab.steering.store.trained import TrainedSteer, keep_stages, kept_stages
from trimtab.steering.vectors.low_rank import Lora, ModuleName, Shift, Stage
from trimtab.steering.vectors.positions import PromptEdges


def stage(value: float) -> Stage:
    return Stage({1: Shift(torch.full((4,), value))}, PromptEdges(2, 2))


def test_a_user_is_steered_by_their_own(store: SteeringStore) -> None:
    lora = Stage(
        positions="all",
        modules={ModuleName(0, "q_proj"): Lora(torch.ones(1, 4), torch.ones(4, 1), 0.5)},
    )
    keep_stages(store, "ann", "perfit", [stage(1), lora], fingerprint="f")
    keep_stages(store, "bob", "perfit", [stage(2)], fingerprint="f")
    first, second = kept_stages(SteeringStore(store.uri), "ann", "perfit", fingerprint="f")
    assert first.positions == PromptEdges(2, 2) and first.layers[1].bias.tolist() == [1.0] * 4
    assert second.modules[ModuleName(0, "q_proj")].scale == 0.5
    assert kept_stages(store, "ann", "other") == ()
    with pytest.raises(TrimtabError, match="'perfit' of 'ann' were trained for another model"):
        kept_stages(store, "ann", "perfit", fingerprint="x")

    vectors = SteeringVectors({Point(1, "mlp"): torch.ones(4)})
    shared = stage(9)
    steer = TrainedSteer(
        store,
        "perfit",
        shared=[shared],
        steer=lambda user, query, before=None: Steering(vectors) if user == "ann" else None,
        fingerprint="f",
    )
    own = steer("ann", "a question")
    assert own is not None and own.vectors is vectors and own.stages[0] is shared
    assert [len(each.layers) for each in own.stages] == [1, 1, 0]
    other = steer("bob", "a question")
    assert other is not None and not other.vectors.values
    assert other.stages[1].layers[1].bias.tolist() == [2.0] * 4
    unknown = steer("eve", "a question")
    assert unknown is not None and unknown.stages == (shared,)
    # What changes in the store is seen at once, and nobody who is switched off is steered.
    keep_stages(store, "bob", "perfit", [stage(3)], fingerprint="f")
    other = steer("bob", "a question")
    assert other is not None and other.stages[1].layers[1].bias.tolist() == [3.0] * 4
    store.switch("bob", enabled=False)
    assert steer("bob", "a question") is None
    store.forget("ann")
    assert kept_stages(store, "ann", "perfit") == ()


def test_what_is_something_else_is_refused(store: SteeringStore, tmp_path: Path) -> None:
    store.put_intervention("ann", "perfit", {"a": torch.ones(2)})
    with pytest.raises(TrimtabError, match="'perfit' of 'ann' holds no interventions"):
        kept_stages(store, "ann", "perfit")
