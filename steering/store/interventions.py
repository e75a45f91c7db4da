"""A user's low-rank intervention to bytes and back: one safetensors file in memory."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from safetensors.torch import load, save
from torch import Tensor

from ...errors import TrimtabError

_META = "trimtab"
_LENGTH_BYTES = 8  # of the header's length, with which a safetensors file begins


class KeptIntervention(NamedTuple):
    """A low-rank intervention as it was given to the store.

    Attributes:
        tensors: Its numbers by name.
        meta: What else is known of it.
    """

    tensors: dict[str, Tensor]
    meta: dict[str, Any]


def to_bytes(name: str, tensors: Mapping[str, Tensor], meta: Mapping[str, Any]) -> bytes:
    """A safetensors file, with what else is known in its header.

    Raises:
        TrimtabError: No name, no tensors, one that is none, or meta that is not plain JSON.
    """
    what = f"the intervention {name!r}"
    if not isinstance(name, str) or not name:
        raise TrimtabError(f"expected a name for the intervention, got {name!r}")
    if not tensors or not all(isinstance(tensor, Tensor) for tensor in tensors.values()):
        raise TrimtabError(f"expected tensors by name for {what}, got {list(tensors.items())!r}")
    try:
        about = json.dumps(dict(meta), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise TrimtabError(f"expected plain JSON values beside {what}: {error}") from error
    # Copies, since safetensors takes no two tensors that share memory.
    plain = {key: tensor.detach().cpu().clone().contiguous() for key, tensor in tensors.items()}
    return save(plain, metadata={_META: about})


def from_bytes(content: bytes) -> KeptIntervention:
    """What ``to_bytes`` was given."""
    length = int.from_bytes(content[:_LENGTH_BYTES], "little")
    header = json.loads(content[_LENGTH_BYTES : _LENGTH_BYTES + length])
    meta = header.get("__metadata__", {}).get(_META, "{}")
    return KeptIntervention(load(content), json.loads(meta))
