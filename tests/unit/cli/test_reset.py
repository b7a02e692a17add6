"""`quarterdeck memory reset`: what a crew has learned besides memories goes too; the journal stays."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, insert, select, update

from quarterdeck.journal.events import RunEnded, ToolCalled
from quarterdeck.journal.run import RunJournal
from quarterdeck.journal.store import Store
from quarterdeck.journal.tables import events, replies, trials
from quarterdeck.spec.models import CacheSpec
from quarterdeck.testing import HashEmbedder, answer, text
from quarterdeck.testing.catalog import ScriptedCatalog

STEPS = [answer({"facts": ["opens at eight"]}), text("Welcome. It opens at eight.")]

CALLS = [
    ("one", "hello", "bell.ring", "1"),
    ("two", "hello", "bell.ring", "2"),
    ("three", "other", "horn.blow", "1"),
]


def store_of(folder: Path) -> Store:
    return Store.open(f"sqlite:///{folder}/runs/journal.db")


def counted(folder: Path, table: Any) -> int:
    with store_of(folder) as store:
        return int(next(iter(store.read(select(func.count()).select_from(table))[0])))


def removed(done: Any) -> Any:
    assert done.code == 0, done.err
    return json.loads(done.out)["removed"]


@pytest.fixture
def keeping(cli: Any, workspace: Path, script: Any, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A workspace in which the answers of one crew are kept, for nobody and for a tenant."""
    monkeypatch.setattr("quarterdeck.memory.embedder.EmbeddedEmbedder", HashEmbedder)
    monkeypatch.setattr(ScriptedCatalog, "cache_of", lambda self, group: CacheSpec(seconds=3600, sampled=True))
    for options in ((), ("--tenant", "acme")):
        script(STEPS)
        assert cli("run", "hello", *options).code == 0
    assert counted(workspace, replies) == 4
    return workspace


def test_the_kept_answers_of_a_crew_go_and_no_others(cli: Any, keeping: Path, script: Any) -> None:
    recorded = counted(keeping, events)
    for scope in (("--crew", "hello", "--user", "anna"), ("--crew", "hello", "--agent", "guide"), ()):
        assert "replies" not in removed(cli("memory", "reset", *scope, "--yes", "--json"))
    assert removed(cli("memory", "reset", "--crew", "other", "--yes", "--json"))["replies"] == 0
    assert counted(keeping, replies) == 4
    assert removed(cli("memory", "reset", "--crew", "hello", "--yes", "--json"))["replies"] == 2
    assert counted(keeping, replies) == 2 and counted(keeping, events) == recorded
    assert cli("audit", "verify", "LAST").code == 0
    script([])
    assert cli("run", "hello", "--tenant", "acme").code == 0, "the tenant's own are still given again"
    script(STEPS)
    assert cli("run", "hello").code == 0, "asked anew"
    assert "2 replies" in cli("memory", "reset", "--crew", "hello", "--tenant", "acme", "--yes").out


def test_a_spoiled_call_is_named_and_keeps_the_answers(cli: Any, keeping: Path) -> None:
    with store_of(keeping) as store:
        (run_id,) = store.read(select(events.c.run_id).where(events.c.kind == "model.called").limit(1))[0]
        spoil = update(events).where(events.c.run_id == run_id, events.c.kind == "model.called").values(body="{}")
        asyncio.run(store.writer.ask(lambda connection: connection.execute(spoil)))
    done = [cli("memory", "reset", "--crew", "hello", "--tenant", one, "--yes") for one in ("", "acme")]
    assert sorted(one.code for one in done) == [0, 4] and counted(keeping, replies) == 2
    assert f"audit verify {run_id}" in "".join(one.err for one in done)


@pytest.fixture
def tried(workspace: Path) -> Path:
    """Three tools on trial: one that the crew has called in two versions, one of another crew."""

    async def write(store: Store) -> None:
        for run_id, crew, tool, version in CALLS:
            journal = await RunJournal.start(
                store, crew=crew, spec={}, inputs={}, spec_hash="s", version="0", run_id=run_id
            )
            async with journal:
                rest: Any = {"arguments": {}, "request_hash": "", "result": None, "seconds": 0.0, "status": "shadowed"}
                await journal.append(ToolCalled(path="t/turn-1/tool-1", tool=tool, version=version, **rest))
                await journal.end(RunEnded(status="succeeded", code="goal_met"))
        rows = [
            {"tool": tool, "agreed": 3, "updated_at": 0.0} for tool in ("bell.ring@1", "bell.ring@2", "horn.blow@1")
        ]
        await store.writer.ask(lambda connection: connection.execute(insert(trials), rows))

    with store_of(workspace) as store:
        asyncio.run(write(store))
    return workspace


def test_trials_begin_anew_only_where_that_is_said(cli: Any, tried: Path) -> None:
    assert "trials" not in removed(cli("memory", "reset", "--crew", "hello", "--yes", "--json"))
    assert counted(tried, trials) == 3
    assert "2 trials" in cli("memory", "reset", "--crew", "hello", "--trials", "--yes").out
    with store_of(tried) as store:
        assert [row.tool for row in store.read(select(trials.c.tool))] == ["horn.blow@1"]
    assert "1 trial." in cli("memory", "reset", "--crew", "other", "--trials", "--yes").out


@pytest.mark.parametrize("scope", [(), ("--crew", "hello", "--user", "anna"), ("--crew", "hello", "--agent", "guide")])
def test_trials_are_for_a_whole_crew(cli: Any, tried: Path, scope: tuple[str, ...]) -> None:
    refused = cli("memory", "reset", *scope, "--trials", "--yes")
    assert refused.code == 2 and "--crew" in refused.err and "Nothing was deleted" in refused.err
    assert counted(tried, trials) == 3


def test_it_asks_about_all_that_goes(cli: Any, tried: Path) -> None:
    asked = cli("memory", "reset", "--crew", "hello", "--trials")
    assert asked.code == 2 and "all that was learned of crew hello" in asked.err and counted(tried, trials) == 3
