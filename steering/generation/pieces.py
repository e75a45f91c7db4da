"""An answer's text in pieces as it comes."""

from __future__ import annotations

from .row import Row


class Pieces:
    """What of a row's text has been given out, and what can be given out next.

    Text that may turn out to be the beginning of a stop text, or of a character whose last bytes
    are still to come, is held back.

    Args:
        row: The answer under way.
    """

    def __init__(self, row: Row) -> None:
        self._row = row
        self._held = max((len(text) for text in row.options.stop), default=1) - 1
        self._given = 0

    def next(self) -> str:
        """What has come since the last piece and is final; perhaps empty."""
        text = self._row.text()
        if self._row.finish is None:
            # The first bytes of a character decode to a mark that the whole does not start with.
            text = text[: len(text) - self._held].rstrip("\ufffd")
        piece = text[self._given :]
        self._given += len(piece)
        return piece
