"""Beginnings of prompts on disk, for the first call of the next process.

A file holds what the layers made of a prompt's first tokens, for one model in one data type. It is
read only where nothing that could change a number differs: the weights, the data type, the kind of
device and of attention, and the versions of torch and transformers.
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ...files import replacing
from ..weights.packed import is_packed
from .devices import execution_device, weights_of
from .prefix import Prefix

if TYPE_CHECKING:
    from transformers import PreTrainedModel

MIN_TOKENS = 64
"""A shorter beginning runs about as fast as its file is found."""

_FORMAT = "1"  # of the files; another one is another key
_STRIDE = 61  # a prime: the sample meets every row, and every column of a matrix of 61 rows
_log = logging.getLogger(__name__)


class PrefixFiles:
    """The beginnings of one model's prompts in a folder that other models may share.

    Nothing here raises: what cannot be read is made again, and what cannot be written is not kept.

    Args:
        folder: Where the files of all models lie.
        hf: The model.
        max_bytes: What all files of the folder may take; those that were used least recently go.
    """

    def __init__(self, folder: Path, hf: PreTrainedModel, *, max_bytes: int = 512 * 2**20) -> None:
        self._folder = folder
        self._hf = hf
        self._room = max_bytes
        self._seen: set[str] = set()  # names of the files that are there, or cannot be

    @cached_property
    def _key(self) -> str:
        return numbers_key(self._hf)

    def load(self, tokens: Sequence[int]) -> Prefix | None:
        """What these tokens left in the cache of an earlier process; None if there is no file.

        A file that is damaged or not ours is removed, and a warning says so.
        """
        from safetensors import SafetensorError, safe_open

        if len(tokens) < MIN_TOKENS:
            return None
        path = self._path(tokens)
        try:
            with safe_open(path, "pt") as file:
                about = file.metadata() or {}
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            if (about.get("key"), about.get("sha256")) != (self._key, _digest(tensors)):
                raise ValueError("its contents are not those that it was written with")
            if tensors["tokens"].tolist() != list(tokens):
                raise ValueError("it holds other tokens")
            os.utime(path)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, SafetensorError) as error:
            _log.warning(f"a prompt's beginning is made again, since {path} is not used: {error}")
            _remove(path)
            return None
        self._seen.add(path.name)
        device = execution_device(self._hf)
        layers = range((len(tensors) - 1) // 2)
        return Prefix(
            tuple(tokens),
            tuple(
                (tensors[f"keys.{n}"].to(device), tensors[f"values.{n}"].to(device)) for n in layers
            ),
        )

    def keep(self, prefix: Prefix) -> None:
        """Write a prefix, unless its file is there or it is not worth one."""
        from safetensors.torch import save_file

        if len(prefix.tokens) < MIN_TOKENS or prefix.bytes > self._room:
            return
        path = self._path(prefix.tokens)
        if path.name in self._seen:
            return
        self._seen.add(path.name)  # and is not tried again where it cannot be written
        tensors = {"tokens": torch.tensor(prefix.tokens)}
        for number, (keys, values) in enumerate(prefix.states):
            for name, states in (("keys", keys), ("values", values)):
                # A copy: layers may share memory, which no file of this kind can say.
                tensors[f"{name}.{number}"] = states.cpu().clone(
                    memory_format=torch.contiguous_format
                )
        try:
            with replacing(path) as temporary:
                temporary.chmod(0o600)  # what an agent is told may be nobody else's business
                save_file(tensors, temporary, {"key": self._key, "sha256": _digest(tensors)})
            self._make_room()
        except OSError as error:
            _log.warning(f"a prompt's beginning is not kept for the next process: {error}")

    def _path(self, tokens: Sequence[int]) -> Path:
        name = hashlib.sha256(f"{self._key}/{list(tokens)}".encode()).hexdigest()
        return self._folder / f"{name[:32]}.safetensors"

    def _make_room(self) -> None:
        """Remove the files that were used least recently, until the others fit."""
        files = []
        for path in self._folder.iterdir():
            try:
                found = path.stat()
            except FileNotFoundError:  # another process has removed it
                continue
            files.append((found.st_mtime_ns, found.st_size, path))
        taken = sum(size for _, size, _ in files)
        for _, size, path in sorted(files):
            if taken <= self._room:
                return
            _remove(path)
            taken -= size


def numbers_key(hf: PreTrainedModel) -> str:
    """What tells apart two models that may make different numbers of the same tokens.

    Of every weight one number in 61 is looked at, so that an edit of any row or column shows; and
    in full precision, unlike ``LanguageModel.fingerprint``, which is the same for every data type.
    """
    import transformers

    about = {
        "format": _FORMAT,
        "config": hf.config.to_json_string(use_diff=False),
        "attention": str(hf.config.get_text_config()._attn_implementation),
        "device": execution_device(hf).type,
        "packed": is_packed(hf),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    }
    digest = hashlib.sha256(repr(sorted(about.items())).encode())
    for weights in (*weights_of(hf), *hf.buffers()):
        digest.update(f"{tuple(weights.shape)} {weights.dtype}".encode())
        digest.update(_bytes(weights.reshape(-1)[::_STRIDE]))
    return digest.hexdigest()


def _digest(tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(f"{name} {tuple(tensors[name].shape)} {tensors[name].dtype}".encode())
        digest.update(_bytes(tensors[name]))
    return digest.hexdigest()


def _bytes(tensor: Tensor) -> memoryview:
    # A single number out of a stride counts as contiguous, and still has the stride.
    plain = tensor.detach().cpu().reshape(-1).clone(memory_format=torch.contiguous_format)
    return plain.view(torch.uint8).numpy().data


def _remove(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        _log.warning(f"{path} cannot be removed: {error}")
