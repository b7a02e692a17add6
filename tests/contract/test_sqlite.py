"""What can go wrong with a file."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event
from sqlalchemy.pool import Pool

from quarterdeck.errors import JournalError
from quarterdeck.journal.database import default_url
from quarterdeck.journal.events import Decision
from quarterdeck.journal.run import RunJournal
from quarterdeck.journal.store import Store

AS_NOBODY = """
import asyncio, os, sys
import quarterdeck.journal.run as run, sqlalchemy.dialects.sqlite
from quarterdeck.errors import JournalError
from quarterdeck.journal.store import Store
if os.getuid() == 0:
    os.setgroups([]); os.setgid(65534); os.setuid(65534)

async def main():
    try:
        with Store.open(sys.argv[1]) as store:
            await run.RunJournal.start(store, crew="c", spec={}, inputs={}, spec_hash="", version="1")
    except JournalError as error:
        print(error.code, error)

asyncio.run(main())
"""


def started(store: Store) -> Any:
    return RunJournal.start(store, crew="c", spec={}, inputs={}, spec_hash="", version="1")


def as_nobody(path: Path) -> str:
    command = [sys.executable, "-c", AS_NOBODY, f"sqlite:///{path}"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd="/")
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.fixture
def open_to_others(tmp_path: Path) -> Path:
    folder = tmp_path
    while folder.name.startswith(("pytest", "test")) and os.stat(folder).st_uid == os.getuid():
        folder.chmod(0o755)
        folder = folder.parent
    return tmp_path


def test_the_default_is_a_file_of_the_workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("QUARTERDECK_DATABASE_URL", raising=False)
    assert default_url(tmp_path) == f"sqlite:///{tmp_path}/runs/journal.db"
    monkeypatch.setenv("QUARTERDECK_DATABASE_URL", "postgresql://me@there/db")
    assert default_url(tmp_path) == "postgresql://me@there/db"


def test_events_survive_a_power_cut(sqlite_url: str) -> None:
    with Store.open(sqlite_url) as store, store._engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar_one() == "wal"
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar_one() == 2, "FULL"


async def test_a_locked_database(sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("quarterdeck.journal.database.BUSY_SECONDS", 0.1)
    with Store.open(sqlite_url) as store:
        async with await started(store) as journal:
            other = sqlite3.connect(sqlite_url.removeprefix("sqlite:///"), isolation_level=None)
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(JournalError, match="locked by another program") as caught:
                await journal.append(Decision(path="a", what="x", why="y"))
            assert caught.value.code == "locked"
            other.close()
            with pytest.raises(JournalError):
                await journal.append(Decision(path="a", what="x", why="y"))
        async with await RunJournal.resume(store, journal.id) as again:
            await again.append(Decision(path="a", what="x", why="y"))
        assert [row.kind for row in store.events(journal.id)] == ["run.started", "run.resumed", "decision"]


@pytest.fixture
def small_disk() -> Iterator[Callable[[int], None]]:
    pages = [1_000_000]

    def limit(connection: Any, *_: object) -> None:
        connection.execute(f"PRAGMA max_page_count = {pages[0]}")

    event.listen(Pool, "checkout", limit)
    yield lambda limit: pages.__setitem__(0, limit)
    event.remove(Pool, "checkout", limit)


async def test_a_full_disk(sqlite_url: str, small_disk: Callable[[int], None]) -> None:
    small_disk(40)
    with Store.open(sqlite_url) as store:
        big, small = await started(store), await started(store)
        results = await asyncio.gather(
            big.append(Decision(path="a", what="x" * 400_000, why="")),
            small.append(Decision(path="a", what="x", why="")),
            return_exceptions=True,
        )
        assert isinstance(results[0], JournalError) and results[0].code == "full"
        assert "disk is full" in str(results[0])
        assert results[1] is None, "what still fits is kept"
        await big.close()
        await small.close()
        assert store.verify(big.id) is None
        assert store.verify(small.id) is None


def test_a_file_that_cannot_be_written(open_to_others: Path) -> None:
    path = open_to_others / "journal.db"
    Store.open(f"sqlite:///{path}").close()
    path.chmod(0o444)
    open_to_others.chmod(0o555)
    told = as_nobody(path)
    open_to_others.chmod(0o755)
    assert told.startswith("read_only"), told
    assert "writable" in told


def test_a_folder_that_cannot_be_written(open_to_others: Path) -> None:
    open_to_others.chmod(0o555)
    told = as_nobody(open_to_others / "runs" / "journal.db")
    open_to_others.chmod(0o755)
    assert told.startswith("read_only The journal"), told


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    path.write_bytes(b"not a database " * 1000)
    for read_only in (True, False):
        with pytest.raises(JournalError, match="damaged or no database") as caught:
            Store.open(f"sqlite:///{path}", read_only=read_only)
        assert caught.value.code == "corrupt"
    assert path.read_bytes() == b"not a database " * 1000


async def test_a_file_with_damaged_pages(sqlite_url: str, tmp_path: Path) -> None:
    with Store.open(sqlite_url) as store:
        async with await started(store) as journal:
            for number in range(50):
                await journal.append(Decision(path=f"a/{number}", what="x" * 2000, why=""))
    path = tmp_path / "runs" / "journal.db"
    content = bytearray(path.read_bytes())
    content[8192:] = b"\xff" * (len(content) - 8192)
    path.write_bytes(content)
    with pytest.raises(JournalError) as caught, Store.open(sqlite_url) as store:
        store.runs()
        store.events(journal.id)
    assert caught.value.code == "corrupt"


@pytest.mark.parametrize("url", ["nonsense", "mysql://me@there/db", "sqlite://", "sqlite:///:memory:"])
def test_a_url_that_is_no_journal(url: str) -> None:
    with pytest.raises(JournalError, match="QUARTERDECK_DATABASE_URL"):
        Store.open(url)


async def test_nothing_is_left_beside_the_database(sqlite_url: str, tmp_path: Path) -> None:
    with Store.open(sqlite_url) as store:
        async with await started(store):
            assert len(list((tmp_path / "runs" / "journal.db-holds").iterdir())) == 1
        assert list((tmp_path / "runs" / "journal.db-holds").iterdir()) == []
    assert {path.name for path in (tmp_path / "runs").iterdir()} == {"journal.db", "journal.db-holds"}


def test_a_process_that_never_closes_its_store_ends(sqlite_url: str) -> None:
    code = (
        "import asyncio, sys\n"
        "from quarterdeck.journal.run import RunJournal\n"
        "from quarterdeck.journal.store import Store\n"
        "store = Store.open(sys.argv[1])\n"
        "asyncio.run(RunJournal.start(store, crew='c', spec={}, inputs={}, spec_hash='', version='1', run_id='left'))\n"
    )
    result = subprocess.run([sys.executable, "-c", code, sqlite_url], capture_output=True, text=True, timeout=20)
    assert (result.returncode, result.stderr) == (0, "")
    with Store.open(sqlite_url) as store:
        assert store.run("left").interrupted


def test_reading_runs_imports_no_migrations(sqlite_url: str) -> None:
    code = (
        "import sys\n"
        "from quarterdeck.journal.store import Store\n"
        "store = Store.open(sys.argv[1]); store.runs(); store.close()\n"
        "print(sorted({'alembic', 'psycopg', 'crewai', 'litellm'} & set(sys.modules)))\n"
    )
    result = subprocess.run([sys.executable, "-c", code, sqlite_url], capture_output=True, text=True, timeout=20)
    assert (result.stdout, result.stderr) == ("[]\n", "")
