"""Vendor errors of the two databases, told as one clear line each."""

from __future__ import annotations

import sqlite3

from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError, IntegrityError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from quarterdeck.errors import JournalError

_ADVICE = {
    "locked": "is locked by another program. Close what else has it open, then resume; nothing was lost",
    "full": "cannot grow: the disk is full. Free some space, then resume; what was recorded is safe",
    "read_only": "cannot be written. Make the file and its folder writable for this user, or set "
    "QUARTERDECK_DATABASE_URL to another place",
    "corrupt": "is damaged or no database of Quarterdeck. Move it away and restore a backup, or set "
    "QUARTERDECK_DATABASE_URL to another place",
    "unreachable": "does not answer. Check that it runs and that QUARTERDECK_DATABASE_URL has the right host, user and "
    "database, then resume",
    "journal": "refused a request",
}
_SQLITE = {
    sqlite3.SQLITE_BUSY: "locked",
    sqlite3.SQLITE_LOCKED: "locked",
    sqlite3.SQLITE_PROTOCOL: "locked",
    sqlite3.SQLITE_FULL: "full",
    sqlite3.SQLITE_READONLY: "read_only",
    sqlite3.SQLITE_CANTOPEN: "read_only",
    sqlite3.SQLITE_PERM: "read_only",
    sqlite3.SQLITE_CORRUPT: "corrupt",
    sqlite3.SQLITE_NOTADB: "corrupt",
}
# SQLSTATE codes, https://www.postgresql.org/docs/current/errcodes-appendix.html
_POSTGRESQL = {
    "53100": "full",
    "53200": "unreachable",
    "53300": "unreachable",
    "55P03": "locked",
    "57014": "locked",
    "40P01": "locked",
    "25006": "read_only",
    "42501": "read_only",
    "XX001": "corrupt",
    "XX002": "corrupt",
    "57P01": "unreachable",
    "57P02": "unreachable",
    "57P03": "unreachable",
    "3D000": "unreachable",
}


def shown(url: URL) -> str:
    """Return the database as a person may see it: never with its password."""
    if url.get_backend_name() == "sqlite":
        return f"The journal {url.database}"
    return f"The journal {url.set(query={}).render_as_string(hide_password=True)}"


def translate(error: BaseException, url: URL) -> JournalError:
    """Return what a person can do about a vendor's error."""
    if isinstance(error, JournalError):
        return error
    code = classify(error)
    detail = " ".join(str(getattr(error, "orig", None) or error).split())[:200]
    return JournalError(f"{shown(url)} {_ADVICE[code]} ({detail}).", code=code)


def classify(error: BaseException) -> str:
    """Return the code of `JournalError` that fits a vendor's error."""
    origin = error.orig if isinstance(error, DBAPIError) else error
    if isinstance(origin, PermissionError):
        return "read_only"
    if isinstance(origin, OSError):
        return "full" if origin.errno == 28 else "journal"
    if isinstance(origin, sqlite3.Error):
        number = getattr(origin, "sqlite_errorcode", 0) & 0xFF  # the low byte is the class of an extended code
        return _SQLITE.get(number, "corrupt" if "no such table" in str(origin) else "journal")
    state = getattr(origin, "sqlstate", None)
    if state is not None:
        return _POSTGRESQL.get(state, "unreachable" if state[:2] in ("08", "28") else "journal")
    if isinstance(error, PoolTimeout) or (isinstance(error, DBAPIError) and not isinstance(error, IntegrityError)):
        return "unreachable" if _is_connection_trouble(error) else "journal"
    return "journal"


def _is_connection_trouble(error: SQLAlchemyError) -> bool:
    if isinstance(error, PoolTimeout):
        return True
    # psycopg gives no SQLSTATE where the server could not even be asked
    return isinstance(error, DBAPIError) and type(error.orig).__name__ in ("OperationalError", "InterfaceError")
