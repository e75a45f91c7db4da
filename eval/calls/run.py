"""``trimtab eval bfcl``: how right function calls are, decoded freely and held to schemas."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from langchain_core.messages import AIMessage

from ...agent.calling.calls import ToolCall, call_grammar, format_call
from ...agent.chat.messages import to_message
from ...envs.bfcl.cases import CallCase, CallCases
from ...errors import TrimtabError
from ..runs.folder import RunFolder, run_folder
from ..runs.record import Record
from .scoring import schema_valid, score_calls
from .summary import bfcl_summary

if TYPE_CHECKING:
    from ...steering.generation.requests import Completion
    from ...steering.model import SteeredModel

CallMethod = Literal["free", "constrained", "auto"]
METHODS: Mapping[CallMethod, str] = {
    "free": "no grammar: whatever calls can be read in the answer",
    "constrained": "one call that fits its tool's schema; in categories of parallel calls up to 8",
    "auto": "text or calls as the model likes, calls held to their schemas",
}
"""How the answers to a case are decoded."""

METRICS = ("accuracy", "exact", "valid", "tool")
"""Right as BFCL counts it, right to the letter, all calls fit their schemas, the right tools."""


@dataclass(frozen=True)
class BfclRun:
    """What came of a run.

    Attributes:
        records: One a method and case, those of an earlier start included.
        planned: How many there should be.
        seconds: That this start took.
        interrupted: Whether Ctrl-C ended it.
    """

    records: tuple[Record, ...]
    planned: int
    seconds: float
    interrupted: bool


def run_bfcl(
    model: SteeredModel,
    data: CallCases,
    *,
    folder: Path,
    methods: Sequence[CallMethod] = ("free", "constrained"),
    configuration: Mapping[str, Any] | None = None,
    max_new_tokens: int = 256,
    batch_size: int = 48,
    on_record: Callable[[Record], None] = lambda record: None,
) -> BfclRun:
    """Answer cases and score the calls; results are written as they come.

    Args:
        model: What answers, greedily and unsteered.
        data: The cases.
        folder: The run's; one with results of the same configuration is gone on with.
        methods: Keys of ``METHODS``.
        configuration: What else decides the results, for ``run.json``.
        max_new_tokens: At most this many tokens an answer.
        batch_size: Cases that are answered together.
        on_record: Told of every new record.

    Raises:
        TrimtabError: An unknown method, or the folder is another run's.
    """
    unknown = sorted(set(methods) - set(METHODS))
    if unknown or not methods:
        raise TrimtabError(
            f"expected methods among {', '.join(METHODS)}; got {', '.join(unknown) or 'none'}"
        )
    about = {
        "study": "bfcl",
        "metrics": list(METRICS),
        "methods": {m: {"max_new_tokens": max_new_tokens, "about": METHODS[m]} for m in methods},
        "model": {"name": model.name, "fingerprint": model.fingerprint},
        "data": {
            "name": "bfcl",
            "fingerprint": data.fingerprint,
            "cases": len(data.cases),
            "categories": list(data.categories),
            "left_out": dict(data.left_out),
        },
        **(configuration or {}),
    }
    started = time.perf_counter()
    interrupted = False
    with run_folder(folder, about) as kept:
        try:
            for record in _answered(model, data, kept, methods, max_new_tokens, batch_size):
                kept.append(record.to_json())
                on_record(record)
        except KeyboardInterrupt:
            interrupted = True
        found = [Record.from_json(record) for record in kept.records]
        if len(found) == len(data.cases) * len(methods):
            kept.write_summary(bfcl_summary(found, METRICS))
    return BfclRun(
        tuple(found),
        len(data.cases) * len(methods),
        time.perf_counter() - started,
        interrupted,
    )


def _answered(
    model: SteeredModel,
    data: CallCases,
    kept: RunFolder,
    methods: Sequence[CallMethod],
    max_new_tokens: int,
    batch_size: int,
) -> Iterator[Record]:
    """The records that are not there yet; neighbours have prompts of about the same length."""
    there = {(record["method"], record["sample_id"]) for record in kept.records}
    cases = sorted(data.cases, key=lambda case: (len(json.dumps(case.tools.schemas())), case.id))
    for start in range(0, len(cases), batch_size):
        for method in methods:
            batch = [c for c in cases[start : start + batch_size] if (method, c.id) not in there]
            yield from _answer(model, batch, method, max_new_tokens)


def _answer(
    model: SteeredModel, cases: Sequence[CallCase], method: CallMethod, max_new_tokens: int
) -> Iterator[Record]:
    """Answer cases as one batch; if one of them cannot be, alone."""
    from ...steering.generation.requests import Request

    if not cases:
        return
    started = time.perf_counter()
    try:
        requests = [
            Request(case.messages, case.tools.schemas(), grammar=_grammar(case, method))
            for case in cases
        ]
        completions = model.generate(requests, max_new_tokens=max_new_tokens)
    except TrimtabError as error:
        if len(cases) > 1:
            for case in cases:
                yield from _answer(model, [case], method, max_new_tokens)
        else:
            yield _record(cases[0], method, error=str(error))
        return
    seconds = time.perf_counter() - started
    for case, completion in zip(cases, completions, strict=True):
        yield _record(case, method, completion, seconds=seconds)


def _grammar(case: CallCase, method: CallMethod) -> str | None:
    if method == "free":
        return None
    if method == "auto":
        return call_grammar(case.tools.schemas(), parallel=True, or_text=True)
    return call_grammar(case.tools.schemas(), parallel="parallel" in case.category)


def _record(
    case: CallCase,
    method: CallMethod,
    completion: Completion | None = None,
    *,
    seconds: float = 0.0,
    error: str = "",
) -> Record:
    about: dict[str, Any] = {
        "method": method,
        "sample_id": case.id,
        "user_id": case.id,  # every case stands for itself
        "kind": case.category,
        "prompt": [dict(message) for message in case.messages],
        "gold": _gold(case),
    }
    if completion is None:
        return Record(**about, error=error)
    calls = _calls(to_message(completion, "either", tools=case.tools.schemas()))
    score = score_calls(calls, case)
    valid = schema_valid(calls, case.tools)
    return Record(
        **about,
        output=completion.text,
        scores={
            "accuracy": float(score.correct),
            "exact": float(score_calls(calls, case, exact=True).correct),
            "valid": None if valid is None else float(valid),
            "tool": float(score.right_tools),
        },
        prompt_tokens=completion.prompt_tokens,
        completion_tokens=len(completion.tokens),
        seconds=seconds,
        detail={
            "calls": [{"name": call.name, "arguments": call.arguments} for call in calls],
            "expected": [asdict(call) for call in case.expected],
            "tools": case.tools.schemas(),
            "problem": score.problem,
            "faults": [asdict(fault) for fault in score.faults],
            "finish": completion.finish,
            "forced_tokens": completion.forced_tokens,
        },
    )


def _calls(message: AIMessage) -> list[ToolCall]:
    return [ToolCall(made["name"], made["args"]) for made in message.tool_calls]


def _gold(case: CallCase) -> str:
    """A right answer as the model would write it; where several are, the first of each value."""
    if case.wanted != "calls":
        return case.wanted
    return "\n".join(
        format_call(ToolCall(call.name, {k: v[0] for k, v in call.arguments.items() if v[0] != ""}))
        for call in case.expected
    )
