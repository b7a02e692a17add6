"""`quarterdeck runs drift`: two sides of a crew's runs, as the journal has them."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from quarterdeck.journal.events import Event, ModelCalled, RunEnded, RunForked, TaskEnded, ToolCalled
from quarterdeck.journal.run import RunJournal
from quarterdeck.journal.store import Store
from quarterdeck.journal.tables import events, runs

DAY = 86_400.0
BEGAN = 1_700_000_000.0


def store_of(folder: Path) -> Store:
    return Store.open(f"sqlite:///{folder}/runs/journal.db")


def happened(tool: str, turns: int, status: Any, usd: str | None) -> list[Event]:
    rest: dict[str, Any] = {"request_hash": "", "request": {}, "reply": {}, "cost_usd": usd, "seconds": 1.0}
    asked = [
        ModelCalled(
            path=f"gather/turn-{n}", task="gather", model="small", prompt_tokens=90, completion_tokens=10, **rest
        )
        for n in range(1, turns + 1)
    ]
    called = ToolCalled(
        path="gather/turn-1/tool-1", task="gather", tool=tool, arguments={}, request_hash="", status="ok", result=1,
        seconds=0.1,
    )  # fmt: skip
    ended = TaskEnded(path="gather", task="gather", status=status, code="goal_met", output="")
    return [*asked, called, ended]


def a_run(
    folder: Path, run_id: str, day: int, tool: str = "files.read", *, turns: int = 2, status: Any = "succeeded",
    usd: str | None = "0.001", crew: str = "research", spec: Any = None, end: bool = True, first: Event | None = None,
) -> None:  # fmt: skip
    async def write(store: Store) -> None:
        journal = await RunJournal.start(
            store, crew=crew, spec=spec or {"crew": {}}, inputs={}, spec_hash="s", version="0", run_id=run_id
        )
        async with journal:
            for event in [*([first] if first else []), *happened(tool, turns, status, usd)]:
                await journal.append(event)
            if end:
                await journal.end(RunEnded(status=status, code="goal_met"))

    def date(connection: Any) -> None:
        values = {"created_at": BEGAN + day * DAY, "parent": "one" if first else ""}
        connection.execute(update(runs).where(runs.c.id == run_id).values(values))

    with store_of(folder) as store:
        asyncio.run(write(store))
        asyncio.run(store.writer.ask(date))


@pytest.fixture
def changed(workspace: Path) -> Path:
    """Five runs that read, then five that search, take twice the turns, and fail; and what must not count."""
    for n in range(5):
        a_run(workspace, f"old{n}", n)
        a_run(workspace, f"new{n}", 10 + n, "web.search", turns=4, status="failed")
    a_run(workspace, "other0", 20, "else", crew="other")
    a_run(workspace, "open0", 21, "open", end=False)
    a_run(workspace, "fork0", 22, "fork", first=RunForked(parent="old0", fork_at="gather", changed={}, copied=0))
    a_run(workspace, "prop0", 23, "proposal", spec={"proposal": {"run": "old0"}})
    return workspace


def drifted(cli: Any, *options: str) -> Any:
    done = cli("runs", "drift", "research", *options, "--json")
    assert done.code == 0, done.err
    return json.loads(done.out)


def test_both_sides_of_every_part(cli: Any, changed: Path) -> None:
    found = drifted(cli, "--runs", "5")
    assert (found["crew"], found["drift"], found["runs"]) == ("research", 1, {"before": 5, "now": 5})
    parts = {part["name"]: part for part in found["parts"]}
    assert parts["tools"] == {"name": "tools", "score": 1, "before": {"files.read": 1}, "now": {"web.search": 1}}
    assert parts["models"]["score"] == 0
    assert (parts["run ends"]["before"], parts["run ends"]["now"]) == (
        {"succeeded goal_met": 1},
        {"failed goal_met": 1},
    )
    assert parts["task ends"]["score"] == 1
    assert [parts["turns a task"][side] for side in ("score", "before", "now")] == [0.5, 2, 4]
    assert [parts["tokens a run"][side] for side in ("score", "before", "now")] == [0.5, 200, 400]
    assert [parts["USD a run"][side] for side in ("before", "now")] == pytest.approx([0.002, 0.004])


def test_as_a_person_sees_it(cli: Any, changed: Path) -> None:
    done = cli("runs", "drift", "research", "--runs", "5")
    lines = [line.split() for line in done.out.splitlines()]
    assert lines[0] == "research drift 1.00 5 runs now, 5 before".split()
    assert lines[1] == "tools 1.00 before files.read 100 %".split() and lines[2] == "now web.search 100 %".split()
    assert "tokens a run 0.50 before 200".split() in lines and "now $0.004".split() in lines
    assert max(map(len, done.out.splitlines())) <= 80


def test_since_and_a_named_baseline(cli: Any, changed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.time", lambda: BEGAN + 15 * DAY)
    assert drifted(cli, "--since", "6d")["drift"] == 1
    few = cli("runs", "drift", "research", "--since", "3d")
    assert few.code == 0 and "too few runs" in few.out and "3 now and 7 before" in few.out
    alike = [option for n in range(5) for option in ("--baseline", f"new{n}")]
    found = drifted(cli, *alike)
    assert found["runs"] == {"before": 5, "now": 5} and found["drift"] == 1, "a baseline is not compared with itself"
    assert drifted(cli, *alike, "--baseline", "new0", "--baseline", "old0")["runs"] == {"before": 6, "now": 4}


def test_the_limit_is_for_cron(cli: Any, changed: Path) -> None:
    assert cli("runs", "drift", "research", "--runs", "5", "--limit", "0.3").code == 1
    assert cli("runs", "drift", "research", "--runs", "5", "--limit", "1").code == 0
    assert cli("runs", "drift", "research", "--runs", "5").code == 0
    assert cli("runs", "drift", "research", "--limit", "0").code == 0, "too few runs are no drift"
    assert cli("runs", "drift", "research", "--limit", "1.5").code == 2


def test_too_few_runs_or_none(cli: Any, changed: Path) -> None:
    said = cli("runs", "drift", "research")
    assert said.code == 0 and "too few runs" in said.out and "10 now and 0 before" in said.out and "--runs" in said.out
    assert drifted(cli) | {"parts": 0} == {
        "crew": "research", "drift": None, "runs": {"before": 0, "now": 10}, "redeclared": False, "parts": 0,
    }  # fmt: skip
    assert "0 now and 0 before" in cli("runs", "drift", "nobody").out


@pytest.mark.parametrize(
    ("run_id", "why"), [("other0", "a run of other"), ("open0", "has not ended"), ("fork0", "a fork"), ("zz", "zz")]
)
def test_a_baseline_that_is_none(cli: Any, changed: Path, run_id: str, why: str) -> None:
    done = cli("runs", "drift", "research", "--baseline", run_id)
    assert done.code == 2 and why in done.err


def test_an_event_that_was_spoiled_is_named(cli: Any, changed: Path) -> None:
    def spoil(connection: Any) -> None:
        wanted = (events.c.run_id == "new1") & (events.c.kind == "tool.called")
        connection.execute(update(events).where(wanted).values(body="{}"))

    with store_of(changed) as store:
        asyncio.run(store.writer.ask(spoil))
    done = cli("runs", "drift", "research", "--runs", "5")
    assert done.code == 4 and "audit verify new1" in done.err
