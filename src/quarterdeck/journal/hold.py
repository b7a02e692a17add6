"""Who works on a run: one process at a time, and a process that dies lets go by itself.

SQLite: a lock on a small file beside the database. PostgreSQL: an advisory lock of the session that also writes, so
that whoever loses the lock cannot write either.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import hashlib
import os
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from quarterdeck.errors import JournalError, RunBusy
from quarterdeck.journal.failures import translate

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

    from quarterdeck.journal.lane import Lane
    from quarterdeck.journal.writer import Writer


_ATTEMPTS = 3
_PAUSE = 0.01


class Holds(Protocol):
    """How a process takes a run for itself."""

    async def take(self, lane: Lane) -> None:
        """Take a run, or raise `RunBusy`."""
        ...

    async def release(self, lane: Lane) -> None:
        """Let it go; harmless when it is not held."""
        ...

    def held(self, run_ids: Collection[str]) -> set[str]:
        """Return those of the runs that some process holds now."""
        ...


class FileHolds:
    """Locks on empty files: `journal.db-holds/<run>`.

    Args:
        database: The SQLite file.
    """

    def __init__(self, database: Path) -> None:
        self._folder = str(database.with_name(f"{database.name}-holds"))
        self._mine: dict[str, int] = {}

    async def take(self, lane: Lane) -> None:
        """Take a run.

        Raises:
            RunBusy: Somebody else works on it.
            JournalError: The folder cannot be written.
        """
        path = self._file(lane.run_id)
        try:
            descriptor = self._first_lock(path)
            for _ in range(_ATTEMPTS):
                if descriptor is not None:
                    break
                await asyncio.sleep(_PAUSE)  # somebody may only be looking, see _is_locked
                descriptor = _lock(path)
        except OSError as error:
            raise JournalError(
                f"Run {lane.run_id} cannot be taken for this process ({error.strerror}: {path}). "
                "Make this folder writable for this user.",
                code="full" if error.errno == 28 else "read_only",
            ) from error
        if descriptor is None:
            raise _busy(lane.run_id, os.getpid() if lane.run_id in self._mine else _locker(path))
        self._mine[lane.run_id] = descriptor

    async def release(self, lane: Lane) -> None:
        """Let a run go."""
        descriptor = self._mine.pop(lane.run_id, None)
        if descriptor is not None:
            # removed while it is still locked: whoever opened the old file finds that it is gone and opens it anew
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._file(lane.run_id))
            os.close(descriptor)

    def held(self, run_ids: Collection[str]) -> set[str]:
        """Return those of the runs that some process holds now."""
        return {run_id for run_id in run_ids if run_id in self._mine or _is_locked(self._file(run_id))}

    def _first_lock(self, path: str) -> int | None:
        try:
            return _lock(path)
        except FileNotFoundError:
            os.makedirs(self._folder, exist_ok=True)
            return _lock(path)

    def _file(self, run_id: str) -> str:
        return f"{self._folder}{os.sep}{run_id}"


class ServerHolds:
    """Advisory locks in the writer's session on a PostgreSQL server.

    Args:
        writer: Whose connection holds the locks.
        engine: For looking who holds what.
    """

    def __init__(self, writer: Writer, engine: Engine) -> None:
        self._writer = writer
        self._engine = engine
        self._mine: dict[str, int] = {}  # the session in which each run is held; only used on the writer's thread

    async def take(self, lane: Lane) -> None:
        """Take a run.

        Raises:
            RunBusy: Somebody else works on it.
            JournalError: The server does not answer.
        """
        key = _key(lane.run_id)

        def lock(connection: Connection) -> None:
            if self._mine.get(lane.run_id) == self._writer.session:
                raise _busy(lane.run_id, os.getpid())
            if not connection.execute(text("SELECT pg_try_advisory_lock(:key)"), {"key": key}).scalar_one():
                raise _busy(lane.run_id, _holder(connection, key))
            self._mine[lane.run_id] = lane.session = self._writer.session

        await self._writer.ask(lock)

    async def release(self, lane: Lane) -> None:
        """Let a run go; a lost connection has done so already."""

        def unlock(connection: Connection) -> None:
            if lane.session is not None and self._mine.get(lane.run_id) == lane.session:
                del self._mine[lane.run_id]
                if lane.session == self._writer.session:
                    connection.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": _key(lane.run_id)})
            lane.session = None

        try:
            await self._writer.ask(unlock)
        except JournalError:
            return

    def held(self, run_ids: Collection[str]) -> set[str]:
        """Return those of the runs that some process holds now."""
        if not run_ids:
            return set()
        try:
            with self._engine.connect() as connection:
                rows = connection.execute(
                    text(
                        "SELECT classid::bigint, objid::bigint FROM pg_locks WHERE locktype = 'advisory' "
                        "AND objsubid = 1 AND granted AND "
                        "database = (SELECT oid FROM pg_database WHERE datname = current_database())"
                    )
                ).all()
        except DBAPIError as error:
            raise translate(error, self._engine.url) from error
        locked = {(high, low) for high, low in rows}
        return {run_id for run_id in run_ids if _halves(_key(run_id)) in locked}


def _lock(path: str) -> int | None:
    """Return a descriptor that holds the lock, or None when somebody else has it."""
    for _ in range(_ATTEMPTS):
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.stat(path).st_ino == os.fstat(descriptor).st_ino:
                return descriptor
        except BlockingIOError:
            os.close(descriptor)
            return None
        except FileNotFoundError:
            pass  # the holder removed it between our open and our lock
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)
    return None


def _is_locked(path: str) -> bool:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def _locker(path: str) -> int | None:
    """Return the process that holds the lock, where the system tells: a written file would cost 0.1 ms a run."""
    try:
        inode = str(os.stat(path).st_ino)
        locks = (line.split() for line in Path("/proc/locks").read_text().splitlines())
        return next((int(lock[4]) for lock in locks if lock[1] == "FLOCK" and lock[5].endswith(f":{inode}")), None)
    except (OSError, ValueError, IndexError):
        return None


def _busy(run_id: str, pid: int | None) -> RunBusy:
    who = "this process" if pid == os.getpid() else f"another process (pid {pid})" if pid else "another process"
    return RunBusy(
        f"Run {run_id} is being worked on by {who}. Wait for it, watch it with: quarterdeck runs show {run_id}, "
        f"or stop it with: quarterdeck runs cancel {run_id}"
    )


def _key(run_id: str) -> int:
    return int.from_bytes(hashlib.sha256(f"quarterdeck hold {run_id}".encode()).digest()[:8], signed=True)


def _halves(key: int) -> tuple[int, int]:
    unsigned = key % 2**64
    return unsigned >> 32, unsigned % 2**32


def _holder(connection: Connection, key: int) -> int | None:
    high, low = _halves(key)
    name = connection.execute(
        text(
            "SELECT a.application_name FROM pg_locks l JOIN pg_stat_activity a USING (pid) "
            "WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1 "
            "AND l.classid::bigint = :high AND l.objid::bigint = :low LIMIT 1"
        ),
        {"high": high, "low": low},
    ).scalar()
    word = str(name or "").rpartition(" ")[2]
    return int(word) if word.isdigit() else None
