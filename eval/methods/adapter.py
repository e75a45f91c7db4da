"""A LoRA adapter that the model runs under, loaded once and switched off when it is not wanted."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ...errors import TrimtabError
from ...steering.weights.quiet import without_loading_bars

if TYPE_CHECKING:
    from ...steering.model import SteeredModel

_FILES = ("adapter_config.json", "adapter_model.safetensors")


@dataclass(frozen=True)
class Adapter:
    """A folder that PEFT's ``save_pretrained`` wrote.

    Attributes:
        key: A digest of its files.
        path: The folder.
    """

    key: str
    path: str

    @classmethod
    def at(cls, path: Path | str) -> Adapter:
        """The adapter in a folder.

        Raises:
            TrimtabError: No such folder, not an adapter, or PEFT is not installed.
        """
        import importlib.util

        if importlib.util.find_spec("peft") is None:
            raise TrimtabError("a LoRA adapter needs PEFT; pip install 'trimtab[lora]'")
        folder = Path(path).expanduser()
        digest = hashlib.sha256()
        for name in _FILES:
            try:
                digest.update((folder / name).read_bytes())
            except OSError as error:
                raise TrimtabError(
                    f"{folder} is no LoRA adapter: expected {' and '.join(_FILES)} in it; "
                    f"{error.strerror} ({name})"
                ) from error
        return cls(digest.hexdigest()[:16], str(folder))

    @contextmanager
    def active(self, model: SteeredModel) -> Iterator[None]:
        """Put the adapter on inside the context; the first time, this loads it.

        Raises:
            TrimtabError: It was made for another model.
        """
        hf = model.hf
        model.fingerprint  # noqa: B018  worked out, and kept, before there are other weights in it
        name = f"trimtab-{self.key}"
        if name not in (getattr(hf, "peft_config", None) or {}):
            try:
                with without_loading_bars():
                    hf.load_adapter(self.path, adapter_name=name)
            except (ValueError, RuntimeError, OSError) as error:
                raise TrimtabError(
                    f"cannot load the adapter at {self.path} into {model.name}: "
                    f"{str(error).splitlines()[0]}; was it trained for this model?"
                ) from error
            hf.eval().requires_grad_(False)
        hf.enable_adapters()
        hf.set_adapter(name)
        try:
            yield
        finally:
            hf.disable_adapters()
