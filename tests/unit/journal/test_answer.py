"""A run that waits, the answer that it gets, and what travels in the commit of an event."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import text

from quarterdeck.errors import JournalError
from quarterdeck.journal.answer import answer
from quarterdeck.journal.events import Decision, LimitsRaised, RunWaiting
from quarterdeck.journal.run import RunJournal
from quarterdeck.journal.store import Store

DROPPED = "INSERT INTO rates (model, next_request_at, tokens) VALUES ('m', 1, '{}')"


async def start(store: Store) -> RunJournal:
    return await RunJournal.start(store, crew="trial", spec={}, inputs={}, spec_hash="", version="0", tenant="acme")


async def test_a_waiting_run_is_answered_and_goes_on(tmp_path: Path) -> None:
    with Store.open(f"sqlite:///{tmp_path}/journal.db") as store:
        async with await start(store) as journal:
            await journal.wait(RunWaiting(code="limit_usd", evidence="all spent"))
        record = store.run(journal.id)
        assert (record.status, record.code, record.tenant) == ("waiting", "limit_usd", "acme")
        assert not record.interrupted and record.summary["evidence"] == "all spent"
        assert await answer(store, journal.id[:6], LimitsRaised(usd=2.0, by="ann")) == journal.id
        assert store.run(journal.id).status == "waiting"
        async with await RunJournal.resume(store, journal.id) as again:
            assert again.status == "running" and again.tenant == "acme"
        kinds = [row.kind for row in store.events(journal.id)]
        assert kinds == ["run.started", "run.waiting", "limits.raised", "run.resumed"]
        assert store.verify(journal.id) is None


async def test_a_run_that_waits_for_nobody_takes_no_answer(tmp_path: Path) -> None:
    with Store.open(f"sqlite:///{tmp_path}/journal.db") as store:
        async with await start(store) as journal:
            pass
        with pytest.raises(JournalError, match="waits for nobody") as refused:
            await answer(store, journal.id, LimitsRaised(usd=2.0))
        assert refused.value.code == "not_waiting"
        assert [row.kind for row in store.events(journal.id)] == ["run.started"]


async def test_a_decision_is_recorded_once_a_path(tmp_path: Path) -> None:
    with Store.open(f"sqlite:///{tmp_path}/journal.db") as store:
        async with await start(store) as journal:
            await journal.decide(Decision(path="ask/route", what="route", why="first rung", chosen="cheap"))
        async with await RunJournal.resume(store, journal.id) as again:
            await again.decide(Decision(path="ask/route", what="route", why="first rung", chosen="cheap"))
            recorded = again.recorded_decision("ask/route")
        assert recorded is not None and recorded.chosen == "cheap"
        assert [row.kind for row in store.events(journal.id)].count("decision") == 1


async def test_what_goes_along_is_committed_with_the_next_event_or_not_at_all(tmp_path: Path) -> None:
    with Store.open(f"sqlite:///{tmp_path}/journal.db") as store:
        async with await start(store) as journal:
            journal.along(lambda connection: connection.execute(text(DROPPED)))
            await journal.append(Decision(path="a", what="x", why="y"))
            count = await store.writer.ask(
                lambda connection: connection.execute(text("SELECT count(*) FROM rates")).scalar_one()
            )
            assert count == 1
            journal.along(lambda connection: connection.execute(text(DROPPED)))  # the same key: refused
            with pytest.raises(JournalError):
                await journal.append(Decision(path="b", what="x", why="y"))
        assert [row.path for row in store.events(journal.id)] == ["", "a"]


async def test_what_goes_along_alone_is_committed_when_the_run_is_let_go(tmp_path: Path) -> None:
    with Store.open(f"sqlite:///{tmp_path}/journal.db") as store:
        async with await start(store) as journal:
            journal.along(lambda connection: connection.execute(text(DROPPED)))
        count = await store.writer.ask(
            lambda connection: connection.execute(text("SELECT count(*) FROM rates")).scalar_one()
        )
        assert count == 1
        assert store.verify(journal.id) is None


async def test_a_fork_does_not_take_over_that_its_parent_waited(tmp_path: Path) -> None:
    with Store.open(f"sqlite:///{tmp_path}/journal.db") as store:
        async with await start(store) as journal:
            await journal.append(Decision(path="a", what="x", why="y"))
            await journal.wait(RunWaiting(code="limit_usd", evidence="all spent"))
        async with await RunJournal.resume(store, journal.id) as again:
            await again.append(Decision(path="b", what="x", why="y"))
        async with await RunJournal.fork(store, journal.id, "b", {}) as fork:
            pass
        assert [row.kind for row in store.events(fork.id)] == ["run.started", "run.forked", "decision"]
