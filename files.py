"""Where trimtab keeps files, and how it writes them: whole or not at all."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import platformdirs


def home() -> Path:
    """The cache folder: ``TRIMTAB_HOME`` if set, else the platform's user cache."""
    chosen = os.environ.get("TRIMTAB_HOME")
    return Path(chosen).expanduser() if chosen else platformdirs.user_cache_path("trimtab")


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path`` that takes its place when the block succeeds.

    A block that raises, or a process that is killed, leaves the old file as it was.

    Example:
        >>> with replacing(Path("numbers.txt")) as temporary:  # doctest: +SKIP
        ...     temporary.write_text("1 2 3")
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with temporary.open("rb+") as written:
            os.fsync(written.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def encodable(text: str) -> str:
    """The text as any encoding of Unicode holds it: half a surrogate pair becomes U+FFFD.

    A model can write one, JSON keeps it as an escape, and no UTF-8 file, Parquet column or strict
    JSON reader takes it.
    """
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
