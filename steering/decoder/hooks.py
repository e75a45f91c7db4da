"""Forward hooks that mind their own thread."""

from __future__ import annotations

import threading
from collections.abc import Callable
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
