"""Whether a call is the one that suits the person: its app, its function, its arguments."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ....agent.calling.tool_call import ToolCall
from ....envs.toolspectrum.descriptions import AppFunction, tool_name
from ....envs.toolspectrum.items import SpectrumItem, ToolSpectrum
from ..scoring import same_value

METRICS = ("app", "function", "required", "personal", "call")
"""The right app where several compete; the right function, whichever app's; the share of the
required and of the personal arguments that are right; all of it."""

NAME_METRICS = METRICS[:2]
"""Those of a call that is written up to its function's name."""


def spectrum_scores(
    calls: Sequence[ToolCall],
    item: SpectrumItem,
    data: ToolSpectrum,
    offered: Sequence[str],
    *,
    name_only: bool = False,
) -> dict[str, float | None]:
    """The scores of an answer's first call; an answer without one scores 0.

    Arguments are scored where the function is right, whichever app's; else they are all wrong. What
    is not asked for is None: the app where one alone is offered, arguments where there are none.

    Args:
        calls: What the answer holds.
        item: What was asked, and what is right.
        data: The functions.
        offered: The apps whose functions the model was shown.
        name_only: The call ends with its function's name, so that no argument is scored.
    """
    function = data.function(item.app, item.function)
    called = calls[0] if calls else None
    app = called is not None and called.name.startswith(tool_name(item.app, ""))
    same = called is not None and called.name.rpartition(".")[2] == item.function
    choice = {"app": float(app) if len(offered) > 1 else None, "function": float(same)}
    if name_only:
        return choice
    given = called.arguments if called is not None and same else {}
    required = [name for name in function.required if name in item.arguments]
    personal = [name for name in function.personal if name in item.arguments or name in given]
    shares = {
        kind: _share(names, given, item) if same else (0.0 if names else None)
        for kind, names in (("required", required), ("personal", personal))
    }
    whole = app and same and all(share in (None, 1.0) for share in shares.values())
    return {**choice, **shares, "call": float(whole)}


def _share(names: Sequence[str], given: dict[str, Any], item: SpectrumItem) -> float | None:
    """How many of these arguments both sides have, and alike."""
    if not names:
        return None
    right = [
        name in given and name in item.arguments and _alike(given[name], item.arguments[name])
        for name in names
    ]
    return sum(right) / len(right)


def _alike(value: Any, right: Any) -> bool:
    """Whether two values are alike; the benchmark writes a list of one now as such, now bare."""
    return same_value(_bare(value), _bare(right), exact=False)


def _bare(value: Any) -> Any:
    return value[0] if isinstance(value, list) and len(value) == 1 else value


def right_call(item: SpectrumItem, function: AppFunction) -> ToolCall:
    """The call that suits the person."""
    return ToolCall(function.tool.name, dict(item.arguments))
