"""Function calls as the runner sees them: cases, answers decoded in one way or another, records."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from langchain_core.messages import AIMessage

from ...agent.calling.calls import ToolCall, call_grammar, schemas_of
from ...agent.calling.detection import call_format_of
from ...agent.chat.messages import to_message
from ...envs.bfcl.cases import CallCase, CallCases
from ..runs.record import Record
from ..sample import Sample
from ..task import Item, Outcome
from .scoring import METRICS, schema_valid, score_calls
from .summary import call_summary

if TYPE_CHECKING:
    from ...agent.calling.formats.call_format import CallFormat
    from ...steering.generation.requests import Completion
    from ...steering.model import SteeredModel
    from ..methods.method import Decode, PreparedUsers
    from ..methods.registry import Named
    from ..sample import Progress

_CHUNK_CHARACTERS = 150_000
"""Of prompts and answers, read at once at most: long lists of tools make batches narrow."""


@dataclass(frozen=True)
class _NoUsers:
    """What there is of users where there are none."""

    model: SteeredModel
    seed: int


class CallTask:
    """BFCL's cases, answered greedily and unsteered.

    Args:
        model: What answers.
        data: The cases.
        plan: What else decides the results, as plain data.
        max_new_tokens: At most this many tokens an answer.
        batch_size: At most this many cases at once.
    """

    name = "bfcl"
    metrics = METRICS

    def __init__(
        self,
        model: SteeredModel,
        data: CallCases,
        *,
        plan: Mapping[str, Any] | None = None,
        max_new_tokens: int = 256,
        batch_size: int = 48,
    ) -> None:
        self.model = model
        self.data = data
        self.plan = dict(plan or {})
        self.max_new_tokens = max_new_tokens
        self.batch_size = batch_size
        self._cases = {case.id: case for case in data.cases}
        self._form = call_format_of(model)

    def samples(self) -> list[Sample]:
        """The cases; neighbours have prompts of about the same length."""
        # Every case stands for itself, as a user of its own.
        return [
            Sample(
                case.id,
                case.id,
                request=_request(case),
                kind=case.category,
                gold=_gold(case, self._form),
            )
            for case in sorted(self.data.cases, key=lambda case: (_length(case), case.id))
        ]

    def configuration(self) -> dict[str, Any]:
        """What decides the results."""
        return {
            "task": "bfcl",
            "metrics": list(METRICS),
            "model": self.model.configuration(),
            "data": {
                "name": "bfcl",
                "fingerprint": self.data.fingerprint,
                "cases": len(self.data.cases),
                "categories": list(self.data.categories),
                "left_out": dict(self.data.left_out),
            },
            "max_new_tokens": self.max_new_tokens,
            **self.plan,
        }

    def prepare(self, methods: Sequence[Named], progress: Progress | None = None) -> PreparedUsers:
        """A case has no user with a past: what decoding looks at is the model and the seed."""
        return _NoUsers(self.model, self.plan.get("seed", 0))  # type: ignore[return-value]

    def chunks(self, items: Sequence[Item]) -> Iterator[Sequence[Item]]:
        """Whole cases, as many as have room: one case's prompt is run once for all methods."""
        chunk: list[Item] = []
        for item in items:
            # The samples come by length, so that the last is the longest.
            width = (len(chunk) + 1) * _length(self._cases[item.sample.id])
            full = len(chunk) >= self.batch_size or width > _CHUNK_CHARACTERS
            if full and chunk and chunk[-1].sample.key != item.sample.key:
                yield chunk
                chunk = []
            chunk.append(item)
        if chunk:
            yield chunk

    def answer(self, items: Sequence[Item], *, narrower: int = 1) -> Iterator[Outcome]:
        """Answer and score the cases, each told of as it ends."""
        from ...steering.generation.requests import Request

        asked: list[tuple[Item, Request]] = []
        for item in items:
            case = self._cases[item.sample.id]
            try:
                grammar = _grammar(case, item.treatment.decode, self._form)
            except Exception as error:
                yield Outcome(item, error=error)
                continue
            steer, sample = item.treatment.steer, item.sample
            request = Request(
                case.messages,
                case.tools.schemas(),
                steering=None if steer is None else steer(sample.user_id, sample.request),
                grammar=grammar,
            )
            asked.append((item, request))
        if not asked:
            return
        answers = self.model.completions(
            [request for _, request in asked],
            max_new_tokens=self.max_new_tokens,
            batch_size=max(self.batch_size // narrower, 1),
        )
        for place, done in answers:
            item, _ = asked[place]
            yield Outcome(item, self._record(item, done))

    def failed(self, item: Item, error: str) -> Record:
        """The record of a case without an answer."""
        return Record(**self._about(item), error=error)

    def summary(self, records: Sequence[Record]) -> Mapping[str, Any]:
        """Means by category, and what is wrong with the answers."""
        return call_summary(records, METRICS)

    def _about(self, item: Item) -> dict[str, Any]:
        case = self._cases[item.sample.id]
        return {
            "method": item.method,
            "sample_id": item.sample.key,
            "user_id": item.sample.user_id,
            "kind": item.sample.kind,
            "prompt": [dict(message) for message in case.messages],
            "gold": item.sample.gold,
        }

    def _record(self, item: Item, completion: Completion) -> Record:
        case = self._cases[item.sample.id]
        tools = case.tools.schemas()
        calls = _calls(to_message(completion, "either", tools=tools, call_format=self._form))
        score = score_calls(calls, case)
        return Record(
            **self._about(item),
            output=completion.text,
            scores=_scores(calls, case),
            prompt_tokens=completion.prompt_tokens,
            completion_tokens=len(completion.tokens),
            seconds=round(completion.seconds, 4),
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


def scores_of_calls(record: Record, case: CallCase) -> dict[str, float | None]:
    """The scores of a record's calls, worked out anew."""
    calls = [ToolCall(made["name"], made["arguments"]) for made in record.detail["calls"]]
    return _scores(calls, case)


def _scores(calls: Sequence[ToolCall], case: CallCase) -> dict[str, float | None]:
    score = score_calls(calls, case)
    valid = schema_valid(calls, case.tools)
    return {
        "accuracy": float(score.correct),
        "exact": float(score_calls(calls, case, exact=True).correct),
        "valid": None if valid is None else float(valid),
        "tool": float(score.right_tools),
    }


def _grammar(case: CallCase, decode: Decode | None, form: CallFormat) -> str | None:
    tools = case.tools.schemas()
    if decode == "free":
        return None
    if decode == "auto":
        return call_grammar(tools, parallel=True, or_text=True, call_format=form)
    return call_grammar(tools, parallel="parallel" in case.category, call_format=form)


def _length(case: CallCase) -> int:
    """Characters of a case's tools, which are most of its prompt."""
    return len(json.dumps(case.tools.schemas()))


def _request(case: CallCase) -> str:
    """What the user said last."""
    said = [str(message["content"]) for message in case.messages if message["role"] == "user"]
    return said[-1] if said else ""


def _calls(message: AIMessage) -> list[ToolCall]:
    return [ToolCall(made["name"], made["args"]) for made in message.tool_calls]


def _gold(case: CallCase, form: CallFormat) -> str:
    """A right answer as the model would write it; where several are, the first of each value."""
    if case.wanted != "calls":
        return case.wanted
    calls = [
        ToolCall(call.name, {k: v[0] for k, v in call.arguments.items() if v[0] != ""})
        for call in case.expected
    ]
    return form.write(calls, schemas_of(case.tools.schemas()))
