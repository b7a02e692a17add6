"""What can go wrong with a server."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from quarterdeck.errors import JournalError, RunBusy
from quarterdeck.journal.events import Decision
from quarterdeck.journal.run import RunJournal
from quarterdeck.journal.store import Store

pytestmark = pytest.mark.real


def started(store: Store) -> Any:
    return RunJournal.start(store, crew="c", spec={}, inputs={}, spec_hash="", version="1")


def cut_connections(server: str, database_url: str) -> None:
    import psycopg

    name = database_url.split("?")[0].rpartition("/")[2]
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (name,))


async def test_whoever_loses_the_connection_loses_the_run(server: str, postgresql_url: str) -> None:
    with Store.open(postgresql_url) as store:
        lost, idle = await started(store), await started(store)
        await asyncio.to_thread(cut_connections, server, postgresql_url)
        with pytest.raises(JournalError) as caught:
            await lost.append(Decision(path="a", what="x", why="y"))
        assert caught.value.code == "unreachable"
        with pytest.raises(JournalError, match=f"hold on run {idle.id}"):
            await idle.append(Decision(path="a", what="x", why="y"))
        async with await RunJournal.resume(store, idle.id) as again:  # the writer has a new connection
            await again.append(Decision(path="a", what="x", why="y"))
            with pytest.raises(JournalError):
                await idle.append(Decision(path="a", what="x", why="y"))
            await idle.close()
            with Store.open(postgresql_url) as other, pytest.raises(RunBusy):
                await RunJournal.resume(other, idle.id)
        await lost.close()
        assert store.verify(idle.id) is None


async def test_an_idle_run_notices_too(server: str, postgresql_url: str) -> None:
    with Store.open(postgresql_url) as store:
        journal = await started(store)
        await asyncio.to_thread(cut_connections, server, postgresql_url)
        for _ in range(100):
            if journal._lane.failure is not None:
                break
            await asyncio.sleep(0.02)
        assert journal._lane.failure is not None and journal._lane.failure.code == "unreachable"
        await journal.close()


async def test_a_locked_table(postgresql_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import psycopg

    monkeypatch.setattr("quarterdeck.journal.database.BUSY_SECONDS", 1.0)
    with Store.open(postgresql_url) as store:
        async with await started(store) as journal:
            with psycopg.connect(postgresql_url) as other:
                other.execute("LOCK TABLE events IN EXCLUSIVE MODE")
                with pytest.raises(JournalError) as caught:
                    await journal.append(Decision(path="a", what="x", why="y"))
                assert caught.value.code == "locked"
                other.rollback()


def test_a_server_that_is_not_there() -> None:
    with pytest.raises(JournalError, match="does not answer") as caught:
        Store.open("postgresql://me:secret@/db?host=/nonexistent")
    assert caught.value.code == "unreachable"
    assert "secret" not in str(caught.value)


def test_a_database_that_is_not_there(server: str) -> None:
    with pytest.raises(JournalError, match="nowhere") as caught:
        Store.open(server.replace("/postgres?", "/nowhere?"))
    assert caught.value.code == "unreachable"
