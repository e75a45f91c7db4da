"""The one event loop that all async tools run on, in a daemon thread that lives on.

Clients of the network and of databases belong to the loop of their first use. A loop a call would
leave them dead at the second call.
"""

from __future__ import annotations

import asyncio
import atexit
import contextvars
import os
import threading
from collections.abc import Awaitable
from concurrent.futures import CancelledError
from concurrent.futures import TimeoutError as FutureTimeout
from typing import Any

_PATIENCE = 1.0  # seconds, at the program's end

_lock = threading.Lock()
_loop: asyncio.AbstractEventLoop | None = None
_thread: threading.Thread | None = None


blocked = contextvars.ContextVar("blocked", default=False)
"""Whether the shared loop waits for this very thread, and can run nothing for it."""


class GivenUp(Exception):
    """What was awaited took longer than it may; it has been cancelled."""


def awaited(awaitable: Awaitable[Any], timeout: float | None = None) -> Any:
    """Wait for something on the shared loop, from any thread, and return what it gives.

    The caller's context variables are seen. A tool that is itself running on the shared loop and
    calls another async tool blocks that loop: the inner one gets a loop of its own.

    Args:
        awaitable: A coroutine, or whatever else can be awaited.
        timeout: Seconds; None waits for ever.

    Raises:
        GivenUp: The time is over.
        BaseException: Whatever the awaited code raises.
    """
    loop = _shared_loop()
    if blocked.get() or is_here():
        return _on_a_loop_of_its_own(awaitable, timeout)
    future = asyncio.run_coroutine_threadsafe(_outcome(awaitable), loop)
    try:
        value, error = future.result(timeout)
    except (FutureTimeout, CancelledError) as ended:
        future.cancel()
        raise GivenUp from ended
    except BaseException:  # the caller is interrupted: nobody waits for the answer any more
        future.cancel()
        raise
    if error is not None:
        raise error
    return value


def is_here() -> bool:
    """Whether this is the shared loop's own thread."""
    return threading.current_thread() is _thread


async def _outcome(awaitable: Awaitable[Any]) -> tuple[Any, BaseException | None]:
    """What came of it. An error is handed over, since SystemExit would end the loop's thread."""
    try:
        return await awaitable, None
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
        return None, error
    except BaseException as error:
        return None, error


def _shared_loop() -> asyncio.AbstractEventLoop:
    global _loop, _thread
    with _lock:
        if _loop is None or _thread is None or not _thread.is_alive():
            _loop = asyncio.new_event_loop()
            _thread = threading.Thread(
                target=_run, args=(_loop,), name="trimtab-async-tools", daemon=True
            )
            _thread.start()
        return _loop


def _run(loop: asyncio.AbstractEventLoop) -> None:
    loop.run_forever()
    for task in asyncio.all_tasks(loop):
        task.cancel()
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()


def _end() -> None:
    """Give what still runs a moment to be told that the program ends."""
    if _loop is not None and _thread is not None and not _loop.is_closed():
        _loop.call_soon_threadsafe(_loop.stop)
        _thread.join(_PATIENCE)


def _on_a_loop_of_its_own(awaitable: Awaitable[Any], timeout: float | None) -> Any:
    done: list[tuple[Any, BaseException | None]] = []
    context = contextvars.copy_context()
    thread = threading.Thread(
        target=lambda: done.append(context.run(asyncio.run, _outcome(awaitable))), daemon=True
    )
    thread.start()
    thread.join(timeout)
    if not done:
        raise GivenUp
    value, error = done[0]
    if error is not None:
        raise error
    return value


def _forget() -> None:
    """A forked process has the loop but not its thread."""
    global _lock, _loop, _thread
    _lock, _loop, _thread = threading.Lock(), None, None


atexit.register(_end)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
