"""Nothing of the user: the request alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from .method import Asked

if TYPE_CHECKING:
    from ...envs.texts.dataset import TextSample
    from .method import Ask, Method
    from .prepared_users import Workbench


@dataclass(frozen=True)
class ZeroShot:
    """The request alone."""

    name: ClassVar[str] = "zero-shot"

    def prepare(self, bench: Workbench) -> Ask:
        """Nothing to prepare."""

        def ask(user_id: str, sample: TextSample) -> Asked:
            return Asked(bench.prompt.fit(sample.input))

        return ask

    def controls(self) -> Mapping[str, Method]:
        """None."""
        return {}
