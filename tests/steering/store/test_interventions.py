"""Low-rank interventions in a store: given back, sealed, copied and forgotten with the user."""

from pathlib import Path
from typing import Any

import pytest
import torch

from trimtab import TrimtabError
from trimtab.steering.store.steering_store import SteeringStore


def test_are_given_back_as_they_were_put(store: SteeringStore) -> None:
    assert store.intervention("ann", "perfit") is None
    square = torch.arange(6.0).reshape(2, 3)
    tensors = {
        "rotate": square.T,  # not contiguous, and sharing memory with the next one
        "source": square,
        "bias": torch.randn(4, requires_grad=True).bfloat16(),
        "none": torch.zeros(0, 5),
    }
    meta = {"layers": [3, 7], "rank": 2, "fingerprint": "ff", "text": "ä 例"}
    store.put_intervention("ann", "perfit", tensors, meta)
    found = SteeringStore(store.uri).intervention("ann", "perfit")
    assert found is not None and found.meta == meta and set(found.tensors) == set(tensors)
    for name, tensor in tensors.items():
        assert torch.equal(found.tensors[name], tensor.detach())
        assert found.tensors[name].dtype == tensor.dtype
    store.put_intervention("ann", "perfit", {"bias": torch.ones(2)})
    found = store.intervention("ann", "perfit")
    assert list(found.tensors) == ["bias"] and found.meta == {}
    assert store.intervention("ann", "other") is store.intervention("bob", "perfit") is None
    assert store.users() == [] and store.user("ann").dictionary is None


def test_are_dropped_one_by_one(store: SteeringStore) -> None:
    for name in ("perfit", "loreft"):
        store.put_intervention("ann", name, {"a": torch.ones(2)})
    version = store.user("ann").version
    assert store.drop_intervention("ann", "perfit") is True
    assert store.drop_intervention("ann", "perfit") is False
    assert store.intervention("ann", "perfit") is None
    assert store.intervention("ann", "loreft").tensors["a"].tolist() == [1, 1]
    assert store.user("ann").version > version
    assert [(e.event, e.count) for e in store.audit("ann")] == [
        ("added", 1), ("added", 1), ("dropped", 1)
    ]  # fmt: skip


def test_are_sealed_and_leave_with_the_user(tmp_path: Path) -> None:
    store = SteeringStore(tmp_path / "users.db")
    store.put_intervention("ann", "perfit", {"geheim": torch.ones(64)}, {"note": "geheim"})
    store.close()
    files = [path.read_bytes() for path in tmp_path.iterdir()]
    assert files and not any(b"geheim" in content for content in files)
    store.forget("ann")
    assert store.intervention("ann", "perfit") is None and store.user("ann") is None


@pytest.mark.parametrize(
    ("name", "tensors", "meta", "said"),
    [
        ("", {"a": torch.ones(1)}, {}, "expected a name for the intervention, got ''"),
        ("perfit", {}, {}, "expected tensors by name for the intervention 'perfit', got"),
        ("perfit", {"a": [1.0]}, {}, "expected tensors by name"),
        ("perfit", {"a": torch.ones(1)}, {"x": {1}}, "expected plain JSON values beside the"),
        ("perfit", {"a": torch.ones(1)}, {"x": float("nan")}, "expected plain JSON values"),
    ],
)
def test_what_cannot_be_kept_is_refused(
    tmp_path: Path, name: Any, tensors: Any, meta: Any, said: str
) -> None:
    store = SteeringStore(tmp_path / "users.db")
    with pytest.raises(TrimtabError, match=said) as caught:
        store.put_intervention("ann", name, tensors, meta)
    assert "\n" not in str(caught.value) and not (tmp_path / "users.db").exists()
