"""A request's place in the engine: its answer as it comes, for threads and for asyncio."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from ..steering.generation.pieces import Pieces
from ..steering.generation.requests import Completion, Finish, TokenLogprob
from ..steering.generation.row import Row


@dataclass(frozen=True)
class Piece:
    """What has come of an answer since the piece before.

    Attributes:
        text: Its text, perhaps empty where its tokens are only the start of something.
        tokens: Token ids. Those of all pieces together are the completion's.
        logprobs: One a token; None where they were not asked for.
    """

    text: str
    tokens: tuple[int, ...]
    logprobs: tuple[TokenLogprob, ...] | None


class Ticket:
    """One request that an engine has taken; made by ``Engine.submit``.

    Any thread and any event loop may wait for it, several at once; each that iterates gets all
    pieces from the first on.

    Attributes:
        row: The answer under way; the engine's own, to be read only once it is done.
        prompt_tokens: Length of the prompt.
    """

    def __init__(self, row: Row, deadline: float | None, wake: Callable[[], None]) -> None:
        self.row = row
        self.prompt_tokens = len(row.prompt)
        self._submitted = time.monotonic()
        self._deadline = deadline
        self._wake = wake
        self._text = Pieces(row)
        self._given = 0
        self._changed = threading.Condition()
        # Guarded by `_changed`:
        self._pieces: list[Piece] = []
        self._waiters: list[tuple[asyncio.AbstractEventLoop, asyncio.Future[None]]] = []
        self._completion: Completion | None = None
        self._error: Exception | None = None
        self._cancelled = False
        self._began: float | None = None
        self._first: float | None = None
        self._ended: float | None = None

    def cancel(self) -> None:
        """Ask for no more: the row is free at the next step, and ends as ``cancelled``."""
        self._cancelled = True
        self._wake()

    @property
    def done(self) -> bool:
        """Whether the answer, or the error that ended it, is there."""
        return self._completion is not None or self._error is not None

    def result(self, timeout: float | None = None) -> Completion:
        """Wait for the answer.

        Raises:
            TimeoutError: It was not there after ``timeout`` seconds.
            TrimtabError: What broke this request.
            EngineFailure: The engine's own code failed.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: self.done, timeout):
                raise TimeoutError(f"no answer within {timeout} s")
        return self._settled()

    async def completion(self) -> Completion:
        """Wait for the answer without holding up the event loop; errors as ``result``."""
        async for _ in self:
            pass
        return self._settled()

    async def __aiter__(self) -> AsyncIterator[Piece]:
        """The pieces as they come; errors as ``result``."""
        given = 0
        while True:
            arrived: asyncio.Future[None] | None = None
            with self._changed:
                pieces = self._pieces[given:]
                if not pieces and not self.done:
                    loop = asyncio.get_running_loop()
                    arrived = loop.create_future()
                    self._waiters.append((loop, arrived))
            if arrived is not None:
                await arrived
                continue
            for piece in pieces:
                yield piece
            given += len(pieces)
            if not pieces:
                self._settled()
                return

    @property
    def queued_seconds(self) -> float | None:
        """How long the request waited for a row; None while it does."""
        return None if self._began is None else self._began - self._submitted

    @property
    def first_token_seconds(self) -> float | None:
        """From the request to its first token; None before that."""
        return None if self._first is None else self._first - self._submitted

    @property
    def seconds(self) -> float | None:
        """From the request to the end of its answer; None before that."""
        return None if self._ended is None else self._ended - self._submitted

    def _settled(self) -> Completion:
        if self._error is not None:
            raise self._error
        assert self._completion is not None
        return self._completion

    # What follows is for the engine.

    def overdue(self, now: float) -> Finish | None:
        """How the row must end now, whatever it still has to say; None if it may go on."""
        if self._cancelled:
            return "cancelled"
        late = self._deadline is not None and now >= self._deadline
        return "deadline" if late else None

    def begin(self) -> None:
        """Take note that the prompt is being run."""
        self._began = time.monotonic()

    def advance(self) -> None:
        """Give out what has come of the row, and its end where it has finished."""
        row = self.row
        if row.error is not None:
            self.fail(row.error)
            return
        text = self._text.next()
        now = time.monotonic()
        if row.tokens and self._first is None:
            self._first = now
        with self._changed:
            if text or (row.finish is not None and len(row.tokens) > self._given):
                asked = row.options.logprobs is not None
                self._pieces.append(
                    Piece(
                        text,
                        tuple(row.tokens[self._given :]),
                        tuple(row.logprobs[self._given :]) if asked else None,
                    )
                )
                self._given = len(row.tokens)
            elif row.finish is None:
                return
            if row.finish is not None:
                self._ended = now
                self._completion = row.completion()
            self._tell()

    def fail(self, error: Exception) -> None:
        """End by an error."""
        with self._changed:
            self._ended = time.monotonic()
            self._error = error
            self._tell()

    def _tell(self) -> None:
        """Wake whoever waits; holds ``_changed``."""
        self._changed.notify_all()
        waiters, self._waiters = self._waiters, []
        for loop, arrived in waiters:
            with contextlib.suppress(RuntimeError):  # that loop has ended
                loop.call_soon_threadsafe(_arrive, arrived)


def _arrive(arrived: asyncio.Future[None]) -> None:
    if not arrived.done():
        arrived.set_result(None)
