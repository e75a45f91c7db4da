"""Scoring a run's outputs anew, without the model that answered."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from ...files import replacing
from ..opening import plan_of, scorer_of, summary_of
from ..runner import EvalRun
from .folder import run_folder
from .record import Run, read_run


def rescore(folder: Path | str) -> EvalRun:
    """Score every output in a run's folder with the metrics as they are now, and keep that.

    Args:
        folder: What ``trimtab eval --out`` or ``trimtab run --out`` wrote.

    Raises:
        TrimtabError: It is no run's folder, one in use, or its data is not there any more.
    """
    folder = Path(folder)
    run = read_run(folder)
    scores = scorer_of(run.configuration)
    with run_folder(folder, run.configuration):
        # Read anew: what another process wrote before it let go of the folder is not to be lost.
        run = read_run(folder)
        records = tuple(
            record if record.error else replace(record, scores=scores(record))
            for record in run.records
        )
        with replacing(folder / "results.jsonl") as temporary:
            lines = (json.dumps(r.to_json(), allow_nan=False) + "\n" for r in records)
            temporary.write_text("".join(lines), encoding="ascii")
        metrics = list(plan_of(run.configuration).metrics)
        configuration = {**run.configuration, "metrics": metrics}
        _write(folder / "run.json", configuration)
        scored = EvalRun(
            Run(folder, configuration, records), planned=len(records), fresh=0, seconds=0.0
        )
        _write(
            folder / "summary.json",
            {**scored.standings.to_json(), **summary_of(run.task, records)},
        )
    return scored


def _write(path: Path, value: object) -> None:
    with replacing(path) as temporary:
        text = json.dumps(value, ensure_ascii=False, indent=2, allow_nan=False)
        temporary.write_text(text + "\n", encoding="utf-8")
