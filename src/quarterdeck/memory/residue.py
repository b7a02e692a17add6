"""What deleted texts leave behind in files: found byte by byte, and overwritten."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy.exc import DBAPIError

from quarterdeck.journal.database import sqlite_path
from quarterdeck.journal.failures import classify
from quarterdeck.memory.fulltext import Fts5

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from quarterdeck.journal.store import Store

PROBES = 50
LEAST_PROBE = 8
"""Bytes below which a find says nothing."""
LONGEST_PROBE = 64
"""Bytes; SQLite goes on with a longer text on another page."""
SEARCH_BYTES = 4_000_000_000
"""Bytes times probes that one search reads at most: some seconds."""
VACUUM_BYTES = 250_000_000
"""The largest database that is rewritten while others may write to it: about a second, well below their patience."""
MEMORY_TABLES = ("memories", "memory_text", "vectors", "episodes", "replies")

_CHUNK = 1 << 23
# what JSON writes as it is, so that a probe is found in the journal's events too
_PLAIN = re.compile(r'[^"\\\x00-\x1f\x7f]+')


def probe_of(text: str) -> bytes:
    """Return a part of a text that its bytes can be known by; empty when it is too short."""
    longest = max(_PLAIN.findall(text), key=len, default="").strip()
    probe = longest.encode("utf-8", "ignore")[:LONGEST_PROBE]
    return probe if len(probe) >= LEAST_PROBE else b""


def probes_of(texts: Iterable[str]) -> list[bytes]:
    """Return at most 50 probes, those of the longest texts first."""
    found = {probe for text in texts if (probe := probe_of(text))}
    return sorted(found, key=lambda probe: (-len(probe), probe))[:PROBES]


def as_recorded(text: str) -> str:
    """Return a text as it stands within the JSON of an event."""
    return json.dumps(text, ensure_ascii=False)[1:-1]


def search_files(files: Iterable[Path], probes: Sequence[bytes]) -> dict[bytes, Path]:
    """Return which probes stand in some files, and in which first.

    Args:
        files: Those that are gone by now are left out.
        probes: As many as 4 GB of comparing allow are looked for, the first ones first.
    """
    there = [file for file in files if file.is_file()]
    size = sum(file.stat().st_size for file in there)
    wanted = list(probes[: max(1, SEARCH_BYTES // max(size, 1))])
    found: dict[bytes, Path] = {}
    for file in there:
        try:
            with file.open("rb") as stream:
                kept = b""
                while chunk := stream.read(_CHUNK):
                    window = kept + chunk
                    found.update({probe: file for probe in wanted if probe not in found and probe in window})
                    kept = window[-LONGEST_PROBE:]
        except FileNotFoundError:
            continue
    return found


def files_of(store: Store, index: Path | None) -> list[Path]:
    """Return the files that may hold what a memory said: the database with its log, and the index."""
    files = []
    if (folder := store.folder) is not None:
        name = _database(store).name
        files += [folder / f"{name}{end}" for end in ("", "-wal", "-journal")]
    if index is not None and index.is_dir():
        files += [file for file in sorted(index.rglob("*")) if file.is_file()]
    return files


def copies_of(store: Store) -> list[Path]:
    """Return files beside a SQLite database that look like copies of it: backups."""
    folder = store.folder
    if folder is None:
        return []
    file = _database(store)
    own = {file.name, *(f"{file.name}{end}" for end in ("-wal", "-shm", "-journal"))}
    return sorted(
        path
        for path in folder.iterdir()
        if path.is_file() and path.name not in own and path.name.startswith((file.name, f"{file.stem}-"))
    )[:100]


async def overwrite_on_delete(store: Store) -> None:
    """Let SQLite put zeros in the place of whatever this process deletes from now on."""
    if store.folder is not None:
        await store.writer.ask(lambda connection: _all(connection, "PRAGMA secure_delete=ON"))


async def compact(store: Store, *, however_large: bool = False) -> str:
    """Take what was deleted out of the free space of the database and out of its log.

    Overwriting what is deleted is not enough: SQLite leaves copies behind where it moved rows between pages. So the
    file is written anew, unless it is so large that others, who cannot write meanwhile, would give up.

    Args:
        store: The database.
        however_large: Write it anew all the same.

    Returns:
        Why it could not be done; empty when it was.
    """
    if store.folder is None:
        return await store.writer.ask(_rewrite_tables)
    trouble = ""
    if _database(store).stat().st_size > VACUUM_BYTES and not however_large:
        trouble = f"it has more than {VACUUM_BYTES // 1_000_000} MB, and nobody can write to it while it is rewritten"
    return await store.writer.ask(lambda connection: _rewrite_file(connection, trouble))


def _rewrite_file(connection: Connection, trouble: str) -> str:
    try:
        _merge_words(connection)
        if not trouble:
            _all(connection, "VACUUM")
        busy = _all(connection, "PRAGMA wal_checkpoint(TRUNCATE)")
    except DBAPIError as error:
        if classify(error) not in ("locked", "full"):
            raise
        return "it is in use" if classify(error) == "locked" else "the disk is full"
    return trouble or ("other programs read it, so its log could not be emptied" if busy and busy[0][0] else "")


def _merge_words(connection: Connection) -> None:
    """Take deleted words out of the segments of the full-text index; a damaged one is emptied, and made anew later."""
    try:
        connection.exec_driver_sql("INSERT INTO memory_text(memory_text) VALUES ('optimize')")
    except DBAPIError as error:
        if classify(error) not in ("corrupt", "journal"):
            raise
        connection.rollback()
        Fts5().renew(connection)
    connection.commit()


def _rewrite_tables(connection: Connection) -> str:
    # a rewrite cannot stand in a transaction, which the writer's own connection is about to begin
    with connection.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as alone:
        try:
            alone.exec_driver_sql(f"VACUUM (FULL) {', '.join(MEMORY_TABLES)}")
        except DBAPIError as error:
            return f"its tables are in use ({classify(error)})"
    return ""


def _all(connection: Connection, statement: str) -> list[tuple[object, ...]]:
    result = connection.exec_driver_sql(statement)
    return [tuple(row) for row in result] if result.returns_rows else []


def _database(store: Store) -> Path:
    from sqlalchemy.engine import make_url

    return sqlite_path(make_url(store.url))
