"""ToolSpectrum as the runner sees it: requests of personas, constrained calls, records."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ....agent.calling.calls import ToolCall, call_grammar, format_call
from ....agent.chat.messages import to_message
from ....envs.toolspectrum.items import SpectrumItem, ToolSpectrum
from ....files import home
from ....tools.toolkit import Toolkit
from ...runs.record import Record
from ...sample import Sample
from ...task import Item, Outcome
from ...texts.record import picked_entries
from ..summary import scores_by_category
from .pairs import opened_call, reference_items
from .prompt import request_messages
from .scoring import right_call, spectrum_scores
from .users import SpectrumUsers

if TYPE_CHECKING:
    from ....steering.generation.requests import Completion, Request
    from ....steering.model import SteeredModel
    from ...methods.registry import Named
    from ...sample import Progress
    from .plan import SpectrumPlan

_AFTER_NAME = '", "arguments"'
"""What the grammar writes when a function is chosen."""


class SpectrumTask:
    """The items of some personas, answered greedily with one call that fits its schema.

    Args:
        model: What answers.
        data: The whole benchmark: references of a persona's vector are other people's.
        plan: Whose items, and how.
        cache: Where what is prepared is kept; None is trimtab's own folder.
        batch_size: At most this many rows at once.
    """

    name = "toolspectrum"

    def __init__(
        self,
        model: SteeredModel,
        data: ToolSpectrum,
        plan: SpectrumPlan,
        *,
        cache: Path | None = None,
        batch_size: int = 48,
    ) -> None:
        self.model = model
        self.plan = plan
        self.metrics = plan.metrics
        self.data = data.part(plan.part, users=plan.users, seed=plan.seed)
        # Whose settings are chosen lends its requests to whose results are told, and back.
        elsewhere = data.part("test" if plan.part == "tune" else "tune", seed=plan.seed)
        self.references = reference_items(elsewhere, plan.references, plan.seed)
        self.batch_size = batch_size
        self._cache = cache or home()
        self._items = {item.id: item for item in self.data.items}
        self._toolkits: dict[str, Toolkit] = {}
        self._users: SpectrumUsers | None = None

    def samples(self) -> list[Sample]:
        """The items, those of one group of competing apps together: their prompts begin alike."""
        of_persona: dict[str, int] = {}
        for item in self.data.items:
            of_persona[item.persona] = of_persona.get(item.persona, 0) + 1
        every = [
            Sample(
                item.id,
                item.persona,
                request=item.request,
                kind=self.data.group(item.app),
                gold=self._gold(item),
                history=of_persona[item.persona] - 1,
            )
            for item in self.data.items
        ]
        return sorted(every, key=lambda sample: (sample.kind, int(sample.id)))

    def configuration(self) -> dict[str, Any]:
        """What decides the results."""
        return {
            "task": self.name,
            "metrics": list(self.metrics),
            "model": self.model.configuration(),
            "data": {
                "name": self.name,
                "fingerprint": self.data.fingerprint,
                "items": len(self.data.items),
                "personas": len(self.data.personas),
                "arguments_left_out": dict(self.data.left_out),
            },
            "max_new_tokens": self.plan.max_new_tokens,
            **self.plan.configuration(),
        }

    def prepare(self, methods: Sequence[Named], progress: Progress | None = None) -> SpectrumUsers:
        """The personas, ready for the methods."""
        self._users = SpectrumUsers(
            self.model,
            self.data,
            [sample.unseen() for sample in self.samples()],
            self.references,
            lambda item: self._toolkit(item).schemas(),
            folder=self._cache,
            seed=self.plan.seed,
            progress=progress,
        )
        return self._users

    def chunks(self, items: Sequence[Item]) -> Iterator[Sequence[Item]]:
        """Items of one group of apps together, all methods'."""
        groups: dict[str, list[Item]] = {}
        for item in items:
            groups.setdefault(item.sample.kind, []).append(item)
        for group in groups.values():
            for start in range(0, len(group), self.batch_size):
                yield group[start : start + self.batch_size]

    def answer(self, items: Sequence[Item], *, narrower: int = 1) -> Iterator[Outcome]:
        """Answer and score the items, each told of as it ends."""
        from ....steering.generation.requests import Request

        assert self._users is not None
        asked: list[tuple[Item, Request]] = []
        for item in items:
            treatment = item.treatment
            tools = self._toolkit(self._items[item.sample.id]).schemas()
            steer = treatment.steer
            request = Request(
                request_messages(
                    item.sample.request, persona=treatment.profile, shown=treatment.shown
                ),
                tools,
                steering=None if steer is None else self._users.steering(item.sample, steer),
                grammar=call_grammar(tools),
            )
            asked.append((item, request))
        answers = self.model.completions(
            [request for _, request in asked],
            max_new_tokens=self.plan.max_new_tokens,
            stop=(_AFTER_NAME,) if self.plan.written == "name" else (),
            batch_size=max(self.batch_size // narrower, 1),
        )
        for place, completion in answers:
            item, request = asked[place]
            yield Outcome(item, self._record(item, request, completion))

    def failed(self, item: Item, error: str) -> Record:
        """The record of an item without an answer."""
        return Record(**self._about(item), error=error)

    def summary(self, records: Sequence[Record]) -> Mapping[str, Any]:
        """Means by group of competing apps."""
        return scores_by_category(records, self.metrics)

    def _toolkit(self, item: SpectrumItem) -> Toolkit:
        group = "" if self.plan.offered == "all" else self.data.group(item.app)
        if group not in self._toolkits:
            self._toolkits[group] = self.data.toolkit(self._offered(item))
        return self._toolkits[group]

    def _offered(self, item: SpectrumItem) -> Sequence[str]:
        return offered_apps(item, self.data, self.plan)

    def _gold(self, item: SpectrumItem) -> str:
        return format_call(right_call(item, self.data.function(item.app, item.function)))

    def _calls(self, asked: SpectrumItem, completion: Completion) -> list[ToolCall]:
        if self.plan.written == "name":
            # The grammar lets nothing else be written before the name.
            return [ToolCall(completion.text.removeprefix(opened_call()))]
        tools = self._toolkit(asked).schemas()
        message = to_message(completion, "either", tools=tools)
        return [ToolCall(made["name"], made["args"]) for made in message.tool_calls]

    def _about(self, item: Item) -> dict[str, Any]:
        sample = item.sample
        return {
            "method": item.method,
            "sample_id": sample.key,
            "user_id": sample.user_id,
            "kind": sample.kind,
            "gold": sample.gold,
            "history": sample.history,
        }

    def _record(self, item: Item, request: Request, completion: Completion) -> Record:
        asked = self._items[item.sample.id]
        calls = self._calls(asked, completion)
        return Record(
            **self._about(item),
            prompt=[dict(message) for message in request.messages],
            output=completion.text,
            scores=spectrum_scores(
                calls,
                asked,
                self.data,
                self._offered(asked),
                name_only=self.plan.written == "name",
            ),
            picked=picked_entries(request.steering),
            prompt_tokens=completion.prompt_tokens,
            completion_tokens=len(completion.tokens),
            seconds=round(completion.seconds, 4),
            detail={
                "calls": [asdict(call) for call in calls],
                "finish": completion.finish,
                "forced_tokens": completion.forced_tokens,
                **({"steered": request.steering is not None} if item.treatment.steer else {}),
            },
        )


def offered_apps(item: SpectrumItem, data: ToolSpectrum, plan: SpectrumPlan) -> Sequence[str]:
    """The apps whose functions an item's prompt shows."""
    return tuple(data.competing) if plan.offered == "all" else data.competing[item.app]
