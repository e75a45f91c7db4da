"""PER-PCS: people's LoRAs in pieces, each with a gate, and a new person's put together from them.

Tan et al., *Personalized Pieces* (arXiv 2406.10471). A piece is one sharer's term beside one linear
module. Its gate is a direction of the module's input, trained with the piece frozen:
``x -> W x + sigmoid(g x) B A x``. A new person gets, beside each module, the pieces whose gates lie
nearest to the inputs that their own past gives there.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ...steering.vectors.low_rank import Lora, ModuleName, Stage
from ...steering.vectors.positions import Where
from .trainable import LoraStack, Place


class GateStack:
    """A gate for every sharer's every piece; the pieces are frozen.

    Args:
        pieces: The sharers' LoRAs.
    """

    apart = True

    def __init__(self, pieces: LoraStack) -> None:
        self._pieces = pieces
        self._down = {n: pieces.numbers[f"{n}.down"].detach() for n in pieces.shapes}
        self._up = {n: pieces.numbers[f"{n}.up"].detach() for n in pieces.shapes}
        self.positions: Where = pieces.positions
        self.numbers = {
            str(name): torch.zeros(
                pieces.owners, inputs, device=self._down[name].device
            ).requires_grad_()
            for name, (inputs, _) in pieces.shapes.items()
        }

    @property
    def places(self) -> tuple[Place, ...]:
        """The modules."""
        return self._pieces.places

    @property
    def description(self) -> Mapping[str, Any]:
        """The pieces' own, and their numbers."""
        total = sum(
            t.double().square().sum().item() for t in (*self._down.values(), *self._up.values())
        )
        return {"kind": "gates", "pieces": dict(self._pieces.description), "squares": total}

    def delta(self, place: Place, x: Tensor, owners: Tensor) -> Tensor:
        """See ``Trainable``."""
        assert isinstance(place, ModuleName)
        gate = (x * self.numbers[str(place)][owners][:, None]).sum(dim=-1, keepdim=True).sigmoid()
        down, up = self._down[place][owners], self._up[place][owners]
        added = (x @ down.transpose(1, 2)) @ up.transpose(1, 2)
        return gate * self._pieces.alpha / self._pieces.rank * added

    @torch.no_grad()
    def put_together(self, inputs: Mapping[ModuleName, Tensor], count: int) -> Stage:
        """A new person's LoRA.

        Args:
            inputs: The mean input of each module over the person's past, ``(inputs,)``.
            count: How many pieces beside each module.
        """
        terms: dict[ModuleName, Lora] = {}
        for name, down in self._down.items():
            gates = self.numbers[str(name)].detach()
            mean = inputs[name].to(gates.device)
            likeness = torch.nn.functional.cosine_similarity(gates, mean[None], dim=1)
            best, places = likeness.topk(min(count, len(likeness)))
            weights = best.softmax(dim=0)
            chosen = [self._up[name][n] * weight for n, weight in zip(places, weights, strict=True)]
            terms[name] = Lora(
                torch.cat([down[n] for n in places]).cpu(),
                torch.cat(chosen, dim=1).cpu(),
                self._pieces.alpha / self._pieces.rank,
            )
        return Stage(positions=self.positions, modules=terms)
