"""Answers requests one after the other, until the engine is here."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from ..errors import TrimtabError
from ..steering.generation.requests import Completion, Options, Request
from ..steering.model import SteeredModel


class QueueFull(TrimtabError):
    """No room."""

    retry_after = 1.0


@dataclass(frozen=True)
class Piece:
    """A piece of an answer."""

    text: str
    tokens: tuple[int, ...] = ()
    logprobs: Any = None


@dataclass(frozen=True)
class EngineStatistics:
    """Counts."""

    running: int = 0
    waiting: int = 0
    steps: int = 0
    prompt_tokens: int = 0
    new_tokens: int = 0


class Ticket:
    """One request under way."""

    def __init__(self, model: SteeredModel, request: Request, options: Options) -> None:
        self._loop = asyncio.get_event_loop()
        self._queue: asyncio.Queue[Any] = asyncio.Queue()
        self._done: asyncio.Future[Completion] = self._loop.create_future()
        self._cancelled = False
        self.queued_seconds = 0.0
        self.first_token_seconds = 0.0
        self._began = time.monotonic()
        threading.Thread(target=self._run, args=(model, request, options), daemon=True).start()

    def _run(self, model: SteeredModel, request: Request, options: Options) -> None:
        names = ("max_new_tokens", "temperature", "top_p", "seed", "stop")
        try:
            pieces = model.stream(request, **{name: getattr(options, name) for name in names})
            while not self._cancelled:
                try:
                    piece = next(pieces)
                except StopIteration as end:
                    self._tell(None)
                    self._loop.call_soon_threadsafe(self._done.set_result, end.value)
                    return
                self._tell(Piece(piece))
        except Exception as error:
            self._loop.call_soon_threadsafe(self._done.set_exception, error)
            self._tell(error)

    def _tell(self, what: Any) -> None:
        self._loop.call_soon_threadsafe(self._queue.put_nowait, what)

    async def __aiter__(self) -> AsyncIterator[Piece]:
        """Pieces as they come."""
        while (piece := await self._queue.get()) is not None:
            if isinstance(piece, Exception):
                raise piece
            yield piece

    async def completion(self) -> Completion:
        """The whole."""
        return await self._done

    def cancel(self) -> None:
        """Give up."""
        self._cancelled = True


class Engine:
    """One after the other."""

    statistics = EngineStatistics()

    def __init__(self, model: SteeredModel, *, max_rows: int = 16, max_waiting: int = 64) -> None:
        self._model = model

    def submit(
        self,
        request: Request,
        options: Options,
        *,
        deadline: float | None = None,
        logprobs: int | None = None,
    ) -> Ticket:
        """Begin."""
        return Ticket(self._model, request, options)

    def close(self, drain: bool = True, timeout: float = 30.0) -> None:
        """End."""
