"""The engine: one thread owns the model, and requests join and leave its running batch.

It knows no HTTP. Each turn of its loop lets go of rows that were cancelled or ran out of time,
lets requests that wait begin, runs a bounded part of their prompts, and makes one decode step for
all rows that are under way. So an answer that is long holds up nobody, and a prompt that is long
holds the others up by no more than one bounded pass a step. Who reads the model beside it takes
turns with it, a bounded pass each time.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Generator, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace

from ..errors import TrimtabError
from ..steering.decoder.budget import tokens_that_fit
from ..steering.decoder.caches import can_join
from ..steering.generation.decode_loop import Batch
from ..steering.generation.requests import Options, Request
from ..steering.generation.row import Row
from ..steering.model import SteeredModel
from ..steering.reading.pace import Pace
from ..steering.vectors.injection import check_fits, row_by_row, set_aside
from .engine_counts import EngineCounts, EngineStatistics
from .joining import taken
from .ticket import Piece, Ticket

__all__ = [
    "Engine",
    "EngineClosed",
    "EngineFailure",
    "EngineStatistics",
    "Piece",
    "QueueFull",
    "Ticket",
]

_log = logging.getLogger(__name__)

_PASS_TOKENS = {"cpu": 128, "cuda": 2048}
"""Tokens of new prompts in one pass between two decode steps, by the kind of device."""


class QueueFull(TrimtabError):
    """More requests wait than the engine holds.

    Attributes:
        retry_after: Seconds after which one is likely to find room.
    """

    def __init__(self, waiting: int, retry_after: float) -> None:
        super().__init__(
            f"expected fewer than {waiting} requests that wait, which is all that the queue "
            f"holds; ask again in {retry_after:.0f} s"
        )
        self.retry_after = retry_after


class EngineClosed(TrimtabError):
    """The engine takes no more requests, since it is being closed."""


class EngineFailure(RuntimeError):
    """The engine's own code failed while an answer was under way; the log has the traceback."""


@dataclass(eq=False)
class _Fresh:
    """A batch whose prompts are being run, and the passes that are left."""

    batch: Batch
    passes: Generator[None, None, list[Row]]


class Engine:
    """One loop over one model, in a thread of its own.

    Args:
        model: The model; whoever else uses it holds ``model.lock``, as ``in_turns`` does, which
            comes round after one turn of the loop.
        max_rows: At most this many answers under way at once.
        max_waiting: At most this many requests wait for a row.
        max_tokens: At most this many tokens of all rows in the cache, padding included: rows
            times the longest of them, prompt and room for the answer. Default: what fits in 0.3
            of the memory that is free now.
        pass_tokens: At most so many tokens of new prompts between two decode steps, and four times
            as many where no answer is under way. Default: 128
            on a processor, where a token costs about as much as a row's step, 2,048 elsewhere.

    Raises:
        TrimtabError: A bound below 1.
    """

    def __init__(
        self,
        model: SteeredModel,
        *,
        max_rows: int = 16,
        max_waiting: int = 64,
        max_tokens: int | None = None,
        pass_tokens: int | None = None,
    ) -> None:
        kind = model.device.type
        self._max_tokens = tokens_that_fit(model) if max_tokens is None else max_tokens
        self._pass_tokens = _PASS_TOKENS.get(kind, 2048) if pass_tokens is None else pass_tokens
        if min(max_rows, max_waiting, self._max_tokens, self._pass_tokens) < 1:
            raise TrimtabError(
                "expected max_rows, max_waiting, max_tokens and pass_tokens of at least 1, got "
                f"{max_rows}, {max_waiting}, {self._max_tokens} and {self._pass_tokens}"
            )
        self._model = model
        self._max_rows = max_rows
        self._max_waiting = max_waiting
        self._joins = can_join(model.hf.config)
        self._changed = threading.Condition()
        # Guarded by `_changed`:
        self._waiting: deque[Ticket] = deque()
        self._closing = False
        self._stopped = False
        self._counts = EngineCounts()
        # The loop's own:
        self._tickets: dict[Row, Ticket] = {}
        self._fresh: _Fresh | None = None
        self._batch: Batch | None = None
        self._hooks = ExitStack()  # of the batch, for as long as its rows stay the same
        self._hooked = False
        self._thread = threading.Thread(target=self._loop, name="trimtab-engine", daemon=True)
        self._thread.start()

    def submit(
        self,
        request: Request,
        options: Options | None = None,
        *,
        deadline: float | None = None,
        logprobs: int | None = None,
        beyond: bool = False,
    ) -> Ticket:
        """Take a request; it begins as soon as there is a row for it, first come, first served.

        The prompt is written and its grammar compiled here, in the caller's thread, which takes
        some milliseconds. Inside ``with model.steered(...)``, what is steered there is added.

        Args:
            request: What to answer. Its draws depend on the options' seed and the request's own
                ``draws`` alone, whatever else is answered with it.
            options: How it is answered.
            deadline: When it ends with what there is, even if it still waits: a time of
                ``time.monotonic()``. None: when it ends by itself.
            logprobs: In the place of the options' own.
            beyond: Take it though the queue is full: for a caller who asks one at a time, and whom
                requests that keep the queue full would otherwise keep out for good.

        Raises:
            QueueFull: So many wait that this one cannot.
            EngineClosed: The engine is closed.
            TrimtabError: The request cannot be answered; the line says why.
        """
        wanted = options or Options()
        if logprobs is not None:
            wanted = replace(wanted, logprobs=logprobs)
        with self._changed:
            self._admit_one_more(beyond)
        with set_aside(self._model.parts) as around:
            [steerings] = row_by_row(around, [request.steering])
        for steering in steerings:
            check_fits(self._model, steering)
        row = Row(self._model, 0, request, wanted, steerings)
        if row.longest > self._max_tokens:
            raise TrimtabError(
                f"a prompt of {len(row.prompt)} tokens and an answer of up to "
                f"{wanted.max_new_tokens} do not fit the engine's {self._max_tokens} tokens; "
                "shorten the prompt, lower max_new_tokens, or raise the engine's max_tokens"
            )
        ticket = Ticket(row, deadline, self._wake)
        if row.finish is not None:  # the grammar leaves no choice at all
            ticket.advance()
            return ticket
        with self._changed:
            self._admit_one_more(beyond)
            self._waiting.append(ticket)
            self._changed.notify_all()
        return ticket

    @contextmanager
    def in_turns(self) -> Iterator[Pace]:
        """Use the model in the calling thread, as to read vectors, in turns with the engine.

        Inside, the engine waits until what is done there gives way, as a reading that is given the
        pace does after each bounded pass. So neither of the two can keep the other from going on.

        Yields:
            The pace; its ``between`` raises ``EngineClosed`` once the engine is being closed.

        Raises:
            EngineClosed: The engine is being closed.
        """

        def give_way() -> None:
            self._model.lock.give_way()
            if self._closing:
                raise EngineClosed("the engine is closed, and what was read beside it ends")

        with self._model.lock:
            give_way()
            yield Pace(self._pass_tokens, give_way)

    def close(self, drain: bool = True, timeout: float = 30.0) -> None:
        """Take no more requests, and end.

        Args:
            drain: Answer those that were taken, for at most ``timeout`` seconds; what is not done
                by then is cancelled. Otherwise all are cancelled at once.
            timeout: In seconds.
        """
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        if drain:
            self._thread.join(timeout)
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
        self._thread.join(max(timeout, 5.0))

    @property
    def statistics(self) -> EngineStatistics:
        """What the engine has done and does."""
        with self._changed:
            return self._counts.statistics(running=len(self._tickets), waiting=len(self._waiting))

    def _admit_one_more(self, beyond: bool) -> None:
        """Refuse what there is no room for; holds ``_changed``."""
        if self._closing:
            raise EngineClosed("the engine is closed, and takes no more requests")
        if len(self._waiting) >= self._max_waiting and not beyond:
            self._counts.turned_away()
            raise QueueFull(self._max_waiting, min(max(self._counts.seconds, 1.0), 60.0))

    def _wake(self) -> None:
        with self._changed:
            self._changed.notify_all()

    # What follows runs in the engine's thread.

    def _loop(self) -> None:
        while True:
            with self._changed:
                if not self._has_work():
                    self._changed.wait_for(self._has_work)
                    self._counts.woke()
                if self._stopped or (self._closing and not self._busy()):
                    break
            try:
                self._turn()
            except Exception as error:
                _log.exception("the engine failed; the answers that were under way are lost")
                self._unhook()
                self._fail(list(self._tickets), error)
                self._batch = self._fresh = None
        self._hooks.close()
        for row in list(self._tickets):
            row.finish = row.finish or "cancelled"
            self._end(row)
        with self._changed:
            left, self._waiting = list(self._waiting), deque()
            for ticket in left:
                ticket.row.finish = "cancelled"
                self._counts.ended(ticket.row)
        for ticket in left:
            ticket.advance()

    def _busy(self) -> bool:
        return bool(self._tickets or self._waiting)

    def _has_work(self) -> bool:
        return self._stopped or self._closing or self._busy()

    def _turn(self) -> None:
        """Let go, take in, run a part of a prompt, and make a step."""
        self._let_go()
        with self._model.lock:
            self._take_in()
            self._run_prompts()
            self._step()

    def _let_go(self) -> None:
        """End what was cancelled or has run out of time, whether it waits or is under way."""
        now = time.monotonic()
        with self._changed:
            waiting = [ticket for ticket in self._waiting if ticket.overdue(now)]
            for ticket in waiting:
                self._waiting.remove(ticket)
                ticket.row.finish = ticket.overdue(now)
                self._counts.ended(ticket.row)
        for ticket in waiting:
            ticket.advance()
        left = [row for row, ticket in self._tickets.items() if ticket.overdue(now)]
        for row in left:
            row.finish = self._tickets[row].overdue(now)
            self._end(row)
        if not left:
            return
        self._unhook()
        if self._batch is not None:
            self._batch.drop_finished()
        # A batch that has not begun keeps its rows, which have finished, until it has.
        if self._fresh is not None and all(r.finish is not None for r in self._fresh.batch.rows):
            self._fresh = None

    def _take_in(self) -> None:
        """Begin with requests that wait, as many as there is room for."""
        if self._fresh is not None or not self._waiting:
            return
        under_way = [row for row in self._tickets if row.finish is None]
        if under_way and not self._joins:
            return  # caches that cannot be joined: the next batch begins when this one has ended
        with self._changed:
            tickets = taken(
                self._model,
                self._waiting,
                under_way,
                max_rows=self._max_rows,
                max_tokens=self._max_tokens,
            )
            # They leave the queue and are under way at once.
            self._tickets |= {ticket.row: ticket for ticket in tickets}
            self._counts.began([ticket.row for ticket in tickets])
        if not tickets:
            return
        self._unhook()
        for ticket in tickets:
            ticket.begin()
        batch = Batch(self._model, [ticket.row for ticket in tickets])
        # Where nobody is held up, fewer passes read the weights less often.
        pass_tokens = self._pass_tokens * (1 if under_way else 4)
        self._fresh = _Fresh(batch, batch.begin(pass_tokens))

    def _run_prompts(self) -> None:
        """Run a bounded part of the prompts that are new; when all has run, they join."""
        if self._fresh is None:
            return
        self._unhook()
        batch = self._fresh.batch
        try:
            next(self._fresh.passes)
        except StopIteration as end:
            self._fresh = None
            with self._changed:
                self._counts.kept(batch.kept_tokens)
            self._show(batch.rows)
            self._show(end.value)
            if not any(row.finish is None for row in batch.rows):
                return
            batch.drop_finished(at_once=True)
            if self._batch is None or not any(r.finish is None for r in self._batch.rows):
                self._batch = batch
            else:
                self._batch.drop_finished(at_once=True)
                self._batch.join(batch)
        except Exception as error:
            if not isinstance(error, TrimtabError):
                _log.exception("the engine failed on new prompts; what was under way goes on")
            self._fresh = None
            self._fail([row for row in batch.rows if row in self._tickets], error)

    def _step(self) -> None:
        """One step of all rows under way."""
        batch = self._batch
        if batch is None or not any(row.finish is None for row in batch.rows):
            self._batch = None
            return
        if not self._hooked:
            self._hooks.enter_context(batch.steered())
            self._hooked = True
        rows = [row for row in batch.rows if row.finish is None]
        ended = batch.step()
        with self._changed:
            self._counts.stepped(len(rows))
        if ended:
            self._unhook()  # the rest may need hooks of its own
        self._show(rows)

    def _unhook(self) -> None:
        self._hooks.close()
        self._hooked = False

    def _show(self, rows: list[Row]) -> None:
        """Give out what has come of some rows."""
        for row in rows:
            if row not in self._tickets:
                continue
            if row.finish is not None:
                self._end(row)
            else:
                self._tickets[row].advance()

    def _end(self, row: Row) -> None:
        with self._changed:  # it leaves the rows and joins those that ended at once
            ticket = self._tickets.pop(row)
            self._counts.ended(ticket.row)
        ticket.advance()

    def _fail(self, rows: list[Row], error: Exception) -> None:
        """End rows by an error: their own, or one of the engine's code."""
        for row in rows:
            row.finish = "cancelled"
            with self._changed:
                ticket = self._tickets.pop(row)
                self._counts.broke_off("refused" if isinstance(error, TrimtabError) else "failed")
            if isinstance(error, TrimtabError):
                ticket.fail(error)
            else:
                failure = EngineFailure(
                    f"the engine failed while the answer was under way: {type(error).__name__}"
                )
                failure.__cause__ = error
                ticket.fail(failure)
