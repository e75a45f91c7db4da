"""Retrieval: the user's most relevant past samples in the prompt."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ...errors import TrimtabError
from ..texts.prompt import Show
from .method import Asked
from .retrieval import By

if TYPE_CHECKING:
    from ...envs.texts.dataset import TextSample
    from .method import Ask, Method
    from .prepared_users import Workbench


@dataclass(frozen=True)
class Rag:
    """The ``k`` most relevant past samples stand before the request.

    Attributes:
        k: How many.
        by: What is relevant: nearest by the sentence encoder, by BM25, or the latest.
        show: What is shown of each; None leaves it to the task: inputs matter to labels.
    """

    name: ClassVar[str] = "rag"

    k: int = 3
    by: By = "encoder"
    show: Show | None = None

    def __post_init__(self) -> None:
        """Refuse what shows nothing.

        Raises:
            TrimtabError: ``k`` below 1.
        """
        if self.k < 1:
            raise TrimtabError(f"rag: expected k of at least 1, got {self.k}")

    def prepare(self, bench: Workbench) -> Ask:
        """Rankings are worked out when they are first asked for."""

        def ask(user_id: str, sample: TextSample) -> Asked:
            shown = bench.nearest(user_id, sample, self.by, self.k)
            prompt = bench.prompt.fit(sample.input, shown=shown, show=self.show)
            return Asked(prompt, detail={"shown": [past.id for past in shown[: prompt.shown]]})

        return ask

    def controls(self) -> Mapping[str, Method]:
        """None."""
        return {}
