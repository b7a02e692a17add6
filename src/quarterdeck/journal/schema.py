"""The schema of the database: created, upgraded, or left alone when a newer Quarterdeck made it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import inspect, text
from sqlalchemy.exc import DBAPIError

from quarterdeck.errors import JournalError
from quarterdeck.journal.failures import shown, translate
from quarterdeck.journal.tables import metadata

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

REVISIONS = ("0001", "0002", "0003", "0004", "0005")
"""Every migration, oldest first; the same as in `memory/migrations/versions`, without importing Alembic."""

HEAD = REVISIONS[-1]
TEXT_INDEX = {
    "sqlite": ("CREATE VIRTUAL TABLE memory_text USING fts5(body, content='', tokenize='porter unicode61')",),
    "postgresql": (
        "CREATE TABLE memory_text (memory BIGINT PRIMARY KEY, body TSVECTOR NOT NULL)",
        # without a list of what is not in the index yet, which every search would read after a large add
        "CREATE INDEX memory_text_by_body ON memory_text USING gin (body) WITH (fastupdate=off)",
    ),
}
"""The full-text index of `memories`, which SQLAlchemy's tables cannot say; see `memory.fulltext`."""

CREATION_TIMEOUT = 30.0
_ADVISORY_KEY = 0x71756172746572  # "quarter": one creator or upgrader a database


def ensure(engine: Engine, *, read_only: bool = False, folder: Path | None = None) -> None:
    """Bring the database to the current schema.

    Args:
        engine: The database.
        read_only: Change nothing; an outdated schema is an error.
        folder: Where the migrations stand; found by itself when None.

    Raises:
        JournalError: The schema is newer than this program (code `newer_schema`), or the database cannot be used.
    """
    try:
        with engine.connect() as connection:
            revision = current(connection)
        if revision == HEAD:
            return
        _refuse_unknown(engine, revision)
        if read_only:
            raise JournalError(
                f"{shown(engine.url)} {'is empty' if revision is None else 'has an older schema'}, and it was opened "
                "for reading only. Run any command that writes to it once, such as: quarterdeck doctor",
                code="no_journal" if revision is None else "journal",
            )
        with _alone(engine) as connection:
            revision = current(connection)  # another process may have been faster
            _refuse_unknown(engine, revision)
            if revision is None:
                _create(connection, engine)
            elif revision != HEAD:
                _upgrade(connection, folder or migrations())
    except (DBAPIError, OSError) as error:
        raise translate(error, engine.url) from error


def current(connection: Connection) -> str | None:
    """Return the revision that the database has, or None when it has no schema yet."""
    # one look-up instead of a failed query: PostgreSQL would abort the transaction
    if connection.dialect.name == "sqlite":
        there = connection.exec_driver_sql("SELECT 1 FROM sqlite_master WHERE name = 'alembic_version'").first()
    else:
        # not to_regclass(): it answers from a cache that may be older than the lock under which this is asked again
        there = connection.exec_driver_sql(
            "SELECT 1 FROM pg_catalog.pg_tables "
            "WHERE tablename = 'alembic_version' AND schemaname = ANY (current_schemas(false))"
        ).first()
    if there is None:
        return None
    row = connection.execute(text("SELECT version_num FROM alembic_version")).first()
    return None if row is None else str(row[0])


def migrations() -> Path:
    """Return the folder of the migrations: in the installed package, else in the checkout."""
    package = Path(__file__).resolve().parents[1]
    installed = package / "starter" / "memory" / "migrations"
    return installed if installed.is_dir() else package.parents[1] / "memory" / "migrations"


def _refuse_unknown(engine: Engine, revision: str | None) -> None:
    if revision is not None and revision not in REVISIONS:
        raise JournalError(
            f"{shown(engine.url)} has the schema {revision}, which this Quarterdeck (up to {HEAD}) does not know. "
            "Nothing was touched. Update Quarterdeck, or set QUARTERDECK_DATABASE_URL to another place.",
            code="newer_schema",
        )


def _create(connection: Connection, engine: Engine) -> None:
    foreign = set(metadata.tables) & set(inspect(connection).get_table_names())
    if foreign:
        raise JournalError(
            f"{shown(engine.url)} has tables named {', '.join(sorted(foreign))} that are not Quarterdeck's. "
            "Nothing was touched. Set QUARTERDECK_DATABASE_URL to a database of its own."
        )
    # a fresh database needs no Alembic (0.3 s to import); a test proves that both ways give the same schema
    metadata.create_all(connection, checkfirst=False)
    for statement in TEXT_INDEX[connection.dialect.name]:
        connection.exec_driver_sql(statement)
    connection.exec_driver_sql(
        "CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL, "
        "CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num))"
    )
    connection.execute(text("INSERT INTO alembic_version (version_num) VALUES (:head)"), {"head": HEAD})


def _upgrade(connection: Connection, folder: Path) -> None:
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(folder).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


@contextmanager
def _alone(engine: Engine) -> Iterator[Connection]:
    """Give one process at a time a transaction in which it may change the schema; all of it happens or nothing."""
    with engine.connect() as connection:
        if engine.dialect.name == "sqlite":
            _use_wal(connection)
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        else:
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _ADVISORY_KEY})
        yield connection
        connection.commit()


def _use_wal(connection: Connection) -> None:
    """Switch the file to WAL, which SQLite does not wait for by itself when others open the same new file."""
    end = time.monotonic() + CREATION_TIMEOUT
    while True:
        try:
            mode = connection.exec_driver_sql("PRAGMA journal_mode=WAL").scalar_one()
        except DBAPIError as error:
            if translate(error, connection.engine.url).code != "locked" or time.monotonic() > end:
                raise
        else:
            if mode == "wal":
                return
            raise JournalError(
                f"{shown(connection.engine.url)} is on a file system without shared memory, which several processes "
                "need (SQLite's WAL mode). Put it on a local disk."
            )
        time.sleep(0.02)
