"""A scored shopping episode as a record, so that shopping runs are reported like all others."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from ...agent.loop.prompt import user_message
from ...envs.shop.scoring import right_tool
from ...errors import TrimtabError
from ..runs.record import Record


def episode_record(plain: Mapping[str, Any]) -> Record:
    """The record of what ``ScoredEpisode.to_json`` made.

    The output is the episode's calls, one a line; the gold is the name of the tool that the task
    asks for and, where it was kept, what the user was after. The episode itself is in ``detail``.

    Raises:
        TrimtabError: It is not a scored episode.
    """
    try:
        episode = plain["episode"] or {}
        steps = episode.get("steps", [])
        return Record(
            method=plain["arm"],
            sample_id=plain["task_id"],
            user_id=plain["user_id"],
            kind=plain["type"],
            prompt=_prompt(episode),
            output="\n".join(_answer(step) for step in steps),
            gold=" ".join(filter(None, (right_tool(plain["type"]), plain.get("target")))),
            scores={"function": plain["function"], "result": plain["result"]},
            history=plain.get("history", 0),
            picked=_picked(steps),
            prompt_tokens=sum(step["prompt_tokens"] for step in steps),
            completion_tokens=sum(step["completion_tokens"] for step in steps),
            seconds=sum(step["seconds"] for step in steps),
            error=plain["error"],
            detail={"episode": episode} if episode else {},
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise TrimtabError(f"not the record of a scored episode: {error!r}") from error


def _prompt(episode: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The user's first message; the system prompt before it depends on track and prompting."""
    if not episode:
        return []
    shown = {"purchases": episode["purchases"], "memory": episode["remembered"]}
    return [{"role": "user", "content": user_message(episode["request"], **shown)}]


def _answer(step: Mapping[str, Any]) -> str:
    """One step's call, or its text where it was none."""
    call = step["call"]
    if call is None:
        return str(step["text"])
    return f"{call['name']} {json.dumps(call['arguments'], ensure_ascii=False)}"


def _picked(steps: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """What steered the first step; later ones are asked with the same request."""
    return [dict(entry) for entry in steps[0]["picked"]] if steps else []
