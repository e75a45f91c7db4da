"""Processes of their own that start at once: forked from one that has done the imports.

What is forked has used no thread, no lock and no database, as a process that starts afresh.
"""

import multiprocessing
from typing import Any

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(
    [
        "torch",
        "sentence_transformers",
        "transformers.models.qwen2.modeling_qwen2",
        "uvicorn",
        "trimtab.agent.shop.agent",
        "trimtab.cli",
        "trimtab.commands.play",
        "trimtab.commands.serve",
        "trimtab.eval.shop.record",
        "trimtab.serve.app",
        "trimtab.serve.opening",
        "trimtab.steering.model",
        "trimtab.steering.store.steering_store",
    ]
)


class Forked:
    """A process that runs Python code; ``said`` is the test's end of a pipe to it.

    Args:
        code: What runs, with the names of ``values`` and ``line``, its end of the pipe.
        values: Plain values.
    """

    def __init__(self, code: str, **values: Any) -> None:
        self.said, line = _CONTEXT.Pipe()
        self._process = _CONTEXT.Process(target=exec, args=(code, {**values, "line": line}))
        self._process.start()
        line.close()

    def rest(self) -> list[Any]:
        """What it says until it ends."""
        heard = []
        while True:
            try:
                heard.append(self.said.recv())
            except (EOFError, OSError):  # killed in the middle of a word
                return heard

    @property
    def alive(self) -> bool:
        return self._process.is_alive()

    def terminate(self) -> None:
        """SIGTERM."""
        self._process.terminate()

    def kill(self) -> None:
        """SIGKILL, and wait for the end."""
        self._process.kill()
        self._process.join()

    def ended(self) -> int:
        """Wait for the end; the exit code."""
        self._process.join()
        code = self._process.exitcode
        assert code is not None
        return code
