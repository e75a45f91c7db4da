"""What all plans say of a run that cannot be resumed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ..errors import TrimtabError


@contextmanager
def reading_configuration(task: str) -> Iterator[None]:
    """Read a run's configuration inside the context: what it lacks is told in a line.

    Args:
        task: The run's, for the message.

    Raises:
        TrimtabError: A field is not there, or not what it should be.
    """
    try:
        yield
    except (KeyError, TypeError) as error:
        raise TrimtabError(
            f"this run of {task} says too little of itself to be resumed (no {error}); it was made "
            "by another version of trimtab"
        ) from error
