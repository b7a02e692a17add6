"""Open the database that a URL names: SQLite by default, PostgreSQL for many machines."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import create_engine, event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from quarterdeck.errors import JournalError
from quarterdeck.journal.failures import translate

if TYPE_CHECKING:
    from sqlalchemy import Engine

BUSY_SECONDS = 5.0
"""How long a statement waits for a lock of another process before the database counts as locked."""


def default_url(root: Path) -> str:
    """Return `QUARTERDECK_DATABASE_URL`, or else the SQLite file `runs/journal.db` of a workspace."""
    return os.environ.get("QUARTERDECK_DATABASE_URL") or f"sqlite:///{root / 'runs' / 'journal.db'}"


def sqlite_path(url: URL) -> Path:
    """Return the file of a SQLite URL.

    Raises:
        JournalError: The URL names no file.
    """
    if not url.database or url.database == ":memory:" or url.database.startswith("file:"):
        raise JournalError(
            "The journal has to be a file, such as sqlite:///runs/journal.db. Change QUARTERDECK_DATABASE_URL."
        )
    return Path(url.database).absolute()


def connect(url: str, *, read_only: bool = False) -> Engine:
    """Return an engine for a database URL; nothing is created but the folder of a SQLite file.

    Args:
        url: `sqlite:///path` or `postgresql://user@host/database`.
        read_only: Connections cannot write.

    Raises:
        JournalError: The URL is wrong, or its file or folder cannot be used.
    """
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise JournalError(
            "QUARTERDECK_DATABASE_URL is no database URL. Use sqlite:///path/journal.db or postgresql://user@host/name."
        ) from None
    backend = parsed.get_backend_name()
    if backend == "sqlite":
        return _sqlite(parsed, read_only=read_only)
    if backend in ("postgresql", "postgres"):
        return _postgresql(parsed, read_only=read_only)
    raise JournalError(
        f"Quarterdeck keeps its journal in SQLite or PostgreSQL, not in {backend}. Change QUARTERDECK_DATABASE_URL."
    )


def _sqlite(url: URL, *, read_only: bool) -> Engine:
    path = sqlite_path(url)
    if read_only and not path.exists():
        raise JournalError(f"There is no journal at {path}: nothing has been run here yet.", code="no_journal")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise translate(error, url) from error
    location = path.as_uri() + ("?mode=ro" if read_only else "")

    def open_file() -> sqlite3.Connection:
        # connections move between the reading threads of a pool, one at a time
        connection = sqlite3.connect(location, uri=True, timeout=BUSY_SECONDS, check_same_thread=False)
        try:
            # FULL: a committed event survives a power cut, not only a crash of the process
            connection.execute("PRAGMA synchronous=FULL")
        except BaseException:
            connection.close()
            raise
        return connection

    return create_engine(url, creator=open_file, pool_size=4, max_overflow=16, pool_timeout=BUSY_SECONDS * 2)


def _postgresql(url: URL, *, read_only: bool) -> Engine:
    try:
        engine = create_engine(
            url.set(drivername="postgresql+psycopg"),
            pool_size=2,
            max_overflow=16,
            pool_timeout=BUSY_SECONDS * 2,
            pool_pre_ping=True,
            connect_args={
                "connect_timeout": int(BUSY_SECONDS),
                "application_name": f"quarterdeck {os.getpid()}",
                "keepalives_idle": 10,
                "keepalives_interval": 5,
                "keepalives_count": 3,
            },
        )
    except ImportError:
        raise JournalError("PostgreSQL needs the package psycopg: pip install 'psycopg[binary]'") from None

    @event.listens_for(engine, "connect")
    def bound(connection: object, _: object) -> None:
        cursor = connection.cursor()  # type: ignore[attr-defined]
        cursor.execute(f"SET lock_timeout = {int(BUSY_SECONDS * 1000)}")
        cursor.execute("SET synchronous_commit = on")
        if read_only:
            cursor.execute("SET default_transaction_read_only = on")
        cursor.close()
        connection.commit()  # type: ignore[attr-defined]

    return engine
