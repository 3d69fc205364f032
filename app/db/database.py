"""Connections: SQLite set up for many readers and one quick writer at a time, PostgreSQL by URL with the same code."""

from __future__ import annotations

import contextlib
import secrets
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import sqlalchemy
from sqlalchemy import Connection, event
from sqlalchemy.engine import make_url

BUSY_TIMEOUT_MS = 15_000
_WRITER = "tradespace_writer"
_CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


def now() -> str:
    """The time as RFC 3339 text in UTC with milliseconds."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def new_id(prefix: str) -> str:
    """`<prefix>_` and a ULID: 48 bits of milliseconds, 80 random bits, so ids sort by time of creation."""
    number = (time.time_ns() // 1_000_000) << 80 | secrets.randbits(80)
    return f"{prefix}_" + "".join(_CROCKFORD[number >> shift & 31] for shift in range(125, -1, -5))


class Database:
    """An engine with two ways in: `read()` and `write()`, each one short transaction."""

    def __init__(self, url: str):
        self.url = make_url(url)
        self.is_sqlite = self.url.get_backend_name() == "sqlite"
        connect_args: dict[str, object] = {}
        if self.is_sqlite:
            if self.url.database and self.url.database != ":memory:":
                Path(self.url.database).parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            connect_args = {"timeout": BUSY_TIMEOUT_MS / 1000, "check_same_thread": False}
        self.engine = sqlalchemy.create_engine(
            self.url, connect_args=connect_args, pool_size=8, max_overflow=56, pool_pre_ping=not self.is_sqlite
        )
        if self.is_sqlite:
            event.listen(self.engine, "connect", _configure_sqlite)
            event.listen(self.engine, "begin", _begin_sqlite)

    @contextlib.contextmanager
    def read(self) -> Iterator[Connection]:
        """A consistent view; rolled back at the end."""
        with self.engine.connect() as connection:
            yield connection

    @contextlib.contextmanager
    def write(self) -> Iterator[Connection]:
        """Committed at the end, rolled back on an exception.

        On SQLite the write lock is taken at once: a transaction that reads first and then wants to write would be
        refused without waiting whenever somebody wrote in between.
        """
        with self.engine.connect().execution_options(**{_WRITER: True}) as connection, connection.begin():
            yield connection

    def lock(self, connection: Connection, number: int) -> None:
        """Within a write transaction: wait until no other transaction holds this number.

        On SQLite the write transaction is that lock already.
        """
        if not self.is_sqlite:
            connection.execute(sqlalchemy.select(sqlalchemy.func.pg_advisory_xact_lock(number)))

    def close(self) -> None:
        """Close all pooled connections."""
        self.engine.dispose()


def _configure_sqlite(dbapi_connection: object, _record: object) -> None:
    # The driver must not open transactions by itself: `begin` below says which kind.
    dbapi_connection.isolation_level = None  # type: ignore[attr-defined]
    cursor = dbapi_connection.cursor()  # type: ignore[attr-defined]
    cursor.execute(f"PRAGMA busy_timeout={BUSY_TIMEOUT_MS}")
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=NORMAL")
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    writer = connection.get_execution_options().get(_WRITER, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writer else "BEGIN")
