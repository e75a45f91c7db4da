"""A method's answers as LaMP's own evaluation and its leaderboard read them."""

from __future__ import annotations

from typing import Any

from ....envs.texts.lamp import LAMP
from ....errors import TrimtabError
from ..record import Run


def lamp_submission(run: Run, method: str) -> dict[str, Any]:
    """``{task, golds: [{id, output}]}``: the form of LaMP's ``outputs.json``, filled by a method.

    Raises:
        TrimtabError: The run is of no LaMP task, is not finished, has failed answers, or several
            answers a sample, which a submission cannot hold.
    """
    if run.task not in LAMP:
        raise TrimtabError(
            f"expected a run of one of LaMP's tasks ({', '.join(LAMP)}), got {run.task!r}"
        )
    records = run.of[method].values()
    failed = [record for record in records if record.error]
    if failed:
        raise TrimtabError(
            f"{len(failed)} answers of {method} were broken off ({failed[0].sample_id}: "
            f"{failed[0].error}); finish the run with `trimtab eval --resume {run.path}`, then "
            "export"
        )
    tests = run.configuration.get("data", {}).get("tests", 0)
    if len(records) < tests:
        raise TrimtabError(
            f"{method} has answered {len(records)} of {tests} samples; finish the run with "
            f"`trimtab eval --resume {run.path}`, then export"
        )
    if any(record.repeat for record in records):
        raise TrimtabError(
            f"{run.path} has several answers to a sample, and a submission holds one; make a run "
            "without --repeats"
        )
    return {
        "task": LAMP[run.task].name.replace("-", "_"),
        # A run names a sample with its user before it; LaMP has the sample's own id.
        "golds": [
            {"id": r.sample_id.removeprefix(f"{r.user_id}/"), "output": r.output} for r in records
        ],
    }
