"""A profile of the user, written by the model from the history, in the prompt.

Richardson et al., *Integrating Summarization and Retrieval for Enhanced Personalization via Large
Language Models* (arXiv 2310.20081).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from ...errors import TrimtabError
from .method import Treatment
from .retrieval import By

if TYPE_CHECKING:
    from ..sample import Sample
    from .method import Method, PreparedUsers, Treat


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

    def prepare(self, users: PreparedUsers) -> Treat:
        """Write every user's profile, from what of their past the sample may see."""
        asked = {
            sample.key: users.describing(sample, self.samples, self.tokens)
            for sample in users.samples()
            if users.latest(sample, 1)
        }
        written = users.answers(
            "profiles", [each.messages for each in asked.values()], max_new_tokens=self.tokens
        )
        profiles = {key: text for key, [text] in zip(asked, written, strict=True)}

        def treat(sample: Sample) -> Treatment:
            of = replace(sample, repeat=0).key
            return Treatment(
                shown=users.nearest(sample, self.by, self.k) if self.k else (),
                profile=profiles.get(of, ""),
                detail={"profile_from": asked[of].shown} if of in asked else {},
            )

        return treat

    def controls(self) -> Mapping[str, Method]:
        """None."""
        return {}
