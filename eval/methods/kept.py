"""What an earlier run left in the cache folder, which may be broken or gone."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ...errors import TrimtabError

if TYPE_CHECKING:
    from ...steering.dictionaries.dictionary import SteeringDictionary


def readable_dictionary(path: Path) -> SteeringDictionary | None:
    """The dictionary at ``path``; None where there is none that can be read."""
    from ...steering.dictionaries.dictionary import SteeringDictionary

    try:
        return SteeringDictionary.load(path)
    except TrimtabError:
        return None
