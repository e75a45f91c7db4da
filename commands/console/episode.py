"""One episode, shown to a person: what was asked, remembered, picked, called, returned, scored."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Group
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from ...eval.shop.record import episode_of

if TYPE_CHECKING:
    from ...agent.loop.episode import Step
    from ...agent.users.user_goal import UserGoal
    from ...eval.runs.record import Record

_RESULT_LINES = 3
_LINE_CHARACTERS = 160


def episode_view(record: Record, *, steps: bool = True) -> Group:
    """An episode for ``console.print``, with its steps or without."""
    episode = episode_of(record)
    title = f"{record.sample_id}  {record.kind}  {record.user_id}  {record.method}"
    view = _view()
    if episode is not None:
        _add(view, "request", [episode.request], "bold")
        _add(view, "purchases", _first(episode.purchases))
        _add(view, "memory", episode.remembered)
        for step in episode.steps if steps else ():
            _add_step(view, step)
        score = ", ".join(
            f"{name} {'–' if value is None else format(value, '.2f')}"
            for name, value in record.scores.items()
        )
        right = record.scores.get("function") == 1
        _add(view, "score", [score], "green" if right else "red")
    elif record.output:
        _add(view, "answer", [record.output])
    if record.error:
        _add(view, "broken off", [record.error], "red")
    return Group(Rule(Text(title), align="left"), view)


def step_view(step: Step) -> Table:
    """One step for ``console.print``."""
    view = _view()
    _add_step(view, step)
    return view


def user_goal_view(user_goal: UserGoal, user_id: str) -> Group:
    """Who a person is to be, and what they are to want, for ``console.print``."""
    view = _view()
    for name, value in user_goal.persona.items():
        _add(view, name, [value])
    aim = {
        "search": "find this in the shop",
        "recommend": "be recommended something like this",
        "review": "have a review of this posted",
    }.get(user_goal.type, user_goal.type)
    _add(view, "you want to", [aim], "bold")
    price = [] if user_goal.price is None else [f"{user_goal.price:.2f}"]
    _add(view, "product", [", ".join([user_goal.title, user_goal.store, *price])], "bold")
    _add(view, "", user_goal.features)
    if user_goal.type == "review":
        _add(view, "you think", [user_goal.review])
    return Group(Rule(Text(f"You are {user_id}"), align="left"), view)


def _view() -> Table:
    view = Table.grid(padding=(0, 2, 0, 0))
    view.add_column(justify="right", style="dim", no_wrap=True)
    view.add_column(overflow="fold")
    return view


def _add_step(view: Table, step: Step) -> None:
    picked = [
        f"weight {entry.weight:.2f}, similarity {entry.similarity:.2f}: {entry.key}"
        for entry in step.picked
    ]
    _add(view, "picked", picked, "cyan")
    _add(view, "thought", [step.thought] if step.thought else [])
    if step.call is not None:
        arguments = json.dumps(step.call.arguments, ensure_ascii=False)
        _add(view, "call", [f"{step.call.name} {arguments}"], "bold")
    else:
        _add(view, "answer", [step.text or "(nothing)"])
    shown = _first(step.content.splitlines(), _RESULT_LINES)
    _add(view, "error" if step.error else "result", shown, "red" if step.error else "")
    _add(view, "user", [step.reply] if step.reply else [], "bold")


def _add(view: Table, label: str, lines: Sequence[str], style: str = "") -> None:
    """Add lines below each other, the label beside the first; nothing for no lines."""
    for number, line in enumerate(lines):
        view.add_row(label if number == 0 else "", Text(_one_line(line), style=style))


def _first(lines: Sequence[str], count: int = 5) -> list[str]:
    more = len(lines) - count
    return [*lines[:count], f"... {more} more"] if more > 0 else list(lines)


def _one_line(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _LINE_CHARACTERS else f"{line[: _LINE_CHARACTERS - 3]}..."
