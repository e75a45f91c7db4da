"""Where trimtab keeps files, and how it writes them: whole or not at all."""

import os
import secrets
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import platformdirs


def home() -> Path:
    """The cache folder: ``TRIMTAB_HOME`` if set, else the platform's user cache."""
    chosen = os.environ.get("TRIMTAB_HOME")
    return Path(chosen).expanduser() if chosen else platformdirs.user_cache_path("trimtab")


_TEMPORARY = ".tmp"


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path`` that takes its place when the block succeeds.

    A block that raises, or a process that is killed, leaves the old file as it was. A new file
    has the permissions that the umask leaves it, as any new file; a file that is replaced keeps
    its own.

    Example:
        >>> with replacing(Path("numbers.txt")) as temporary:  # doctest: +SKIP
        ...     temporary.write_text("1 2 3")
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.parent / f".{path.name}.{secrets.token_hex(4)}{_TEMPORARY}"
    # Not by tempfile, whose files are for their owner alone whatever the umask.
    os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
    try:
        if path.exists():
            temporary.chmod(path.stat().st_mode & 0o777)
        yield temporary
        with temporary.open("rb+") as written:
            os.fsync(written.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def is_temporary(path: Path, names: Collection[str]) -> bool:
    """Whether ``replacing`` made this path while it wrote a file of one of these names.

    A process that is killed leaves such a file behind; nothing reads it.
    """
    return path.name.endswith(_TEMPORARY) and any(
        path.name.startswith(f".{name}.") for name in names
    )


def encodable(text: str) -> str:
    """The text as any encoding of Unicode holds it: half a surrogate pair becomes U+FFFD.

    A model can write one, JSON keeps it as an escape, and no UTF-8 file, Parquet column or strict
    JSON reader takes it.
    """
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")


def without_formula(cell: Any) -> Any:
    """A cell of a CSV file that no spreadsheet runs: a text that begins like a formula gets ``'``.

    Numbers stay numbers, as does a text that is one.

    Example:
        >>> [without_formula(cell) for cell in ("=1+1", "-0.5", -0.5, "a=b")]
        ["'=1+1", '-0.5', -0.5, 'a=b']
    """
    if not isinstance(cell, str) or not cell.startswith(_FORMULA):
        return cell
    try:
        float(cell)
    except ValueError:
        return f"'{cell}"
    return cell
