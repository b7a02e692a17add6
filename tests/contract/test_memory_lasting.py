"""What is deleted, replaced or has expired on every database: nothing of it stays behind, whoever else is writing."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select, text

from quarterdeck import Memory
from quarterdeck.errors import InputError, JournalError
from quarterdeck.journal.store import Store
from quarterdeck.journal.tables import episodes as episode_rows
from quarterdeck.journal.tables import memories
from quarterdeck.memory import episodes
from quarterdeck.memory.admission import Admission
from quarterdeck.memory.episodes import Episode
from quarterdeck.memory.item import Item, Recalled, Scope
from quarterdeck.memory.longterm import LongTerm
from quarterdeck.memory.owner import Owner
from quarterdeck.spec.memory import LongtermSpec
from quarterdeck.spec.workspace import Workspace
from quarterdeck.testing import HashEmbedder

CREW = Scope("acme", "research")
ROUNDS = 50
GATE = """
import asyncio, sys
from quarterdeck.journal.store import Store
from quarterdeck.memory.admission import Admission
from quarterdeck.memory.item import Item, Scope
from quarterdeck.memory.longterm import LongTerm
from quarterdeck.spec.memory import LongtermSpec

async def main(url, day, rounds):
    with Store.open(url) as store:
        gate = Admission(LongTerm(store, None), LongtermSpec())
        for number in range(rounds):
            print("ready", flush=True)
            sys.stdin.readline()
            scope = Scope("acme", f"crew {number}")
            said = [f"The deadline is {day}.", "The office of Zoe is at Delft."]
            await gate.admit([Item("", scope, one, source="a mail", origin="user") for one in said])

asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
"""


def memory_of(url: str, folder: Path, **scope: str) -> Memory:
    return Memory(workspace=Workspace(folder), database_url=url, embedder=HashEmbedder(16), **scope)


def test_two_processes_that_decide_at_once_leave_one_current(url: str) -> None:
    """In every other crew a deadline is known already, which both replace."""
    with Store.open(url) as store:
        crews = [Scope("acme", f"crew {n}") for n in range(0, ROUNDS, 2)]
        known = [Item("", crew, "The deadline is Friday.", origin="user") for crew in crews]
        asyncio.run(LongTerm(store, None).add(known))
    command = [sys.executable, "-c", GATE, url]
    gates = [
        subprocess.Popen([*command, day, str(ROUNDS)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for day in ("Monday", "Tuesday")
    ]
    for _ in range(ROUNDS):  # each round begins in both at the same moment
        assert [gate.stdout.readline() for gate in gates if gate.stdout] == ["ready\n"] * 2
        for gate in gates:
            assert gate.stdin is not None
            gate.stdin.write("go\n")
            gate.stdin.flush()
    assert [gate.wait(60) for gate in gates] == [0, 0]
    for gate in gates:
        gate.communicate()
    with Store.open(url) as store:
        for number in range(ROUNDS):
            here = select(memories).where(memories.c.crew == f"crew {number}")
            rows = store.read(here)
            current = sorted(row.text for row in rows if not row.superseded_by)
            assert len(current) == 2 and current[0] in ("The deadline is Monday.", "The deadline is Tuesday."), current
            assert [row.text for row in rows].count("The office of Zoe is at Delft.") == 1
            ids = {row.id for row in rows}
            assert all(row.superseded_by in ids for row in rows if row.superseded_by)


async def test_what_was_decided_on_old_news_yields_to_who_is_trusted_more(store: Store) -> None:
    """Between the reading of the gate and its write a person says otherwise, and another tool says the same."""
    longterm = LongTerm(store, None)

    class Slow(LongTerm):
        async def search(self, *_: Any, **__: Any) -> list[Recalled]:
            return []  # as it was a moment ago

    gate = Admission(Slow(store, None), LongtermSpec())
    page = "tool:web (not trusted)"
    (person,) = await longterm.add([Item("", CREW, "The deadline is Monday.", origin="user", source="a mail")])
    (tool,) = await longterm.add([Item("", CREW, "The budget is 40 euros.", origin=page, source="x")])
    late = Item("", CREW, "The deadline is Sunday.", origin=page, source="a page")
    same = Item("", CREW, "The  budget is 40 euros.", origin=page, source="a page")
    done = await gate.admit([late, same])
    assert done.added == () and "more trusted" in done.refused[0][1]
    assert [known for _, known in done.merged] == [tool]
    assert {item.id for item in await longterm.export(CREW)} == {person, tool}


async def test_a_deleted_memory_takes_its_earlier_versions_along(url: str, tmp_path: Path) -> None:
    async with memory_of(url, tmp_path, crew="c") as memory:
        first = await memory.aremember("Anna prefers a window seat in trains.", source="a mail")
        second = await memory.aedit(first.id, "Anna sits at the aisle nowadays.", source="a mail")
        third = await memory.aedit(second.id, "Anna stands in all trains.", source="a mail")
        assert (await memory.aforget(second.id)).removed == {"memories": 2}
        assert [row["id"] for row in memory.export()] == [third.id], "a later version stays"
        fourth = await memory.aedit(third.id, "Anna takes the ferry.", source="a mail")
        assert (await memory.aforget(fourth.id)).removed == {"memories": 2}
        assert list(memory.export()) == []
        stats = await memory.astats()
        assert (stats["items"], stats["words"], stats["vectors"]) == (0, 0, {})
        with pytest.raises(InputError, match="in this scope"):
            await memory.aforget(fourth.id)


async def test_an_edit_is_one_transaction(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with memory_of(url, tmp_path, crew="c") as memory:
        old = await memory.aremember("Anna prefers a window seat in trains.", source="a mail")

        def fail(*_: object) -> None:
            raise JournalError("the process died here")

        monkeypatch.setattr("quarterdeck.memory.correction.supersede_item", fail)
        monkeypatch.setattr("quarterdeck.memory.written.supersede_item", fail)
        for said in ("Anna sits at the aisle nowadays.", "anna prefers a window seat in trains"):
            with pytest.raises(JournalError, match="died here"):
                await memory.aedit(old.id, said, source="another mail")
            assert [row["id"] for row in memory.export()] == [old.id]
        monkeypatch.undo()
        new = await memory.aedit(old.id, "anna prefers a window seat in trains", source="another mail")
        assert new.id != old.id and memory.get(old.id).superseded_by == new.id


def episode(run_id: str, crew: str, expires_at: float) -> Episode:
    return Episode(run_id, Scope("acme", crew), "count cranes", "succeeded", created_at=1.0, expires_at=expires_at)


async def leave(store: Store, *left: Episode) -> None:
    for one in left:
        await store.writer.ask(partial(episodes.write, episode=one))


async def test_what_has_expired_is_deleted_at_the_first_search(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    longterm, past = LongTerm(store, HashEmbedder(), tmp_path / "index"), time.time() - 5
    (replaced, late, lasting) = await longterm.add(
        [
            Item("", CREW, "Anna drinks water"),
            Item("", CREW, "Anna drinks wine", expires_at=past),
            Item("", CREW, "Anna drinks tea", expires_at=time.time() + 600),
        ]
    )
    assert await longterm.supersede(replaced, late)
    await leave(store, episode("r1", "other", past), episode("r2", "research", 0.0))
    assert [item.id for item in await longterm.export(CREW)] == [replaced, lasting], "not exported"
    monkeypatch.setattr(Owner, "claim", lambda self: False)
    await longterm.search("what does Anna drink", CREW)
    await longterm.settle()
    assert await longterm.get(late) is not None, "that is for the owner to do"
    longterm.close()
    monkeypatch.undo()
    longterm = LongTerm(store, HashEmbedder(), tmp_path / "index")
    assert [one.item.id for one in await longterm.search("what does Anna drink", CREW)] == [lasting]
    await longterm.settle()
    stats = await longterm.stats()
    assert (stats["items"], stats["words"], stats["vectors"]) == (1, 1, {"hash": 1})
    assert [row.run_id for row in store.read(select(episode_rows.c.run_id))] == ["r2"]
    longterm.close()


async def test_a_crew_with_episodes_alone_deletes_its_expired_ones(store: Store) -> None:
    past = time.time() - 5
    await leave(store, *(episode(f"r{n}", "research", past) for n in range(3)), episode("x", "other", past))
    await leave(store, episode("new", "research", time.time() + 600))
    assert {row.run_id for row in store.read(select(episode_rows.c.run_id))} == {"new", "x"}


async def test_stats_of_a_tenant_tell_nothing_of_another(url: str, tmp_path: Path) -> None:
    mine, other = memory_of(url, tmp_path, tenant="t", crew="c"), memory_of(url, tmp_path, tenant="secret", crew="d")
    nobody, operator = memory_of(url, tmp_path, tenant="nobody"), memory_of(url, tmp_path)
    async with mine, other, nobody, operator:
        await mine.aremember("The port has 42 cranes.", source="a test")
        for said in ("The ferry is blue.", "Herring is sold on Fridays."):
            await other.aremember(said, source="a test", kind="preference")
        told = await nobody.astats()
        assert (told["items"], told["words"], told["vectors"], told["kinds"], told["scopes"]) == (0, 0, {}, {}, [])
        assert told["tenant"] == "nobody" and "index" not in told and told["embedding"]["missing"] == 0
        told = await mine.astats()
        assert (told["items"], told["words"], told["kinds"]) == (1, 1, {"fact": 1}) and "secret" not in str(told)
        assert (await memory_of(url, tmp_path, tenant="secret", crew="c").astats())["items"] == 0, "of a crew"
        whole = await nobody.astats(everything=True)
        assert whole["items"] == 3 == (await operator.astats())["items"] and "index" in whole
        assert {one["tenant"] for one in whole["scopes"]} == {"t", "secret"}


async def test_a_large_add_leaves_no_list_that_every_search_reads(postgresql_url: str) -> None:
    with Store.open(postgresql_url) as store:
        await LongTerm(store, None).add([Item("", CREW, f"note {n} of the harbour master") for n in range(2_000)])
        with store._engine.connect() as connection:
            query = "SELECT reloptions FROM pg_class WHERE relname = 'memory_text_by_body'"
            assert connection.execute(text(query)).scalar_one() == ["fastupdate=off"]
        assert store.read(select(func.count()).select_from(memories))[0][0] == 2_000
