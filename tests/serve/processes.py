"""Servers in processes of their own, as `trimtab serve` starts them."""

import itertools
import re
import time
from pathlib import Path

from trimtab.steering.dictionaries.settings import SteeringSettings

from ..forks import Forked

_RUN = """
import os, sys
error = os.open(log, os.O_WRONLY | os.O_CREAT, 0o600)
os.dup2(error, 2)
os.environ.update(environment)
sys.argv = ["trimtab", *arguments]
from trimtab.cli import main
main()
"""
_number = itertools.count()


class Server:
    """A server that was started by the command line; ``url`` is there once it listens."""

    def __init__(
        self,
        folder: Path,
        store: str,
        settings: SteeringSettings,
        *more: str,
        port: int = 0,
        environment: dict[str, str] | None = None,
    ) -> None:
        table = folder / "steering.toml"
        settings.save(table)
        self._log = folder / f"log-{next(_number)}"
        self._process = Forked(
            _RUN,
            log=str(self._log),
            environment=environment or {},
            arguments=[
                *("serve", "--model", str(folder / "model"), "--store", store),
                *("--settings", str(table), "--port", str(port), "--name", "tiny"),
                *("--dtype", "float32", "--quiet", *more),
            ],
        )

    @property
    def url(self) -> str:
        while True:
            alive = self._process.alive
            said = self._log.read_text() if self._log.exists() else ""
            if found := re.search(r"at (http://\S+)\n", said):
                return found[1]
            assert alive, said
            time.sleep(0.02)

    def kill(self) -> None:
        self._process.kill()

    def tell_to_end(self) -> None:
        self._process.terminate()

    def end(self) -> int:
        """As a service manager ends it; gives the exit code."""
        self._process.terminate()
        return self._process.ended()
