"""Contrast pairs of ToolSpectrum: from a person's other requests, and from the persona's text.

*Response* contrast, as for the shop's tools: the prompt is the same, the chosen side starts the
call that suits the person, the rejected one the call of a competing app that the model itself likes
best. *Context* contrast: the prompt with the persona's text and without it, the same start of a
call after both; its requests are other people's, so that it needs nothing of the person's past.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from ....agent.calling.calls import call_head
from ....envs.toolspectrum.descriptions import AppFunction
from ....envs.toolspectrum.items import SpectrumItem, ToolSpectrum
from ....steering.contrast.pairs import ContrastPair, Exchange
from ....steering.reading.likelihood import answer_log_likelihoods
from .prompt import request_messages

if TYPE_CHECKING:
    from ....steering.model import SteeredModel

Schemas = Callable[[SpectrumItem], Sequence[Mapping[str, object]]]
"""The tools that the prompt of a request shows, as OpenAI dicts."""


def choice_pairs(
    model: SteeredModel, data: ToolSpectrum, items: Sequence[SpectrumItem], schemas: Schemas
) -> dict[str, list[ContrastPair]]:
    """Response contrast: one pair an item, by persona; none where no app competes.

    Args:
        model: Whose own wrong choice is the rejected side.
        data: The functions.
        items: Of competing apps that are offered together, so that their prompts begin alike.
        schemas: What the prompts show.
    """
    every = [
        (item, _pair(item, data, other, schemas(item)))
        for item in items
        for other in _competitors(item, data)
    ]
    if not every:
        return {}
    liked = answer_log_likelihoods(model, [model.tokenized(pair.negative) for _, pair in every])
    best: dict[str, tuple[float, str, ContrastPair]] = {}
    for (item, pair), score in zip(every, liked.tolist(), strict=True):
        if item.id not in best or score > best[item.id][0]:
            best[item.id] = score, item.persona, pair
    pairs: dict[str, list[ContrastPair]] = {}
    for _, persona, pair in best.values():
        pairs.setdefault(persona, []).append(pair)
    return pairs


def persona_pairs(
    personas: Mapping[str, str], references: Sequence[SpectrumItem], schemas: Schemas
) -> dict[str, list[ContrastPair]]:
    """Context contrast: one pair a persona and reference request, by persona.

    Args:
        personas: Who they are, in words, by id.
        references: Other people's requests.
        schemas: What the prompts show.
    """
    return {
        persona: [
            ContrastPair(
                sample_id=f"reference {item.id}",
                request=item.request,
                positive=Exchange(
                    request_messages(item.request, persona=text), opened_call(), schemas(item)
                ),
                negative=Exchange(request_messages(item.request), opened_call(), schemas(item)),
                contrast="context",
            )
            for item in references
        ]
        for persona, text in personas.items()
    }


def reference_items(data: ToolSpectrum, count: int, seed: int) -> list[SpectrumItem]:
    """So many requests at which apps compete, each of another wording, drawn."""
    of_request = {item.request: item for item in data.items if len(data.competing[item.app]) > 1}
    items = sorted(of_request.values(), key=lambda item: int(item.id))
    return random.Random(seed).sample(items, min(count, len(items)))


def _competitors(item: SpectrumItem, data: ToolSpectrum) -> list[AppFunction]:
    """The same function of the competing apps; where none has it, all that they have."""
    others = [
        each
        for each in data.functions
        if each.app in data.competing[item.app] and each.app != item.app
    ]
    return [each for each in others if each.name == item.function] or others


def _pair(
    item: SpectrumItem,
    data: ToolSpectrum,
    other: AppFunction,
    schemas: Sequence[Mapping[str, object]],
) -> ContrastPair:
    messages = request_messages(item.request)
    right = data.function(item.app, item.function)
    return ContrastPair(
        sample_id=item.id,
        request=item.request,
        positive=Exchange(messages, call_head(right.tool.name), schemas),
        negative=Exchange(messages, call_head(other.tool.name), schemas),
        contrast="response",
    )


def opened_call() -> str:
    """A call up to where the app's name begins."""
    head = call_head("x")
    return head[: head.rindex("x")]
