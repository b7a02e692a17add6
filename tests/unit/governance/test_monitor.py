"""Bursts of calls are noticed against what earlier runs of the crew did; once a tool, and never in a call's way."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.unit.governance.trial_gate import Trial, trial

from quarterdeck.governance.monitor import Monitor, alerts
from quarterdeck.governance.notify import Notifier
from quarterdeck.journal.store import Store
from quarterdeck.spec.governance import MonitorSpec, NotifySpec
from quarterdeck.tools.manifest import tool


@tool(effect="read", owner="tests", sinks={}, trusted=True)
def look(n: int) -> str:
    """Look.

    Args:
        n: Which.
    """
    return str(n)


class Watched:
    """A run whose gate has a monitor; `now` is its clock."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, run: Trial, spec: MonitorSpec) -> None:
        self.now = 0.0
        self.sent: list[dict[str, Any]] = []
        self.notifier = Notifier(NotifySpec(), run.journal)
        monkeypatch.setattr(self.notifier, "_send", lambda kind, text, **more: self.sent.append({"kind": kind, **more}))
        self.run = run
        run.gate._monitor = Monitor(spec, run.journal, self.notifier, clock=lambda: self.now)

    async def make(self, count: int) -> None:
        for number in range(count):
            assert (await self.run.call("look", n=number * 7 + int(self.now))).status == "ok"
        await self.notifier.settle()

    async def raised(self) -> list[Any]:
        self.run.journal.flush()
        await self.run.store.writer.ask(lambda _: None)  # what was noted is committed by then
        return [one for one in self.run.events("decision") if one.what == "burst of look"]


async def earlier(folder: Path, calls: int) -> None:
    async with trial(folder, {"look": look}) as run:
        for number in range(calls):
            await run.call("look", n=number)


async def test_a_burst_is_told_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    await earlier(tmp_path, 4)
    async with trial(tmp_path, {"look": look}) as run:
        one = Watched(monkeypatch, run, MonitorSpec(burst=2, least=3))
        await one.make(7)
        assert await one.raised() == [] and one.sent == []
        await one.make(1)
        [event] = await one.raised()
        assert (event.chosen, event.path) == ("alert", "monitor/look") and "8 calls in a minute" in event.why
        assert "earlier runs of c made 4" in event.why
        await one.make(5)
        assert len(await one.raised()) == 1 and one.sent == [{"kind": "alert", "tool": "look"}]
        [alert] = alerts(run.store, 0)
        assert (alert.run_id, alert.crew, alert.tool) == (run.journal.id, "c", "look")
        assert alerts(run.store, 4e9) == []
        run_id = run.journal.id
    async with trial(tmp_path, {"look": look}, resume=run_id) as run:
        run.turn = 100
        one = Watched(monkeypatch, run, MonitorSpec(burst=2, least=3))
        await one.make(12)
        assert len(await one.raised()) == 1 and one.sent == []


async def test_without_earlier_runs_there_is_an_absolute_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with trial(tmp_path, {"look": look}) as run:
        one = Watched(monkeypatch, run, MonitorSpec(burst=100, least=5))
        await one.make(5)
        assert await one.raised() == []
        await one.make(1)
        [event] = await one.raised()
        assert "there is no earlier run" in event.why


async def test_the_same_calls_over_a_longer_time_are_no_burst(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with trial(tmp_path, {"look": look}) as run:
        one = Watched(monkeypatch, run, MonitorSpec(burst=2, least=3))
        for _ in range(5):
            await one.make(2)
            one.now += 61
        assert await one.raised() == []
    async with trial(tmp_path, {"look": look}) as run:
        off = Watched(monkeypatch, run, MonitorSpec(burst=None, least=1))
        await off.make(9)
        assert await off.raised() == []


async def test_the_journal_is_asked_once_and_only_when_it_matters(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await earlier(tmp_path, 9)
    asked: list[str] = []
    read = Store.read

    def counted(store: Store, query: Any) -> Any:
        asked.append(str(query))
        return read(store, query)

    monkeypatch.setattr(Store, "read", counted)
    async with trial(tmp_path, {"look": look}) as run:
        one = Watched(monkeypatch, run, MonitorSpec(burst=5, least=6))
        await one.make(6)
        before = len(asked)
        await one.make(6)
        assert len([query for query in asked if "substr" in query]) == 1 and len(asked) == before + 1
        assert await one.raised() == []
