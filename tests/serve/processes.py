"""Servers in processes of their own, as `trimtab serve` starts them."""

import re
import signal
import subprocess
import sys
from pathlib import Path

from trimtab.steering.dictionaries.settings import SteeringSettings

_RUN = "from trimtab.cli import main; main()"


class Server:
    """A server that was started by the command line; ``url`` is there once it listens."""

    def __init__(
        self, folder: Path, store: str, settings: SteeringSettings, *more: str, port: int = 0
    ) -> None:
        table = folder / "steering.toml"
        settings.save(table)
        command = [
            *(sys.executable, "-c", _RUN, "serve", "--model", str(folder / "model")),
            *("--store", store, "--settings", str(table), "--port", str(port), "--name", "tiny"),
            *("--dtype", "float32", "--quiet", *more),
        ]
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)

    @property
    def url(self) -> str:
        said = []
        assert self.process.stderr is not None
        for line in self.process.stderr:
            said.append(line)
            found = re.search(r"at (http://\S+)", line)
            if found:
                return found[1]
        raise AssertionError("".join(said))

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()

    def end(self) -> int:
        """As a service manager ends it; gives the exit code."""
        self.process.send_signal(signal.SIGTERM)
        self.process.communicate(timeout=60)
        return self.process.returncode
