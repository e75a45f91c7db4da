"""What earlier releases wrote into a run's folder, in today's names.

Read for one release.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from ...agent.loop.prompt import user_message
from ...envs.shop.scoring import right_tool
from ...errors import TrimtabError


def current_names(configuration: Mapping[str, Any]) -> dict[str, Any]:
    """A run's configuration with today's names, and with the settings that came later."""
    names = {"study": "command" if "task" in configuration else "task", "arms": "methods"}
    return {names.get(name, name): _with_later_settings(v) for name, v in configuration.items()}


def _with_later_settings(value: Any) -> Any:
    """Steering settings, wherever they are, with those that came later at what they were then."""
    if isinstance(value, Mapping):
        known = {name: _with_later_settings(each) for name, each in value.items()}
        return {"half_life": 0.0, **known} if {"sites", "aggregate", "k"} <= known.keys() else known
    if isinstance(value, list):
        return [_with_later_settings(each) for each in value]
    return value


def is_old(plain: Mapping[str, Any]) -> bool:
    """Whether a line of results is an episode under an arm, as `trimtab run` wrote them."""
    return "arm" in plain


def as_record(plain: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of the record that such a line is today.

    Raises:
        TrimtabError: It is not a scored episode.
    """
    try:
        episode = plain["episode"] or {}
        steps = episode.get("steps", [])
        return {
            "method": plain["arm"],
            "sample_id": plain["task_id"],
            "user_id": plain["user_id"],
            "kind": plain["type"],
            "prompt": _prompt(episode),
            "output": "\n".join(_answer(step) for step in steps),
            "gold": " ".join(filter(None, (right_tool(plain["type"]), plain.get("target")))),
            "scores": {"function": plain["function"], "result": plain["result"]},
            "history": plain.get("history", 0),
            "picked": _picked(steps),
            "prompt_tokens": sum(step["prompt_tokens"] for step in steps),
            "completion_tokens": sum(step["completion_tokens"] for step in steps),
            "seconds": sum(step["seconds"] for step in steps),
            "error": plain["error"],
            "detail": {"episode": episode} if episode else {},
        }
    except (KeyError, TypeError, AttributeError) as error:
        raise TrimtabError(f"not the record of a scored episode: {error!r}") from error


def _prompt(episode: Mapping[str, Any]) -> list[dict[str, Any]]:
    if not episode:
        return []
    shown = {"purchases": episode["purchases"], "memory": episode["remembered"]}
    return [{"role": "user", "content": user_message(episode["request"], **shown)}]


def _answer(step: Mapping[str, Any]) -> str:
    call = step["call"]
    if call is None:
        return str(step["text"])
    return f"{call['name']} {json.dumps(call['arguments'], ensure_ascii=False)}"


def _picked(steps: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    return [dict(entry) for entry in steps[0]["picked"]] if steps else []
