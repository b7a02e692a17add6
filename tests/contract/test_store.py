"""What every database must do for the journal."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.engine import make_url

from quarterdeck.errors import Diverged, JournalError, RunBusy, RunNotFound
from quarterdeck.journal.database import connect
from quarterdeck.journal.events import Event, ModelCalled, RunEnded, TaskEnded, TextArrived, ToolCalled
from quarterdeck.journal.run import RunJournal
from quarterdeck.journal.store import Store
from quarterdeck.journal.totals import Totals

Begin = Callable[..., Any]
Call = Callable[..., ModelCalled]

HOLD = """
import asyncio, sys
from quarterdeck.journal.run import RunJournal
from quarterdeck.journal.store import Store

async def main():
    store = Store.open(sys.argv[1])
    journal = await RunJournal.start(
        store, crew="research", spec={}, inputs={}, spec_hash="s", version="1", run_id="other"
    )
    cancelled = asyncio.Event()
    journal.on_cancel(cancelled.set)
    print("holding", flush=True)
    await cancelled.wait()
    print("cancelled", flush=True)
    await journal.close()
    store.close()

asyncio.run(main())
"""
OPEN = "import sys; from quarterdeck.journal.store import Store; Store.open(sys.argv[1]).close()"


def execute(url: str, statement: str, **values: Any) -> None:
    """Change the database behind the journal's back."""
    engine = connect(url)
    with engine.begin() as connection:
        connection.execute(text(statement), values)
    engine.dispose()


def spawn(code: str, url: str) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", code, url], stdout=subprocess.PIPE, text=True)


def first_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def kill(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.communicate(timeout=30)


async def test_what_is_appended_can_be_read_back(store: Store, begin: Begin, call: Call) -> None:
    async with await begin(topic="ports") as journal:
        await journal.append(call())
        await journal.end(RunEnded(status="succeeded", code="done", output="x"), {"files": ["report.md"]})
    stored = store.events(journal.id)
    assert [row.seq for row in stored] == [1, 2, 3]
    assert [row.kind for row in stored] == ["run.started", "model.called", "run.ended"]
    asked = stored[1].event
    assert isinstance(asked, ModelCalled)
    assert asked.request == call().request
    assert abs(asked.at - time.time()) < 60
    assert [row.seq for row in store.events(journal.id, after=2)] == [3]
    record = store.run(journal.id)
    assert (record.crew, record.status, record.code) == ("research", "succeeded", "done")
    assert (record.inputs, record.spec) == ({"topic": "ports"}, {"crew": "research"})
    assert record.summary == {"files": ["report.md"]}
    assert (record.last_seq, record.head) == (3, stored[2].hash)
    assert (record.totals.model_calls, record.totals.tokens, record.totals.cost_usd) == (1, 15, Decimal("0.001"))
    assert not record.interrupted
    assert store.verify(journal.id) is None


async def test_an_append_is_committed_when_it_returns(url: str, begin: Begin, call: Call) -> None:
    async with await begin() as journal:
        await journal.append(call())
        with Store.open(url, read_only=True) as reader:
            assert reader.run(journal.id).last_path == "gather/turn-1"
            assert reader.run(journal.id).status == "running"


async def test_runs_are_found_by_a_unique_beginning_and_missed_with_advice(store: Store, begin: Begin) -> None:
    for name in ("abc1", "abc2", "xyz"):
        await (await begin(name)).close()
    assert store.run("x").id == "xyz"
    assert store.run("abc1").id == "abc1"
    with pytest.raises(RunNotFound, match="abc1, abc2"):
        store.run("abc")
    with pytest.raises(RunNotFound, match=r"Near: xyz \(research, running\)"):
        store.run("xyy")
    with pytest.raises(RunNotFound, match="no run '%'"):
        store.run("%")
    assert [run.id for run in store.runs()] == ["xyz", "abc2", "abc1"]
    assert [run.id for run in store.runs(limit=1)] == ["xyz"]
    assert store.runs(status="failed") == []


async def test_many_runs_share_commits(store: Store, begin: Begin, call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    journals = await asyncio.gather(*(begin() for _ in range(50)))
    assert len({journal.id for journal in journals}) == 50
    commits = 0
    transaction = store.writer._transaction

    def counted(work: Any) -> Any:
        nonlocal commits
        commits += 1
        return transaction(work)

    monkeypatch.setattr(store.writer, "_transaction", counted)

    async def work(journal: RunJournal) -> None:
        for number in range(6):
            await asyncio.gather(journal.append(call(f"a/{number}")), journal.append(call(f"b/{number}")))

    await asyncio.gather(*map(work, journals))
    assert commits < 300, "600 appends need far fewer commits"
    for journal in journals:
        assert store.run(journal.id).last_seq == 13
        assert store.verify(journal.id) is None
        await journal.close()


async def test_callers_on_other_threads_and_loops_are_served(store: Store, call: Call) -> None:
    ids: list[str] = []

    async def work() -> None:
        journal = await RunJournal.start(store, crew="c", spec={}, inputs={}, spec_hash="", version="1")
        async with journal:
            for number in range(5):
                await journal.append(call(f"a/{number}"))
        ids.append(journal.id)

    threads = [threading.Thread(target=asyncio.run, args=(work(),)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        await asyncio.to_thread(thread.join, 30)
    assert [store.run(run_id).last_seq for run_id in ids] == [6] * 4


async def test_a_resumed_run_knows_its_calls_and_totals(store: Store, begin: Begin, call: Call) -> None:
    tool = ToolCalled(
        path="gather/turn-1/tool-1",
        request_hash="t1",
        tool="read",
        arguments={"n": 1},
        status="ok",
        result=[1],
        seconds=0,
    )
    async with await begin() as first:
        await first.append(call())
        await first.append(tool)
        await first.append(call("gather/turn-2", cost_usd=None))
        await first.append(TaskEnded(path="gather", task="gather", status="succeeded", code="done", output={"a": 1}))
    assert store.run(first.id).interrupted
    async with await RunJournal.resume(store, first.id[:6]) as again:
        assert again.recorded_calls == 3
        found = again.recorded_model("gather/turn-1", "h1")
        assert found is not None and found.reply == {"text": "That."}
        answered = again.recorded_tool("gather/turn-1/tool-1", "t1")
        assert answered is not None and answered.result == [1]
        ended = again.ended_task("gather")
        assert ended is not None and ended.output == {"a": 1}
        assert again.recorded_model("gather/turn-3", "h1") is None
        assert again.recorded_tool("gather/turn-1", "h1") is None
        assert (again.totals.model_calls, again.totals.tool_calls, again.totals.tokens) == (2, 1, 30)
        assert again.totals.cost_usd is None and again.totals.known_usd == Decimal("0.001")
        assert not store.run(first.id).interrupted
        with pytest.raises(Diverged) as caught:
            again.recorded_model("gather/turn-1", "other", {"messages": ["changed"]})
        assert "gather/turn-1" in str(caught.value)
        assert json.loads(caught.value.requested) == {"messages": ["changed"]}
        assert json.loads(caught.value.recorded) == call().request
        with pytest.raises(Diverged, match="read"):
            again.recorded_tool("gather/turn-1/tool-1", "other")
    assert store.events(first.id)[-1].kind == "run.resumed"
    assert store.verify(first.id) is None


async def test_seconds_are_those_in_which_a_process_worked(store: Store, begin: Begin, call: Call) -> None:
    async with await begin() as first:
        await first.append(call())
    await asyncio.sleep(0.3)
    async with await RunJournal.resume(store, first.id) as again:
        assert again.seconds < 0.25


async def test_a_fork_takes_over_what_came_before_and_pins_it(store: Store, begin: Begin, call: Call) -> None:
    async with await begin(topic="all", depth=1) as parent:
        await parent.append(call("gather/turn-1"))
        await parent.append(TaskEnded(path="gather", task="gather", status="succeeded", code="ok", output={"facts": 3}))
        await parent.append(call("review/turn-1"))
        await parent.append(call("report/turn-1"))
    changed = {"topic": "wind", "gather.facts": 4}
    async with await RunJournal.fork(store, parent.id, "review", changed) as fork:
        assert fork.id != parent.id and fork.parent == parent.id
        assert fork.inputs == {"topic": "wind", "depth": 1}
        assert fork.recorded_model("gather/turn-1", "not the recorded hash") is not None
        assert fork.recorded_model("review/turn-1", "h1") is None
        ended = fork.ended_task("gather")
        assert ended is not None and ended.output == {"facts": 4} and "4" in ended.text
        assert fork.totals.model_calls == 0, "the parent paid for what was taken over"
        await fork.append(call("review/turn-1", "h2"))
    assert [row.kind for row in store.events(fork.id)] == [
        "run.started", "run.forked", "model.called", "task.ended", "model.called",
    ]  # fmt: skip
    record = store.run(fork.id)
    assert (record.parent, record.fork_at, record.inputs["topic"]) == (parent.id, "review", "wind")
    assert store.verify(fork.id) is None
    async with await RunJournal.resume(store, fork.id) as again:
        assert again.recorded_model("gather/turn-1", "not the recorded hash") is not None
        assert again.totals.model_calls == 1
        with pytest.raises(Diverged):
            again.recorded_model("review/turn-1", "h1")
    async with await RunJournal.fork(store, fork.id, "review", {}) as third:
        assert third.recorded_model("gather/turn-1", "any") is not None
        assert [row.kind for row in store.events(third.id)][:3] == ["run.started", "run.forked", "model.called"]


@pytest.mark.parametrize(
    ("at", "changed", "message"),
    [
        ("reviw", {}, "can be forked at: gather, review"),
        ("gather/turn", {}, "can be forked at"),
        ("", {}, "can be forked at"),
        ("review", {"report.text": 1}, "no task 'report' ended before 'review'"),
        ("review", {"gather.a.b": 1}, "no field 'a.b'"),
    ],
)
async def test_a_fork_that_cannot_be_is_explained(
    store: Store, begin: Begin, call: Call, at: str, changed: dict[str, Any], message: str
) -> None:
    async with await begin() as parent:
        await parent.append(call("gather/turn-1"))
        await parent.append(TaskEnded(path="gather", task="gather", status="succeeded", code="done", output={"x": 1}))
        await parent.append(call("review/turn-1"))
    with pytest.raises(JournalError, match=message):
        await RunJournal.fork(store, parent.id, at, changed)
    assert len(store.runs()) == 1


async def test_one_process_works_on_a_run(store: Store, begin: Begin, url: str) -> None:
    async with await begin() as journal:
        with pytest.raises(RunBusy, match="this process"):
            await RunJournal.resume(store, journal.id)
        with Store.open(url) as other, pytest.raises(RunBusy, match=journal.id):
            await RunJournal.resume(other, journal.id)
        with pytest.raises(RunBusy):
            await begin(journal.id)
        await journal.append(RunEnded(status="failed", code="x"))  # the others did it no harm
    async with await RunJournal.resume(store, journal.id):
        pass
    with pytest.raises(RunBusy, match=f"There is a run {journal.id} already"):
        await begin(journal.id)


async def test_a_process_that_dies_lets_go_and_a_living_one_is_named(store: Store, url: str) -> None:
    process = spawn(HOLD, url)
    try:
        assert await asyncio.to_thread(first_line, process) == "holding"
        assert not store.run("other").interrupted
        with pytest.raises(RunBusy, match=rf"another process \(pid {process.pid}\)"):
            await RunJournal.resume(store, "other")
    finally:
        await asyncio.to_thread(kill, process)
    for _ in range(100):  # a server takes a moment to see that its client is gone
        if store.run("other").interrupted:
            break
        await asyncio.sleep(0.02)
    async with await RunJournal.resume(store, "other") as journal:
        assert journal.status == "running"


async def test_another_process_is_told_to_cancel(store: Store, url: str) -> None:
    process = spawn(HOLD, url)
    try:
        assert await asyncio.to_thread(first_line, process) == "holding"
        asked = time.monotonic()
        assert store.request_cancel("other").cancel_requested
        assert await asyncio.to_thread(first_line, process) == "cancelled"
        assert time.monotonic() - asked < 2.0
        assert await asyncio.to_thread(process.wait, 30) == 0
    finally:
        await asyncio.to_thread(kill, process)
    async with await RunJournal.resume(store, "other") as journal:
        told: list[bool] = []
        journal.on_cancel(lambda: told.append(True))
        await asyncio.sleep(0)
        assert journal.cancel_requested and told, "nobody had acted on it yet"
        await journal.end(RunEnded(status="cancelled", code="cancelled"))
    with pytest.raises(JournalError, match="ended already"):
        store.request_cancel("other")
    async with await RunJournal.resume(store, "other") as journal:
        assert not journal.cancel_requested, "resuming a cancelled run takes the request back"
        assert not store.run("other").cancel_requested


async def test_a_process_that_lost_its_run_is_fenced_and_stays_poisoned(
    store: Store, begin: Begin, call: Call, url: str
) -> None:
    zombie, other = await begin("zombie"), await begin("other")
    execute(
        url,
        "INSERT INTO events SELECT run_id, seq + 1, kind, path, at, request_hash, body, hash, hash FROM events "
        "WHERE run_id = 'zombie'",
    )
    results = await asyncio.gather(zombie.append(call()), other.append(call()), return_exceptions=True)
    assert isinstance(results[0], RunBusy), results
    assert results[1] is None, "the failure of one run does not hurt the other"
    with pytest.raises(RunBusy) as caught:
        await zombie.append(call("later"))
    assert caught.value is results[0]
    assert store.run("zombie").last_seq == 1
    assert store.run("other").last_seq == 2
    await zombie.close()
    await other.close()


async def test_an_append_whose_caller_is_cancelled_is_settled_before_the_run_is_let_go(
    store: Store, begin: Begin, call: Call
) -> None:
    journal = await begin()
    task = asyncio.create_task(journal.append(call()))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await journal.close()
    assert store.run(journal.id).last_seq == 2
    with pytest.raises(JournalError, match="no longer held"):
        await journal.append(call())


async def test_what_is_no_json_or_too_large_is_refused_and_does_no_harm(
    store: Store, begin: Begin, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with await begin() as journal:
        with pytest.raises(JournalError, match=r"gather/turn-1.*cannot be written"):
            await journal.append(call(reply={"text": "\ud800"}))
        monkeypatch.setattr("quarterdeck.journal.rows.EVENT_LIMIT", 1000)
        with pytest.raises(JournalError, match="at most 1,000"):
            await journal.append(call(reply={"text": "x" * 1000}))
        await journal.append(call())
    assert store.verify(journal.id) is None
    with pytest.raises(JournalError, match="JSON only"):
        await begin(topic=object())


async def test_listeners_hear_what_is_committed_and_what_streams_by(store: Store, begin: Begin, call: Call) -> None:
    async with await begin() as journal:
        heard: list[Event] = []
        assert not journal.streaming
        stop = journal.listen(heard.append)
        journal.listen(lambda event: 1 / 0)
        assert journal.streaming
        journal.publish(TextArrived(path="gather/turn-1", text="Th"))
        await journal.append(call())
        stop()
        await journal.append(call("later"))
    assert [getattr(event, "kind", "") for event in heard] == ["text", "model.called"]
    assert all(event.at > 0 for event in heard)
    assert not journal.streaming, "a listener that raises is not called again"


@pytest.mark.parametrize(
    ("statement", "seq", "how"),
    [
        ("UPDATE events SET body = replace(body, 'That', 'This') WHERE seq = 3", 3, "changed"),
        ("UPDATE events SET path = 'elsewhere' WHERE seq = 2", 2, "changed"),
        ("UPDATE events SET request_hash = 'x' WHERE seq = 4", 4, "changed"),
        ("DELETE FROM events WHERE seq = 2", 2, "dropped"),
        ("DELETE FROM events WHERE seq = 1", 1, "dropped"),
        ("DELETE FROM events WHERE seq = 5", 5, "dropped"),
        ("DELETE FROM events", 1, "dropped"),
        (
            "INSERT INTO events SELECT run_id, 6, kind, path, at, request_hash, body, hash, hash FROM events "
            "WHERE seq = 5",
            6,
            "inserted",
        ),
    ],
)
async def test_the_first_row_that_was_tampered_with_is_named(
    store: Store, begin: Begin, call: Call, url: str, statement: str, seq: int, how: str
) -> None:
    async with await begin() as journal:
        for number in range(4):
            await journal.append(call(f"gather/turn-{number}"))
    execute(url, statement)
    broken = store.verify(journal.id)
    assert broken is not None and (broken.seq, broken.how) == (seq, how)
    with pytest.raises(JournalError, match=f"event {seq} was {how}") as caught:
        await RunJournal.resume(store, journal.id)
    assert caught.value.code == "corrupt"
    with pytest.raises(JournalError, match="audit verify"):  # and the run was let go again
        await RunJournal.resume(store, journal.id)


def test_a_newer_schema_is_left_alone(url: str) -> None:
    Store.open(url).close()
    execute(url, "UPDATE alembic_version SET version_num = '9999'")
    for read_only in (True, False):
        with pytest.raises(JournalError, match="9999") as caught:
            Store.open(url, read_only=read_only)
        assert caught.value.code == "newer_schema"


def test_somebody_elses_tables_are_left_alone(url: str) -> None:
    execute(url, "CREATE TABLE runs (mine INTEGER)")
    with pytest.raises(JournalError, match="not Quarterdeck's"):
        Store.open(url)


def test_reading_does_not_create(url: str) -> None:
    with pytest.raises(JournalError) as caught:
        Store.open(url, read_only=True)
    assert caught.value.code == "no_journal"


async def test_a_reader_cannot_write(url: str) -> None:
    Store.open(url).close()
    with Store.open(url, read_only=True) as store, pytest.raises(JournalError) as caught:
        await RunJournal.start(store, crew="c", spec={}, inputs={}, spec_hash="", version="1")
    assert caught.value.code == "read_only"


def test_four_processes_create_the_same_database(url: str) -> None:
    processes = [spawn(OPEN, url) for _ in range(4)]
    assert [process.wait(60) for process in processes] == [0] * 4
    for process in processes:
        process.communicate()
    with Store.open(url) as store:
        assert store.runs() == []


def test_migrations_and_tables_agree(url: str) -> None:
    from alembic.autogenerate import compare_metadata
    from alembic.config import Config
    from alembic.migration import MigrationContext
    from alembic.script import ScriptDirectory

    from quarterdeck.journal import schema, tables

    config = Config()
    config.set_main_option("script_location", str(schema.migrations()))
    config.set_main_option("path_separator", "os")
    scripts = ScriptDirectory.from_config(config)
    assert scripts.get_heads() == [schema.HEAD]
    assert tuple(script.revision for script in scripts.walk_revisions())[::-1] == schema.REVISIONS

    engine = connect(url)
    with schema._alone(engine) as connection:
        schema._upgrade(connection, schema.migrations())
    with engine.connect() as connection:
        assert schema.current(connection) == schema.HEAD
        named = {"compare_type": True, "include_name": lambda name, kind, _: not str(name).startswith("memory_text")}
        context = MigrationContext.configure(connection, opts=named)
        assert compare_metadata(context, tables.metadata) == []
    engine.dispose()
    with Store.open(url) as store:
        assert store.runs() == []


async def test_closing_commits_what_is_queued_and_ends_the_thread(url: str, call: Call) -> None:
    store = Store.open(url)
    journal = await RunJournal.start(store, crew="c", spec={}, inputs={}, spec_hash="", version="1")
    task = asyncio.create_task(journal.append(call()))
    await asyncio.sleep(0)
    thread = store.writer._thread
    await asyncio.to_thread(store.close)
    await task
    assert thread is not None and not thread.is_alive()
    with pytest.raises(JournalError, match="closed"):
        await journal.append(call("later"))
    await journal.close()
    with Store.open(url) as reader:
        assert reader.run(journal.id).last_seq == 2


def test_totals_survive_json() -> None:
    totals = Totals(1, 2, 3, 4, Decimal("0.10"), 1, seconds=2.5)
    assert Totals.from_json(totals.to_json()) == totals


def test_a_password_is_never_shown(store: Store) -> None:
    from quarterdeck.journal.failures import shown

    assert "secret" not in shown(make_url("postgresql://me:secret@somewhere/db?password=secret"))
    assert "secret" not in store.url
