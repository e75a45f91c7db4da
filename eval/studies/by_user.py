"""A study that asks user by user, and keeps what was chosen as each user ends."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..runs.folder import run_folder

KEPT = "choices"
"""The folder of what is kept, inside the study's own."""


def chosen_by_user(
    folder: Path,
    configuration: Mapping[str, Any],
    users: Sequence[str],
    ask: Callable[[str], list[list[Any]]],
) -> dict[str, list[list[Any]]]:
    """What was chosen for each user: kept ones are read, the others are asked.

    Ctrl-C ends the asking; the users that have ended are returned, if there are any.

    Args:
        folder: The study's; the same one resumes a study that was broken off.
        configuration: Plain data that decides the choices.
        users: In the order in which they are asked.
        ask: The choices of one user, as plain data.

    Raises:
        TrimtabError: The folder keeps choices of another study.
        KeyboardInterrupt: No user has ended.
    """
    with run_folder(folder / KEPT, configuration) as results:
        ended = {record["user"]: record["choices"] for record in results.records}
        try:
            for user in users:
                if user not in ended:
                    choices = ask(user)
                    results.append({"user": user, "choices": choices})
                    ended[user] = choices
        except KeyboardInterrupt:
            if not ended:
                raise
    return {user: ended[user] for user in users if user in ended}
