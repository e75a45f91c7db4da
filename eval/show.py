"""One episode, shown to a person: what was asked, remembered, picked, called, returned, scored."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.rule import Rule
from rich.text import Text

if TYPE_CHECKING:
    from ..agent.episode import Step
    from .shop import ScoredEpisode

_RESULT_LINES = 3
_LINE_CHARACTERS = 160


def episode_view(scored: ScoredEpisode) -> Group:
    """An episode for ``console.print``."""
    episode = scored.episode
    title = f"{scored.task_id}  {scored.type}  {scored.user_id}  {scored.arm}"
    lines: list[RenderableType] = [Rule(Text(title), align="left")]
    if episode is None:
        return Group(*lines, _labelled("broken off", [scored.error], style="red"))
    lines.append(_labelled("request", [episode.request], style="bold"))
    if episode.purchases:
        lines.append(_labelled("purchases", _first(episode.purchases)))
    if episode.remembered:
        lines.append(_labelled("memory", episode.remembered))
    for step in episode.steps:
        lines.extend(_step_view(step))
    score = ", ".join(
        f"{name} {'–' if math.isnan(value) else format(value, '.2f')}"
        for name, value in [("function", scored.function), ("result", scored.result)]
    )
    right = scored.function == 1
    lines.append(_labelled("score", [score], style="green" if right else "red"))
    if scored.error:
        lines.append(_labelled("broken off", [scored.error], style="red"))
    return Group(*lines)


def _step_view(step: Step) -> list[Text]:
    views = []
    if step.picked:
        picked = [
            f"weight {entry.weight:.2f}, similarity {entry.similarity:.2f}: {entry.key}"
            for entry in step.picked
        ]
        views.append(_labelled("picked", picked, style="cyan"))
    if step.call is not None:
        arguments = json.dumps(step.call.arguments, ensure_ascii=False)
        views.append(_labelled("call", [f"{step.call.name} {_one_line(arguments)}"], style="bold"))
    else:
        views.append(_labelled("answer", [_one_line(step.text) or "(nothing)"]))
    shown = _first(step.content.splitlines(), _RESULT_LINES)
    views.append(_labelled("error" if step.error else "result", shown, "red" if step.error else ""))
    return views


def _labelled(label: str, lines: Sequence[str], style: str = "") -> Text:
    text = Text()
    for number, line in enumerate(lines):
        text.append(f"{label if number == 0 else '':>10}  ", style="dim")
        text.append(_one_line(line), style=style)
        text.append("\n")
    text.rstrip()
    return text


def _first(lines: Sequence[str], count: int = 5) -> list[str]:
    kept = [_one_line(line) for line in lines[:count]]
    return [*kept, f"... {len(lines) - count} more"] if len(lines) > count else kept


def _one_line(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _LINE_CHARACTERS else f"{line[: _LINE_CHARACTERS - 3]}..."
