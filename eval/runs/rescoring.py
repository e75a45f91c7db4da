"""Scoring a run's outputs anew, without a model: likelihoods stay as they were measured."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from ...errors import TrimtabError
from ...files import replacing
from ..runner import EvalRun
from ..statistics.standings import standings
from ..texts.record import scores
from ..texts.study import Study
from .folder import run_folder
from .record import Record, Run, read_run


def rescore(folder: Path | str) -> EvalRun:
    """Score every output in a run's folder with the metrics as they are now, and keep that.

    Args:
        folder: What ``trimtab eval --out`` wrote.

    Raises:
        TrimtabError: It is no run's folder, another kind of run's, or in use.
    """
    folder = Path(folder)
    run = read_run(folder)
    if "metrics" not in run.configuration:
        raise TrimtabError(
            f"{folder} holds a run of {run.task!r}, whose scores come from its episodes; only runs "
            "of `trimtab eval` on texts are scored anew"
        )
    study = Study.of(run.configuration)
    task = study.running_task()
    with run_folder(folder, run.configuration):
        # Read anew: what another process wrote before it let go of the folder is not to be lost.
        run = read_run(folder)
        records = tuple(
            record
            if record.error
            else replace(
                record,
                scores=scores(task, record.output, record.gold, generated=study.generate)
                | _likelihood(record),
            )
            for record in run.records
        )
        with replacing(folder / "results.jsonl") as temporary:
            lines = (json.dumps(r.to_json(), allow_nan=False) + "\n" for r in records)
            temporary.write_text("".join(lines), encoding="ascii")
        configuration = {**run.configuration, "metrics": list(study.metrics)}
        _write(folder / "run.json", configuration)
        stand = standings(Run(folder, configuration, records))
        _write(folder / "summary.json", stand.to_json())
    return EvalRun(study, records, stand, len(records), fresh=0, seconds=0.0)


def _likelihood(record: Record) -> dict[str, float | None]:
    return {k: v for k, v in record.scores.items() if k == "log-likelihood"}


def _write(path: Path, value: object) -> None:
    with replacing(path) as temporary:
        text = json.dumps(value, ensure_ascii=False, indent=2, allow_nan=False)
        temporary.write_text(text + "\n", encoding="utf-8")
