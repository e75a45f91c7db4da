"""Work in passes of so many tokens, which are halved once where memory runs out."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import torch

from ...errors import TrimtabError
from ...steering.decoder.devices import out_of_memory

T = TypeVar("T")

_log = logging.getLogger(__name__)

TOKENS_AT_ONCE = {"cpu": 4096, "cuda": 32768}
"""Tokens in one pass, padding included, by kind of device."""


@dataclass
class TokenBudget:
    """How many tokens go into one pass.

    Attributes:
        tokens: So many, padding included.
        device: Where.
        halved: Whether it was more.
    """

    tokens: int
    device: torch.device
    halved: bool = False

    @classmethod
    def on(cls, device: torch.device, tokens: int | None = None) -> TokenBudget:
        """So many on a device; None is what its kind mostly has room for."""
        return cls(tokens or TOKENS_AT_ONCE.get(device.type, 4096), device)

    def within(self, work: Callable[[], T], again: Callable[[], None] = lambda: None) -> T:
        """Do it, and once more in passes of half as many tokens where memory runs out.

        Args:
            work: Reads ``tokens`` as it begins.
            again: Called before the second time.

        Raises:
            TrimtabError: There is no memory for half as many either.
        """
        while True:
            try:
                return work()
            except Exception as error:
                if not out_of_memory(error):
                    raise
                if self.halved:
                    raise TrimtabError(
                        f"no memory to train in passes of {self.tokens} tokens, half of the "
                        "usual: take shorter samples, a lower rank, fewer layers or a smaller model"
                    ) from error
            # Out here the frames of what failed are gone, and their tensors with them.
            self.halved = True
            self.tokens //= 2
            _log.warning(
                "no memory for so many tokens at once: trying half as many, %d", self.tokens
            )
            again()
            if self.device.type == "cuda":
                torch.cuda.empty_cache()
