"""A profile of the user, written by the model from the history, in the prompt.

Richardson et al., *Integrating Summarization and Retrieval for Enhanced Personalization via Large
Language Models* (arXiv 2310.20081).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

from ...errors import TrimtabError
from .method import Asked
from .retrieval import By

if TYPE_CHECKING:
    from ...envs.texts.dataset import TextSample, TextUser
    from ..texts.prompt import Fitted
    from .method import Ask, Method
    from .prepared_users import Workbench

_SYSTEM = "You describe how people write. Answer with the description alone."
_WRITING = (
    "Describe in three short sentences how this person writes: length, tone, punctuation, "
    "favourite words and subjects. Name no single text."
)
_LABELS = (
    "Describe in three short sentences how this person answers such questions: which answers they "
    "prefer, and for what. Name no single question."
)
_CHARACTERS = 400  # of one past text; a profile needs many texts rather than long ones


@dataclass(frozen=True)
class Pag:
    """A profile stands before the request, and past samples too if asked for.

    Attributes:
        samples: How many of the user's latest samples the profile is written from.
        tokens: The profile's length at most.
        k: How many past samples are shown besides.
        by: What of the past is relevant.
    """

    name: ClassVar[str] = "pag"

    samples: int = 12
    tokens: int = 96
    k: int = 0
    by: By = "encoder"

    def __post_init__(self) -> None:
        """Refuse what gives no profile.

        Raises:
            TrimtabError: A number below its least.
        """
        if self.samples < 1 or self.tokens < 1 or self.k < 0:
            raise TrimtabError(
                "pag: expected samples and tokens of at least 1 and k of at least 0, got "
                f"{self.samples}, {self.tokens} and {self.k}"
            )

    def prepare(self, bench: Workbench) -> Ask:
        """Write every user's profile."""
        users = [user for user in bench.users.values() if user.history]
        asked = {user.id: self._question(bench, user) for user in users}
        written = bench.answers(
            "profiles", [each.messages for each in asked.values()], max_new_tokens=self.tokens
        )
        profiles = {user: text for user, [text] in zip(asked, written, strict=True)}

        def ask(user_id: str, sample: TextSample) -> Asked:
            shown = bench.nearest(user_id, sample, self.by, self.k)
            prompt = bench.prompt.fit(sample.input, shown=shown, profile=profiles.get(user_id, ""))
            detail: dict[str, Any] = {"shown": [past.id for past in shown[: prompt.shown]]}
            if user_id in asked:
                detail["profile_from"] = asked[user_id].shown
            return Asked(prompt, detail=detail)

        return ask

    def _question(self, bench: Workbench, user: TextUser) -> Fitted:
        """What the profile is asked for with; without the earliest where not all fit."""
        labels = bool(bench.task.labels)
        shown = [_Short(s.input, s.output) for s in reversed(user.history[-self.samples :])]
        prompt = replace(bench.prompt, system=_SYSTEM, room=self.tokens)
        return prompt.fit(
            _LABELS if labels else _WRITING,
            shown=shown,
            show="both" if labels else "outputs",
        )

    def controls(self) -> Mapping[str, Method]:
        """None."""
        return {}


class _Short:
    """A past sample with its texts cut to their first characters."""

    def __init__(self, request: str, output: str) -> None:
        self.input = request if len(request) <= _CHARACTERS else f"{request[:_CHARACTERS]} ..."
        self.output = output if len(output) <= _CHARACTERS else f"{output[:_CHARACTERS]} ..."
