"""Which tool a model would call: the likeliest start of a call; nothing is generated."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ...agent.calling.calls import call_head
from ...agent.shop.pairs import task_prompt
from ...steering.contrast.pairs import Exchange
from ...steering.reading.likelihood import answer_log_likelihoods

if TYPE_CHECKING:
    from ...envs.shop.environment import ShopEnvironment
    from ...envs.shop.records import ShoppingTask
    from ...steering.model import SteeredModel
    from ...steering.vectors.steering import Steering


@dataclass(frozen=True)
class SteeredTask:
    """One request under one way to answer it.

    Attributes:
        task: The request.
        steering: What is added.
        memory: What of the past the prompt shows, a line each.
    """

    task: ShoppingTask
    steering: Steering | None = None
    memory: tuple[str, ...] = ()


def chosen_tools(
    model: SteeredModel, shop: ShopEnvironment, asked: Sequence[SteeredTask]
) -> list[str]:
    """The tool that each request's answer would most likely call.

    Equal prompts run once, however many steerings they are asked under.
    """
    names, tools = shop.toolkit.names, shop.toolkit.schemas()
    exchanges = [
        Exchange(task_prompt(shop, each.task, each.memory), call_head(name), tools)
        for each in asked
        for name in names
    ]
    scores = answer_log_likelihoods(
        model,
        [model.tokenized(exchange) for exchange in exchanges],
        [each.steering for each in asked for _ in names],
    )
    return [names[best] for best in scores.reshape(len(asked), -1).argmax(dim=1).tolist()]


def study_configuration(name: str, model: SteeredModel, shop: ShopEnvironment) -> dict[str, Any]:
    """What decides the choices of a study, but for its own options; plain data."""
    return {
        "task": name,
        "model": model.configuration(),
        "world": {"name": shop.world.name, "fingerprint": shop.world.fingerprint},
    }


class NothingRecommended:
    """In the place of a shop's recommender, where only the tools' names and words matter."""

    def recommend(self, sequence: Sequence[str], k: int = 10) -> list[str]:
        """No product."""
        return []
