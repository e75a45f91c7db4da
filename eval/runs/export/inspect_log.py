"""A method's answers as a log of Inspect (``inspect_ai.log.EvalLog``, version 2), for its viewer.

Inspect's log is of one task, model and solver, so that each method is a log of its own, with the
method as the solver. What Inspect has no field for is in the metadata of the log and its samples.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from ...statistics.gains import run_metric
from ...statistics.totals import metric_estimate
from ..folder import PROVENANCE
from ..record import Record, Run

Plain = dict[str, Any]

_VERSION = 2
_CALL_ROLES = ("system", "user", "assistant")


def inspect_log(run: Run, method: str) -> Plain:
    """The log as plain data: what ``inspect_ai.log.read_eval_log`` reads from a JSON file.

    A metric that is no plain mean stands among the results, but not with the samples.
    """
    records = list(run.of[method].values())
    created = _created(run).isoformat()
    model = f"trimtab/{_model(run)}"
    return {
        "version": _VERSION,
        "status": "success",
        "eval": _spec(run, method, records, model, created),
        "plan": {"name": "plan", "steps": [{"solver": method, "params": _options(run, method)}]},
        "results": _results(run, records),
        "stats": {
            "started_at": created,
            "completed_at": created,
            "model_usage": {model: _usage(records)},
        },
        "samples": [_sample(run, record, model) for record in records],
    }


def inspect_name(run: Run, method: str) -> str:
    """The log's file name: time, task and id, as Inspect lists logs."""
    time = _created(run).isoformat(timespec="seconds").replace(":", "-")
    task = re.sub(r"[^\w.-]+", "-", f"{run.task}-{method}").strip("-").replace("_", "-")
    return f"{time}_{task}_{_id(run, method)}.json"


def _spec(run: Run, method: str, records: list[Record], model: str, created: str) -> Plain:
    own = _id(run, method)
    data = run.configuration.get("data") or run.configuration.get("world") or {}
    sample_ids = [record.sample_id for record in records]
    return {
        "eval_id": own,
        "run_id": _id(run, ""),
        "created": created,
        "task": run.task or "run",
        "task_id": own,
        "task_display_name": f"{run.task}: {method}",
        "tags": [method],  # the viewer's list shows them beside the task
        "solver": method,
        "solver_args": _options(run, method),
        "dataset": {
            "name": str(data.get("name", run.task)),
            "samples": len(sample_ids),
            "sample_ids": sample_ids,
            "shuffled": False,
        },
        "model": model,
        "config": {},
        "packages": _packages(run),
        "metadata": {"method": method, "run": str(run.path), "configuration": run.configuration},
        "scorers": [{"name": name} for name in run.metrics],
    }


def _results(run: Run, records: list[Record]) -> Plain:
    fine = [record for record in records if not record.error]
    scores = []
    for name in run.metrics:
        estimate = metric_estimate(list(records), run_metric(run, name))
        values = {"mean": estimate.mean, "low": estimate.low, "high": estimate.high}
        scores.append(
            {
                "name": name,
                "scorer": name,
                "scored_samples": estimate.values,
                "unscored_samples": len(records) - estimate.values,
                "metrics": {
                    key: {"name": key, "value": value}
                    for key, value in values.items()
                    if not math.isnan(value)
                },
            }
        )
    return {"total_samples": len(records), "completed_samples": len(fine), "scores": scores}


def _sample(run: Run, record: Record, model: str) -> Plain:
    messages = [_message(message) for message in record.prompt]
    answered = _answered(record)
    usage = _usage([record])
    sample = {
        "id": record.sample_id,
        "epoch": 1,
        "input": messages or record.sample_id,
        "target": record.gold,
        "messages": [*messages, *answered],
        "output": {
            "model": model,
            "choices": [
                {"message": {"role": "assistant", "content": record.output}, "stop_reason": "stop"}
            ],
            "completion": record.output,
            "usage": usage,
            "time": record.seconds,
        },
        "scores": {
            name: {"value": score, "answer": record.output}
            for name in run.metrics
            if (score := record.scores.get(name)) is not None and not record.error
        },
        "metadata": {
            "user_id": record.user_id,
            "kind": record.kind,
            "history": record.history,
            "picked": record.picked,
            "cut": record.cut,
            **{name: value for name, value in record.detail.items() if name != "episode"},
        },
        "model_usage": {model: usage},
        "total_time": record.seconds,
    }
    if record.error:
        sample["error"] = {"message": record.error, "traceback": "", "traceback_ansi": ""}
    return sample


def _message(message: Mapping[str, Any]) -> Plain:
    """A prompt's message; a role that needs more than a text is shown as the user's."""
    role, content = message.get("role"), message.get("content")
    return {
        "role": role if role in _CALL_ROLES else "user",
        "content": content if isinstance(content, str) else str(content or ""),
    }


def _answered(record: Record) -> list[Plain]:
    """The answer; of an episode, its calls and what came back."""
    steps = (record.detail.get("episode") or {}).get("steps") or []
    if not steps:
        return [{"role": "assistant", "content": record.output}]
    calls: list[Plain] = []
    for number, step in enumerate(steps):
        call = step.get("call")
        if call is None:
            calls.append({"role": "assistant", "content": step.get("text") or ""})
            continue
        call_id = f"call_{number}"
        calls.append(
            {
                "role": "assistant",
                "content": step.get("text") or "",
                "tool_calls": [
                    {
                        "id": call_id,
                        "function": call["name"],
                        "arguments": call["arguments"],
                        "type": "function",
                    }
                ],
            }
        )
        calls.append(
            {
                "role": "tool",
                "content": step.get("content") or "",
                "tool_call_id": call_id,
                "function": call["name"],
            }
        )
    return calls


def _usage(records: list[Record]) -> Plain:
    read = sum(record.prompt_tokens for record in records)
    written = sum(record.completion_tokens for record in records)
    return {"input_tokens": read, "output_tokens": written, "total_tokens": read + written}


def _options(run: Run, method: str) -> Plain:
    named = run.configuration.get("methods") or {}
    options = named.get(method) if isinstance(named, Mapping) else None
    return dict(options) if isinstance(options, Mapping) else {}


def _model(run: Run) -> str:
    model = run.configuration.get("model") or {}
    return str(model.get("name", "model") if isinstance(model, Mapping) else model)


def _packages(run: Run) -> dict[str, str]:
    """The versions that the run was made with, as far as they are known."""
    versions = (run.configuration.get(PROVENANCE) or {}).get("versions") or {}
    return {name: version for name, version in versions.items() if version}


def _created(run: Run) -> datetime:
    """When the run was configured, so that the same run always gives the same log."""
    return datetime.fromtimestamp(int((run.path / "run.json").stat().st_mtime), UTC)


def _id(run: Run, method: str) -> str:
    """22 characters that tell this run's method from others', as Inspect's ids are long."""
    named = f"{run.path.resolve()}\n{_created(run)}\n{method}"
    return hashlib.sha256(named.encode("utf-8", "replace")).hexdigest()[:22]
