"""Where a store is: a database's URL, a file, or the Lance folder of the last release."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from ...errors import TrimtabError

_POSTGRESQL = ("postgresql", "postgres", "postgresql+psycopg")
_WANTED = "expected sqlite:///FILE, postgresql://USER@HOST/DATABASE or a file's path"


@dataclass(frozen=True)
class Place:
    """A database that a store is kept in.

    Attributes:
        url: As SQLAlchemy takes it.
        file: The file of an SQLite database; None for PostgreSQL.
        shown: For messages, without a password.
        lance: A folder of the last release to import from, where the file is not there yet.
    """

    url: URL
    file: Path | None
    shown: str
    lance: Path | None = None


def place_of(given: str | Path) -> Place:
    """What a URL or a path means.

    A folder that holds a Lance store means the file beside it, named as the folder with ``.db``
    in the place of ``.lance`` or after the name.

    Raises:
        TrimtabError: Another kind of URL, one without a database, or some other folder.
    """
    text = str(given)
    if isinstance(given, Path) or "://" not in text:
        return _file(Path(text).expanduser(), text)
    try:
        url = make_url(text)
    except ArgumentError as error:
        raise TrimtabError(f"{_WANTED}, got {text!r}") from error
    shown = url.render_as_string(hide_password=True)
    if url.drivername in ("sqlite", "sqlite+pysqlite"):
        if not url.database or url.database == ":memory:":
            raise TrimtabError(f"{_WANTED}, got {text!r}, which names no file")
        return _file(Path(url.database).expanduser(), shown)
    if url.drivername not in _POSTGRESQL:
        raise TrimtabError(f"{_WANTED}, got {shown!r}")
    try:
        import psycopg  # noqa: F401
    except ImportError:
        raise TrimtabError(
            f"the store at {shown} needs PostgreSQL's driver; run: pip install 'trimtab[postgres]'"
        ) from None
    return Place(url.set(drivername="postgresql+psycopg"), None, shown)


def _file(path: Path, shown: str) -> Place:
    lance = None
    if path.is_dir():
        if not (path / "entries.lance").is_dir():
            raise TrimtabError(
                f"{shown} is not a steering store: {_WANTED}, found a folder; name a file"
            )
        lance = path
        path = path.with_suffix(".db") if path.suffix == ".lance" else Path(f"{path}.db")
    return Place(URL.create("sqlite", database=str(path)), path, shown, lance)
