"""Reading from databases: one statement, read-only by the database's own means, values only through bind variables."""

from __future__ import annotations

import contextlib
import re
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import date
from datetime import time as clock
from decimal import Decimal
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import quote

from quarterdeck.errors import ToolError
from quarterdeck.tools.manifest import Manifest
from quarterdeck.tools.secrets import Masker
from quarterdeck.tools.services import secret
from quarterdeck.tools.tool import Tool

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine
    from sqlalchemy.engine import URL

    from quarterdeck.spec.services import DatabaseSpec, QueryParameter, QuerySpec

MAX_CELL = 4_000
"""Characters of one value."""
MAX_BYTES = 1_000_000
"""Of one value in SQLite; a longer one is an error there."""
_STEPS = 10_000
_COMMENT = re.compile(r"\A(?:\s|--[^\n]*(?:\n|\Z)|/\*.*?\*/|\()+", re.DOTALL)
_SELECT = re.compile(r"(?:select|with|values)\b", re.IGNORECASE)
_READING = frozenset({sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_RECURSIVE})
_NO_FUNCTIONS = frozenset({"load_extension", "readfile", "writefile", "edit", "fts3_tokenizer", "fsdir", "zipfile"})
_MAY_DO_MORE = (
    "SELECT current_setting('is_superuser') = 'on' OR EXISTS (SELECT 1 FROM pg_roles WHERE rolname IN "
    "('pg_read_server_files', 'pg_write_server_files', 'pg_execute_server_program') "
    "AND pg_has_role(current_user, oid, 'member'))"
)

_TABLES_SQLITE = "SELECT name, sql FROM sqlite_master WHERE type IN ('table', 'view') ORDER BY name"
_TABLES_POSTGRESQL = (
    "SELECT table_schema || '.' || table_name AS name, string_agg(column_name || ' ' || data_type, ', ' "
    "ORDER BY ordinal_position) AS columns FROM information_schema.columns "
    "WHERE table_schema NOT IN ('pg_catalog', 'information_schema') GROUP BY 1 ORDER BY 1"
)


def tools_of(name: str, spec: DatabaseSpec) -> list[Tool]:
    """Return the queries of a database as tools `name.query`.

    Args:
        name: The database's name in `config/services.yaml`.
        spec: What is declared of it.
    """
    return [_tool(name, spec, query, declared) for query, declared in spec.queries.items()]


def placeholders(sql: str) -> set[str]:
    """Return the names of the bind variables in a statement."""
    from sqlalchemy import text

    return set(text(sql).compile().params)


def select(name: str, spec: DatabaseSpec, sql: str, values: Mapping[str, Any], *, free: bool) -> dict[str, Any]:
    """Carry out one statement that reads.

    Args:
        name: The database's name, for errors.
        spec: Where it is, and how much of it is returned.
        sql: The statement.
        values: Bound to its `:names`.
        free: Whether a model wrote the statement; then the role that runs it must not be able to reach the server's
            files and programs.

    Returns:
        `columns`, `rows` (a list of lists) and `more`: whether there are more rows than were taken in.

    Raises:
        ToolError: It is no SELECT, would change something, takes too long or fails; the text holds no secret.
    """
    from sqlalchemy import text
    from sqlalchemy.exc import SQLAlchemyError

    if not _SELECT.match(_COMMENT.sub("", sql, count=1)):
        raise ToolError("Only one SELECT statement can be carried out here.")
    url = secret(spec.url_env)
    try:
        with _reading(url, spec, free=free) as connection:
            options = {"stream_results": True, "max_row_buffer": spec.max_rows + 1, "no_parameters": free}
            streaming = connection.execution_options(**options)
            sent = streaming.exec_driver_sql(sql) if free else streaming.execute(text(sql), dict(values))
            with sent as result:
                columns = [str(column)[:200] for column in result.keys()]
                rows = result.fetchmany(spec.max_rows + 1)
    except SQLAlchemyError as error:
        raise ToolError(f"{name}: {_said(error, url)}") from None
    return {
        "columns": columns,
        "rows": [[_cell(value) for value in row] for row in rows[: spec.max_rows]],
        "more": len(rows) > spec.max_rows,
    }


def tables(name: str, spec: DatabaseSpec) -> dict[str, Any]:
    """Return the tables that may be read, each with its columns.

    Raises:
        ToolError: The database cannot be read.
    """
    sqlite = secret(spec.url_env).startswith("sqlite")
    return select(name, spec, _TABLES_SQLITE if sqlite else _TABLES_POSTGRESQL, {}, free=False)


def _tool(name: str, spec: DatabaseSpec, query: str, declared: QuerySpec) -> Tool:
    properties = {key: _schema(parameter) for key, parameter in declared.parameters.items()}
    required = [key for key, parameter in declared.parameters.items() if not parameter.optional]
    return Tool(
        name=f"{name}.{query}",
        description=" ".join(declared.description.split()),
        parameters={
            "type": "object",
            "properties": properties,
            "required": required,
            "additionalProperties": False,
        },
        function=_caller(f"{name}.{query}", spec, declared),
        timeout=spec.seconds + 5.0,
        manifest=Manifest(
            effect="read",
            owner=spec.owner,
            sinks={},
            sensitive=spec.sensitive,
            timeout=spec.seconds + 5.0,
            idempotent=True,
        ),
    )


def _caller(name: str, spec: DatabaseSpec, query: QuerySpec) -> Callable[..., Any]:
    def call(**arguments: Any) -> dict[str, Any]:
        values = {key: arguments.get(key) for key in query.parameters}
        return select(name, spec, query.sql, values, free=False)

    return call


def _schema(parameter: QueryParameter) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": parameter.type, "description": parameter.description}
    if parameter.enum is not None:
        schema["enum"] = list(parameter.enum)
    elif parameter.type == "string":
        schema["maxLength"] = 10_000
    return schema


@contextlib.contextmanager
def _reading(text: str, spec: DatabaseSpec, *, free: bool) -> Iterator[Connection]:
    """Open a connection on which nothing can be changed, for one statement."""
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        url = make_url(text)
    except ArgumentError:
        raise ToolError(f"env:{spec.url_env} holds no database URL such as postgresql://user@host/name.") from None
    kind = url.get_backend_name()
    if kind not in ("sqlite", "postgresql"):
        raise ToolError(
            f"env:{spec.url_env}: databases of the kind {kind} are not read here; SQLite and PostgreSQL are."
        )
    engine = _sqlite(url, spec) if kind == "sqlite" else _postgresql(url, spec)
    try:
        with engine.connect() as connection:
            if kind == "sqlite":  # only now: SQLAlchemy itself asks a new connection for its settings
                cast(sqlite3.Connection, connection.connection.driver_connection).set_authorizer(_authorise)
            if kind == "postgresql" and free and connection.exec_driver_sql(_MAY_DO_MORE).scalar():
                raise ToolError(
                    f"The role in env:{spec.url_env} may reach the server's files and programs. "
                    "Free SELECTs need a role that may only read tables."
                )
            try:
                yield connection
            finally:
                connection.rollback()
    finally:
        engine.dispose()


def _sqlite(url: URL, spec: DatabaseSpec) -> Engine:
    from sqlalchemy import create_engine
    from sqlalchemy.pool import NullPool

    file = url.database or ""
    end = time.monotonic() + spec.seconds

    def connect() -> sqlite3.Connection:
        connection = sqlite3.connect(
            f"file:{quote(file)}?mode=ro", uri=True, check_same_thread=False, timeout=spec.seconds
        )
        connection.execute("PRAGMA query_only = ON")
        connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, MAX_BYTES)
        connection.setlimit(sqlite3.SQLITE_LIMIT_ATTACHED, 0)
        connection.set_progress_handler(lambda: int(time.monotonic() > end), _STEPS)
        return connection

    return create_engine("sqlite://", creator=connect, poolclass=NullPool, hide_parameters=True)


def _authorise(action: int, first: str | None, second: str | None, *_: Any) -> int:
    if action not in _READING or (action == sqlite3.SQLITE_FUNCTION and (second or "").lower() in _NO_FUNCTIONS):
        return sqlite3.SQLITE_DENY
    return sqlite3.SQLITE_OK


def _postgresql(url: URL, spec: DatabaseSpec) -> Engine:
    from sqlalchemy import create_engine
    from sqlalchemy.pool import NullPool

    limit = max(1, int(spec.seconds * 1000))
    return create_engine(
        url.set(drivername="postgresql+psycopg"),
        poolclass=NullPool,
        hide_parameters=True,
        connect_args={
            # prepared at once: the protocol then takes exactly one statement
            "prepare_threshold": 0,
            "connect_timeout": max(2, int(spec.seconds)),
            "options": f"-c default_transaction_read_only=on -c statement_timeout={limit} -c lock_timeout={limit}",
        },
        execution_options={"postgresql_readonly": True},
    )


def _cell(value: Any) -> Any:
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, bytes | memoryview):
        return f"[{len(value):,} bytes]"
    if isinstance(value, date | clock):
        return value.isoformat()
    text = format(value, "f") if isinstance(value, Decimal) else str(value)
    return text if len(text) <= MAX_CELL else f"{text[:MAX_CELL]} [cut: {len(text) - MAX_CELL:,} more characters]"


def _said(error: Any, url: str) -> str:
    """Return the database's own words, without the connection's secrets and without the statement."""
    text = str(getattr(error, "orig", None) or error).strip().splitlines()[0][:500]
    if "interrupted" in text or "statement timeout" in text:
        return "the query took too long and was ended."
    masker = Masker({"url": url})
    masker.add("url", url)
    return f"the database refused: {masker.mask(text)}"
