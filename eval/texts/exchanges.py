"""What people wrote earlier as requests with answers, which trained methods learn from."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from ...envs.texts.dataset import TextUser
from ...errors import TrimtabError
from ..methods.method import PastExchange
from ..methods.retrieval import By, nearest

if TYPE_CHECKING:
    from ..methods.retrieval import RememberedEncoder
    from .kinds import WritingTask
    from .prompt import TextPrompt


@dataclass(frozen=True)
class _Shown:
    """An earlier sample as it is shown in a prompt."""

    input: str
    output: str


class HavePast(Protocol):
    """Users with what their past samples are put with; see ``TextUsers``."""

    users: dict[str, TextUser]
    prompt: TextPrompt
    encoder: RememberedEncoder
    instruction: str
    seed: int

    def body(self, request: str) -> str:
        """A request without the task's instruction."""

    def rewritten(self, texts: Sequence[str]) -> list[str]:
        """The model's own neutral rewritings of texts."""


def past_exchanges(
    users: HavePast,
    *,
    targets: int = 0,
    shown: int = 0,
    by: By = "encoder",
    people: Collection[str] | None = None,
) -> dict[str, list[PastExchange]]:
    """Each user's past samples as prompts with answers, oldest first.

    Args:
        users: Whose.
        targets: At most so many of each user's, the latest; 0 is all.
        shown: How many earlier samples of the same user stand in the prompt.
        by: Which of them come first.
        people: Of these users alone; None is all.
    """
    histories = {
        user.id: user.history
        for user in users.users.values()
        if people is None or user.id in people
    }
    chosen = {
        user: [n for n, past in enumerate(own) if past.output.strip()][-targets:]
        for user, own in histories.items()
    }
    silent = [
        histories[user][n].output
        for user, places in chosen.items()
        for n in places
        if not histories[user][n].input
    ]
    neutral = dict(zip(silent, users.rewritten(silent), strict=True))
    exchanges: dict[str, list[PastExchange]] = {}
    for user, places in chosen.items():
        own = histories[user]
        exchanges[user] = []
        for place in places:
            past = own[place]
            request = past.input or users.instruction + neutral[past.output]
            earlier: list[_Shown] = []
            if shown:
                order = nearest(
                    [users.body(each.input) or each.output for each in own[:place]],
                    users.body(request),
                    by,
                    users.encoder,
                    seed=f"{users.seed}/{user}/{past.id}",
                )
                earlier = [_Shown(own[n].input, own[n].output) for n in order[:shown]]
            prompt = users.prompt.fit(request, shown=earlier)
            exchanges[user].append(PastExchange(past.id, prompt.messages, past.output.strip()))
    return exchanges


def other_people(
    task: WritingTask, data: str, seed: int, tested: Iterable[TextUser], latest: int
) -> tuple[TextUser, ...]:
    """The users of other data of the same task, their tests among what they wrote earlier.

    Args:
        task: The task.
        data: The data's folder or file.
        seed: Of a built-in world.
        tested: Whoever of them is in the data is left out.
        latest: At most so many of a user's latest samples; 0 is all.

    Raises:
        TrimtabError: The data cannot be read, or nobody else is in it.
    """
    found = task.load(Path(data).expanduser(), seed).users
    known = {_texts(user) for user in tested}
    others = [
        replace(user, history=(*user.history, *user.tests)[-latest:], tests=())
        for user in found
        if _texts(user) not in known and (user.history or user.tests)
    ]
    if not others:
        raise TrimtabError(
            f"nobody in {data} is another person than those that are tested; name other data to "
            "learn on, or leave it out to learn on the tested people's own past"
        )
    return tuple(others)


def _texts(user: TextUser) -> frozenset[str]:
    """By what a person is recognised in other data, whose ids may be others: the latest texts."""
    return frozenset(past.output for past in user.history[-4:])
