"""What a sub-layer adds to the residual stream, and how its modules' outputs are read and changed.

Most sub-layers are one module. In some families several run side by side and their outputs are
added up: a mixture of experts and an expert that all tokens share, attention and a state-space
model. A module may return its hidden states in a tuple, or with all rows' tokens in one dimension.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn


@dataclass(frozen=True)
class Sublayer:
    """Attention or the MLP of a layer: the modules whose outputs, scaled, are added to the stream.

    Attributes:
        module: The one that runs last. Vectors are added to its output.
        scale: What its output is multiplied by before it is added.
        before: Those that run before it, each with its scale.
    """

    module: nn.Module
    scale: float = 1.0
    before: tuple[tuple[nn.Module, float], ...] = ()

    @property
    def modules(self) -> tuple[nn.Module, ...]:
        """All of them, in the order in which they run."""
        return (*(module for module, _ in self.before), self.module)

    def hook(self, act: Callable[[Any, Tensor | None], Any]) -> list[Any]:
        """Call ``act`` in every pass when all modules have run.

        Args:
            act: Takes the output of ``module`` as it is, and what the modules before it add to the
                stream, or None where there is none; it returns another output, or None.

        Returns:
            The handles that remove the hooks.
        """
        kept: dict[tuple[int, nn.Module], Tensor] = {}  # by thread: several may run the model

        def keep(scale: float) -> Any:
            def hook(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
                kept[threading.get_ident(), module] = first_tensor(output) * scale

            return hook

        def last(module: nn.Module, args: tuple[Any, ...], output: Any) -> Any:
            others: Tensor | None = None
            for other, _ in self.before:
                # Missing where another thread's pass had begun before the hooks were there.
                added = kept.pop((threading.get_ident(), other), None)
                if added is not None:
                    others = added if others is None else others + added
            return act(output, others)

        handles = [each.register_forward_hook(keep(scale)) for each, scale in self.before]
        return [*handles, self.module.register_forward_hook(last)]


def first_tensor(output: Tensor | tuple[Any, ...]) -> Tensor:
    """The hidden states of a module's output, which some modules return in a tuple."""
    return output[0] if isinstance(output, tuple) else output


def by_rows(hidden: Tensor, rows: int) -> Tensor:
    """Hidden states as ``(rows, tokens, size)``, also where all tokens lie in one dimension."""
    return hidden.reshape(rows, -1, hidden.shape[-1]) if hidden.ndim == 2 else hidden


def replaced(output: Tensor | tuple[Any, ...], hidden: Tensor) -> Tensor | tuple[Any, ...]:
    """A module's output with other hidden states in the place of its own."""
    shaped = hidden.reshape(first_tensor(output).shape)
    return (shaped, *output[1:]) if isinstance(output, tuple) else shaped
