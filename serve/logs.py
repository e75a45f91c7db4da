"""Logs as JSON lines: one a request, and one for whatever else the package says.

Users appear as a keyed hash that means nothing after the process has ended, their words not at
all unless whoever runs the server asks for them.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
import secrets
from datetime import UTC, datetime
from typing import Any

from ..files import encodable

_requests = logging.getLogger("trimtab.serve.requests")


class Log:
    """Writes a line a request.

    Args:
        words: Write what users and the model said as well.
    """

    def __init__(self, *, words: bool = False) -> None:
        self.words = words
        self._secret = secrets.token_bytes(16)

    def who(self, user: str | None) -> str | None:
        """A user's keyed hash."""
        if user is None:
            return None
        name = user.encode("utf-8", "replace")
        return hmac.new(self._secret, name, hashlib.sha256).hexdigest()[:12]

    def request(self, what: str, *, words: dict[str, Any] | None = None, **about: Any) -> None:
        """Write a line.

        Args:
            what: What was done.
            words: What was said, left out unless it is asked for.
            **about: Plain values.
        """
        said = words if self.words and words else {}
        known = {name: value for name, value in about.items() if value is not None}
        _requests.info(what, extra={"about": {**known, **said}})


class JsonLines(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        """A record as JSON."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **getattr(record, "about", {}),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return encodable(json.dumps(line, ensure_ascii=False, default=str))


def worth_reading(record: logging.LogRecord) -> bool:
    """Whether the package says it, or a library warns: some libraries log all that they do."""
    return record.name.partition(".")[0] == "trimtab" or record.levelno >= logging.WARNING


def log_as_json() -> None:
    """Let what the process logs, and is worth reading, go to standard error as JSON lines."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines())
    handler.addFilter(worth_reading)
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    logging.getLogger("trimtab").setLevel(logging.INFO)
