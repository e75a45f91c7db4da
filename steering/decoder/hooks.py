"""Forward hooks that mind their own thread, and passes that say whose they are."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

Hook = Callable[..., Any]


def of_this_thread(hook: Hook) -> Hook:
    """The same hook, idle in every pass that another thread than the caller's makes.

    A hook belongs to a module that threads may share. While PyTorch adds or removes one that takes
    keyword arguments, another thread's pass may even call it without them.
    """
    owner = threading.get_ident()

    def idle_elsewhere(*args: Any) -> Any:
        return hook(*args) if threading.get_ident() == owner else None

    return idle_elsewhere


def forward_of_this_thread(forward: Hook, original: Hook) -> Hook:
    """``forward`` in this thread, ``original`` in every other."""
    owner = threading.get_ident()

    def either(*args: Any, **kwargs: Any) -> Any:
        mine = threading.get_ident() == owner
        return forward(*args, **kwargs) if mine else original(*args, **kwargs)

    return either


_passes = threading.local()


@contextmanager
def own_pass() -> Iterator[None]:
    """Mark the passes of this thread inside the context as made by trimtab itself."""
    before = in_own_pass()
    _passes.own = True
    try:
        yield
    finally:
        _passes.own = before


def in_own_pass() -> bool:
    """Whether the pass that this thread makes is one of trimtab's own."""
    return getattr(_passes, "own", False)
