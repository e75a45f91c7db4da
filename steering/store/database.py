"""A store's database: reading and writing transactions, and its troubles in one line each."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, Engine, event
from sqlalchemy.exc import DBAPIError, IntegrityError, ProgrammingError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from ...errors import TrimtabError
from . import schema
from .place import Place

_PAGE_BYTES = 16384  # some entries a page
_WRITERS = 0x7472696D  # of PostgreSQL's advisory locks, the one that this store's writers take
_SECONDS_TO_CONNECT = 10


class StoreUnavailable(TrimtabError):
    """The database does not do what it should; the same may work later."""


class Database:
    """Connections to one place; safe in threads, and made anew in a forked process.

    Nothing is made before the first writing transaction that asks for it. One transaction writes
    at a time, in whatever process; any number read meanwhile, each of one state.

    Args:
        place: Where.
        patience: How many seconds to wait for another writer.
    """

    def __init__(self, place: Place, patience: float) -> None:
        self.place = place
        self._patience = patience
        self._engine: Engine | None = None
        self._lock = threading.Lock()
        self._made = False
        self._left: list[Engine] = []

    def after_fork(self) -> None:
        """In a child process: use no connection of the parent's, and close none either."""
        if self._engine is not None:
            self._left.append(self._engine)
        self._engine = None
        self._lock = threading.Lock()

    @property
    def is_file(self) -> bool:
        """Whether it is SQLite."""
        return self.place.file is not None

    @contextmanager
    def reading(self) -> Iterator[Connection | None]:
        """One state of the database; None while there is no store yet.

        Raises:
            TrimtabError: It cannot be reached or read.
        """
        with self._told("read"):
            if not self._made and self.is_file and not self._file_has_content():
                yield None
                return
            with self._connected().connect() as connection:
                if not self._made:
                    self._made = self._checked(connection)
                yield connection if self._made else None

    @contextmanager
    def writing(self, *, make: bool = False) -> Iterator[Connection | None]:
        """One transaction, which counts when the block ends, and not at all if it raises.

        Args:
            make: Make the tables where there are none; else the transaction is None there.

        Raises:
            TrimtabError: Another writer does not finish, or it cannot be written.
        """
        with self._told("written"):
            if not self._made and self.is_file and not self._file_has_content():
                if not make:
                    yield None
                    return
                self._make_file()
            # PostgreSQL's writers must see what was written while they waited for their turn.
            options = {} if self.is_file else {"isolation_level": "READ COMMITTED"}
            engine = self._connected().execution_options(writing=True, **options)
            with engine.begin() as connection:
                if not self.is_file:
                    milliseconds = max(1, round(1000 * self._patience))
                    connection.exec_driver_sql(f"SET LOCAL lock_timeout = {milliseconds}")
                    connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_WRITERS})")
                there = self._made or self._checked(connection)
                if not there and make:
                    schema.make(connection)
                    there = True
                if there:
                    version = schema.version_of(schema.read_about(connection), self.place.shown)
                    if version < schema.VERSION:
                        schema.migrate(connection, version)
                yield connection if there else None
            self._made = self._made or there

    def erase_log(self) -> None:
        """Take what SQLite's log still holds of older states off the disk.

        Raises:
            StoreUnavailable: A reader keeps the log in use for longer than the patience.
        """
        if not self.is_file:
            return
        end = time.monotonic() + self._patience
        while self._outside("PRAGMA wal_checkpoint(TRUNCATE)")[0]:
            if time.monotonic() > end:
                raise StoreUnavailable(
                    f"what was forgotten is out of the store at {self.place.shown}, but another "
                    "process that reads keeps it in the log file; end it, then compact the store"
                )
            time.sleep(0.01)

    def rewrite(self) -> None:
        """Give the disk back what is not in use."""
        if self.is_file:
            self._outside("VACUUM")
            self.erase_log()
        else:
            for table in schema.metadata.sorted_tables:
                self._outside(f"VACUUM FULL {table.name}")

    def _outside(self, statement: str) -> Any:
        """Run a statement outside of any transaction; its first row, if it has one."""
        with self._told("rewritten"):
            connection = self._connected().raw_connection()
            try:
                if not self.is_file:
                    connection.driver_connection.autocommit = True  # type: ignore[union-attr]
                cursor = connection.cursor()
                cursor.execute(statement)
                return cursor.fetchone() if cursor.description else None
            finally:
                if not self.is_file:
                    connection.driver_connection.autocommit = False  # type: ignore[union-attr]
                connection.close()

    def close(self) -> None:
        """Close the connections that are open; others are made when they are needed."""
        with self._lock:
            if self._engine is not None:
                self._engine.dispose()

    def _file_has_content(self) -> bool:
        assert self.place.file is not None
        return self.place.file.is_file() and self.place.file.stat().st_size > 0

    def _make_file(self) -> None:
        assert self.place.file is not None
        try:
            self.place.file.parent.mkdir(parents=True, exist_ok=True)
            self.place.file.touch(mode=0o600)  # it holds what users did
        except OSError as error:
            raise TrimtabError(
                f"the store at {self.place.shown} cannot be written: {error}; name a file that can"
            ) from error

    def _checked(self, connection: Connection) -> bool:
        """Whether the tables are there, after a look at their version."""
        if not schema.is_made(connection):
            if self.is_file and sa.inspect(connection).get_table_names():
                raise TrimtabError(
                    f"{self.place.shown} is not a steering store: it is the SQLite database of "
                    "something else; name another file"
                )
            return False
        schema.version_of(schema.read_about(connection), self.place.shown)
        return True

    def _connected(self) -> Engine:
        with self._lock:
            if self._engine is None:
                self._engine = self._file_engine() if self.is_file else self._server_engine()
            return self._engine

    def _file_engine(self) -> Engine:
        engine = sa.create_engine(
            self.place.url, pool_size=8, max_overflow=-1, connect_args={"timeout": self._patience}
        )

        @event.listens_for(engine, "connect")
        def _(connection: sqlite3.Connection, _: object) -> None:
            connection.isolation_level = None  # transactions begin where the next function says
            assert self.place.file is not None
            if not self.place.file.stat().st_size:
                connection.execute(f"PRAGMA page_size = {_PAGE_BYTES}")
            for pragma in (
                "journal_mode = WAL",
                "synchronous = FULL",
                "secure_delete = ON",
                "foreign_keys = ON",
            ):
                connection.execute(f"PRAGMA {pragma}")

        @event.listens_for(engine, "begin")
        def _(connection: Connection) -> None:
            writing = connection.get_execution_options().get("writing")
            connection.exec_driver_sql("BEGIN IMMEDIATE" if writing else "BEGIN")

        return engine

    def _server_engine(self) -> Engine:
        return sa.create_engine(
            self.place.url,
            pool_pre_ping=True,  # the server may have been stopped and started
            pool_size=8,
            max_overflow=24,
            isolation_level="REPEATABLE READ",
            connect_args={"connect_timeout": _SECONDS_TO_CONNECT},
        )

    @contextmanager
    def _told(self, action: str) -> Iterator[None]:
        try:
            yield
        except PoolTimeout as error:
            raise StoreUnavailable(
                f"the store at {self.place.shown} has too many readers at once: {error.args[0]}; "
                "ask less at a time"
            ) from error
        except (IntegrityError, ProgrammingError):
            raise  # a fault of this program
        except DBAPIError as error:
            raise StoreUnavailable(self._trouble(action, str(error.orig))) from error
        except sqlite3.Error as error:
            raise StoreUnavailable(self._trouble(action, str(error))) from error

    def _trouble(self, action: str, said: str) -> str:
        reason = (said.strip().splitlines() or ["no reason given"])[0]
        store = f"the store at {self.place.shown}"
        if "locked" in said or "lock timeout" in said:
            return (
                f"another process is writing to {store}, for more than {self._patience:g} s; wait "
                "for it or end it, or give patience=..."
            )
        if "not a database" in said:
            return f"{self.place.shown} is not a steering store: {reason}; name another file"
        cures = {
            "full": "make room on the disk and try again",
            "space": "make room on the disk and try again",
            "readonly": "let it and its folder be written to",
            "read-only": "let it and its folder be written to",
            "malformed": "restore a copy",
            "unable to open": "check that it and its folder can be read and written",
        }
        cure = next(
            (cure for words, cure in cures.items() if words in said),
            "check that it can be read and written"
            if self.is_file
            else "check that the server runs, and the URL",
        )
        return f"{store} cannot be {action}: {reason}; {cure}"


def now_milliseconds() -> int:
    """The time, in milliseconds since 1970."""
    return time.time_ns() // 1_000_000
