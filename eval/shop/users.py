"""Shopping users made ready for methods: past requests, profiles, and steering dictionaries."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ...agent.loop.memory import MODES, PastRequest, Recollection
from ...agent.shop.past_requests import past_requests
from ...envs.shop.request import request_text
from ...errors import TrimtabError
from ..methods.entries import check_call_entries
from ..methods.method import PastExchange
from ..methods.retrieval import By, RememberedEncoder, nearest
from ..methods.written import WrittenTexts
from ..sample import counted
from ..texts.prompt import TextPrompt
from .dictionaries import of_kinds, shop_dictionaries

if TYPE_CHECKING:
    from ...envs.shop.environment import ShopEnvironment
    from ...envs.shop.records import ShoppingTask
    from ...steering.contrast.pairs import Messages
    from ...steering.dictionaries.dictionary import SteeringDictionary
    from ...steering.dictionaries.settings import SteeringSettings
    from ...steering.dictionaries.steer import Steer
    from ...steering.model import SteeredModel
    from ...steering.vectors.steering import Steering
    from ..methods.method import Kind, ModelVariant
    from ..sample import Progress, Sample
    from ..texts.prompt import Fitted

_MODE_OF: Mapping[By, str] = {
    "encoder": "relevant",
    "recency": "last",
    "random": "random",
    "all": "full",
}
"""What of the past comes first, as the agent's memory modes have it."""

_PROFILE_SYSTEM = "You describe how people ask in a shop. Answer with the description alone."
_PROFILE = (
    "Describe in three short sentences how this person asks for things: which of the shop's "
    "functions they mean by which words, and what they like. Quote no single request."
)


@dataclass(frozen=True)
class PastCall:
    """A past request with the call that answered it well.

    Attributes:
        id: Unique among the user's.
        request: The request.
    """

    id: str
    request: PastRequest

    @property
    def input(self) -> str:
        """The user's words."""
        return self.request.request

    @property
    def output(self) -> str:
        """The call."""
        return f"{self.request.tool} {json.dumps(self.request.arguments, ensure_ascii=False)}"


class ShopUsers:
    """The users of a shop, ready for methods.

    Args:
        model: The model.
        environment: The shop.
        samples: The test tasks without golds.
        users: Whose dictionaries are wanted; with one user alone, another to lend to.
        given: Dictionaries to steer by; None builds them from the users' training tasks.
        folder: Where what is made is kept.
        seed: Of what is drawn.
        batch_size: At most this many rows at once.
        progress: Told how far a preparation is.
    """

    def __init__(
        self,
        model: SteeredModel,
        environment: ShopEnvironment,
        samples: Sequence[Sample],
        users: Sequence[str],
        *,
        given: Mapping[str, SteeringDictionary] | None = None,
        folder: Path,
        seed: int = 0,
        batch_size: int = 48,
        progress: Progress | None = None,
    ) -> None:
        self.model = model
        self.environment = environment
        self.seed = seed
        self._samples = tuple(samples)
        self._users = tuple(users)
        self._given = given
        self.folder = folder
        self._batch_size = batch_size
        self.progress = progress
        self._encoder = RememberedEncoder(model.encoder)
        self._written = WrittenTexts(folder / "eval" / "texts.sqlite")
        self._prompt = TextPrompt(model, _PROFILE_SYSTEM, room=0, show="both")

    def samples(self) -> Sequence[Sample]:
        """The test tasks without their golds."""
        return self._samples

    def _past(self, sample: Sample) -> list[PastCall]:
        """The user's past requests of before the task's time, oldest first."""
        requests = past_requests(self.environment, sample.user_id, sample.before)
        return [PastCall(f"{sample.user_id}/{n}", request) for n, request in enumerate(requests)]

    def nearest(self, sample: Sample, by: By, k: int) -> list[PastCall]:
        """The user's past requests that come first for a request, as the memory modes have it."""
        past = self._past(sample)
        if by == "bm25":
            order = nearest([each.input for each in past], sample.request, by, self._encoder)
            return [past[place] for place in order[:k]]
        seed = f"{self.seed}/{sample.user_id}/{sample.request}"
        wanted = Recollection(sample.request, k, seed, self._encoder.encode)
        of = {id(each.request): each for each in past}
        recalled = MODES[_MODE_OF[by]]([each.request for each in past], wanted)
        # A mode puts last what comes to stand next to the request.
        return [of[id(request)] for request in reversed(recalled)]

    def latest(self, sample: Sample, count: int) -> list[PastCall]:
        """The user's past requests, the latest first."""
        return self._past(sample)[::-1][:count]

    def describing(self, sample: Sample, count: int, tokens: int) -> Fitted:
        """What a profile is asked for with; without the earliest where not all fit."""
        return replace(self._prompt, room=tokens).fit(_PROFILE, shown=self.latest(sample, count))

    def answers(
        self, what: str, prompts: Sequence[Messages], *, max_new_tokens: int
    ) -> list[list[str]]:
        """What the model writes, one text a prompt; kept by content."""
        tell = self._told(what, len(prompts))
        return self._written.answers(
            self.model,
            prompts,
            max_new_tokens=max_new_tokens,
            batch_size=self._batch_size,
            progress=tell,
        )

    def entries(
        self,
        settings: SteeringSettings,
        kinds: Sequence[Kind],
        *,
        rejected: int = 2,
        below: float | None = None,
        variant: ModelVariant | None = None,
    ) -> dict[str, SteeringDictionary]:
        """Each user's entries of these kinds: given, or read from their training tasks.

        Raises:
            TrimtabError: Entries that only texts have, or on top of a model variant.
        """
        check_call_entries("the shop", kinds, variant)
        if self._given is not None:
            return of_kinds(self._given, kinds)
        dictionaries = shop_dictionaries(
            self.model,
            self.environment,
            self._users,
            settings,
            with_context="context" in kinds,
            folder=self.folder / "dictionaries",
            progress=self._told("steering dictionaries", len(self._users)),
        )
        return of_kinds(dictionaries, kinds)

    def _first_test(self, user: str) -> int:
        """When a user's tests begin: what is learned is older than that."""
        times = [s.before for s in self._samples if s.user_id == user and s.before is not None]
        return min(times, default=sys.maxsize)

    def outputs(self, data: str = "", *, latest: int = 0) -> dict[str, dict[str, str]]:
        """What each user asked for earlier, by the task's id, oldest first; see the protocol."""
        _only_own(data)
        return {
            user: {task.id: request_text(task) for task in self._learned_from(user)}
            for user in self._users
        }

    def exchanges(
        self,
        data: str = "",
        *,
        latest: int = 0,
        targets: int = 0,
        shown: int = 0,
        by: By = "encoder",
        people: Collection[str] | None = None,
    ) -> dict[str, list[PastExchange]]:
        """Each user's past requests with the beginning of the right call, up to the tool's name.

        Raises:
            TrimtabError: Other data is named, or past requests are to stand in the prompt: that is
                the agent's memory.
        """
        from ...agent.shop.pairs import tool_choice_pairs

        _only_own(data)
        if shown:
            raise TrimtabError(
                "a trained method with context=... is for texts; in the shop, choose --memory"
            )
        by_user: dict[str, list[PastExchange]] = {}
        for user in self._users:
            if people is not None and user not in people:
                continue
            tasks = self._learned_from(user)[-targets:]
            # One pair for each wrong tool: the right one is the same in all.
            right = {
                pair.sample_id: pair.positive
                for pair in tool_choice_pairs(self.environment, tasks).get(user, ())
            }
            by_user[user] = [
                PastExchange(place, each.messages, each.answer, each.tools, whole=False)
                for place, each in right.items()
            ]
        return by_user

    def _learned_from(self, user: str) -> list[ShoppingTask]:
        return self.environment.world.past_tasks(user, self._first_test(user))

    def steering(self, sample: Sample, steer: Steer) -> Steering | None:
        """What a method adds for a task's first request."""
        return steer(sample.user_id, sample.request, sample.before)

    def _told(self, what: str, total: int) -> Callable[[int], None]:
        return counted(self.progress, what, total)


def _only_own(data: str) -> None:
    if data:
        raise TrimtabError(
            "a trained method with data=... is for texts; in the shop, what all share is learned "
            "from the users' own training tasks"
        )
