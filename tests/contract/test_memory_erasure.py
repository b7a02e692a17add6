"""The right to erasure with all that a user can have left: caches in Redis, and a scope so large that it is indexed."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import func, select, text
from tests.contract.test_session import redis_url

from quarterdeck import Memory
from quarterdeck.journal.events import Decision, MemoryWritten
from quarterdeck.journal.run import RunJournal
from quarterdeck.journal.store import Store
from quarterdeck.journal.tables import episodes as episode_rows
from quarterdeck.journal.tables import memories, vectors
from quarterdeck.memory import episodes
from quarterdeck.memory.episodes import Episode
from quarterdeck.memory.item import Item, Scope
from quarterdeck.memory.redis_session import RedisSession
from quarterdeck.spec.workspace import Workspace
from quarterdeck.testing import HashEmbedder

__all__ = ["redis_url"]

COUNT = 20_500
"""Above 20,000, from where on a scope stands in the index of vectors too."""


def memory_of(folder: Path, url: str = "", **scope: str) -> Memory:
    return Memory(
        workspace=Workspace(folder), database_url=url or f"sqlite:///{folder / 'runs' / 'journal.db'}",
        embedder=HashEmbedder(16), **scope,
    )  # fmt: skip


async def leave(store: Store, *left: Episode) -> None:
    for one in left:
        await store.writer.ask(partial(episodes.write, episode=one))


async def test_episodes_and_memories_that_name_the_user_go_or_are_listed(url: str, tmp_path: Path) -> None:
    """Those of the crew, too: by their words, by their source, and by the run that left them."""
    desk = Scope("t", "desk")
    async with memory_of(tmp_path, url, tenant="t") as memory:
        await begun(memory, "herrun", user="annabella", ids=("fromherrun000001",))
        await begun(memory, "another", user="bo")
        await leave(
            memory.store,
            Episode("r1", desk, "Book a seat for annabella", "succeeded"),
            Episode("r2", desk, "Book a seat", "succeeded", outcome="A seat for annabella, at noon"),
            Episode("r3", desk, "Book a seat", "failed", lessons=('"annabella" said no',)),
            Episode("r4", desk, "Book a seat", "failed", failures=("ask annabella -> no answer",)),
            Episode("r5", desk, "Sail the annabellas", "succeeded"),
            Episode("herrun", desk, "Book a table", "succeeded"),
            Episode("r7", desk, "Book a seat for Bo", "succeeded"),
            Episode("r8", Scope("other", "desk"), "Book a seat for annabella", "succeeded"),
        )
        await memory.longterm.add(
            [
                Item("bysource00000001", desk, "Seats face west", source="mail of annabella"),
                Item("fromherrun000001", desk, "The table stands outside", source="docs/menu.md"),
                Item("extracted0000001", desk, "Tea is served at four", source="run herrun, gather"),
                Item("another000000001", desk, "The ferry is blue", source="run another, gather"),
                Item("othertenant00001", Scope("other"), "annabella is here", source="mail of annabella"),
            ]
        )
        receipt = await memory.aforget(user="annabella")
        assert receipt.removed["episodes"] == 4
        kept = {row.run_id for row in memory.store.read(select(episode_rows.c.run_id))}
        assert kept == {"r5", "herrun", "r7", "r8"}
        listed: dict[str, set[str]] = {}
        for one in receipt.left:
            listed.setdefault(one.what, set()).add(one.where)
        assert listed["memory about others"] == {"bysource00000001"}
        assert listed["memory of their run"] == {"fromherrun000001", "extracted0000001"}
        within, hers = (Episode(run, desk, "", "").id for run in ("r5", "herrun"))
        assert listed["episode"] == {within, hers} and listed["journal"] == {"herrun"}
        advice = {one.where: one.advice for one in receipt.left}
        assert "quarterdeck memory show bysource00000001 --tenant t --crew desk" in advice["bysource00000001"]
        assert f"quarterdeck memory delete {hers} --tenant t --crew desk" in advice[hers]
    async with memory_of(tmp_path, url, tenant="t", crew="desk") as memory:  # as the advice says
        for episode_id in (hers, within):
            assert (await memory.aforget(episode_id)).removed == {"episodes": 1}
        for memory_id in ("bysource00000001", "fromherrun000001", "extracted0000001"):
            await memory.aforget(memory_id)
        left = (await memory.aforget(user="annabella")).left
        assert {one.what for one in left} <= {"journal", "backup"}


async def test_nothing_is_cut_from_the_list(url: str, tmp_path: Path) -> None:
    async with memory_of(tmp_path, url, crew="c") as memory:
        items = [Item("", Scope(crew="c"), f"Seat {n} was given to anna", source="x") for n in range(450)]
        await memory.longterm.add(items)
        for number in range(205):
            await begun(memory, f"run{number:05}", why="anna called")
        left = [one.what for one in (await memory.aforget(user="anna")).left]
        assert (left.count("memory about others"), left.count("journal")) == (450, 205)


async def test_an_erasure_with_a_damaged_index_of_words_leaves_none_of_them(tmp_path: Path) -> None:
    async with memory_of(tmp_path, crew="c", user="anna") as memory:
        await memory.aremember("Anna prefers zanzibar cloves.", source="a mail")
        broken = text("UPDATE memory_text_data SET block = x'00ff' WHERE id > 10")
        await memory.store.writer.ask(lambda connection: connection.execute(broken))
        receipt = await memory.aforget(user="anna")
        assert receipt.removed["memories"] == 1 and "0 found" in receipt.proof
        assert (await memory.longterm.stats())["words"] == 0
    held = b"".join(file.read_bytes() for file in (tmp_path / "runs").rglob("*") if file.is_file())
    assert b"zanzibar" not in held


@pytest.mark.real
async def test_session_caches_of_the_runs_that_name_the_user_go(
    tmp_path: Path, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QUARTERDECK_REDIS_URL", redis_url)
    caches = {}
    async with memory_of(tmp_path, tenant="t", crew="c", user="anna") as memory:
        await memory.aremember("Anna prefers to be called in the evening.", source="a mail")
        for run_id, tenant, said in (
            ("r1", "t", "anna called"),
            ("r2", "t", "bo called"),
            ("r3", "other", "anna here"),
        ):
            journal = await RunJournal.start(
                memory.store, crew="c", spec={}, inputs={}, spec_hash="", version="1", run_id=run_id, tenant=tenant
            )
            async with journal:
                await journal.append(Decision(what="noted", why=said))
            caches[run_id] = RedisSession(redis_url, tenant, run_id, 600.0, 100_000)
            assert await caches[run_id].put("notes", {"said": said})
            assert await caches[run_id].put("more", [said])
        receipt = await memory.aforget(user="anna")
        assert receipt.removed["session"] == 2 and receipt.removed["memories"] == 1
        held = {run_id: await cache.get("notes") for run_id, cache in caches.items()}
        assert held == {"r1": None, "r2": {"said": "bo called"}, "r3": {"said": "anna here"}}
    for cache in caches.values():
        await cache.clear()
        await cache.close()


async def begun(memory: Memory, run_id: str, user: str = "", why: str = "", ids: tuple[str, ...] = ()) -> None:
    """Leave a run of the memory's tenant."""
    journal = await RunJournal.start(
        memory.store, crew="c", spec={"user": user}, inputs={}, spec_hash="", version="1", run_id=run_id,
        tenant=memory.scope.tenant,
    )  # fmt: skip
    async with journal:
        await journal.append(Decision(what="noted", why=why))
        await journal.append(MemoryWritten(path="memory", ids=ids))


@pytest.mark.real
@pytest.mark.parametrize("url", ["unix:///nowhere/nobody.sock", "http://x:swordfish@nowhere"])
async def test_a_redis_that_does_not_answer_is_told_and_does_not_stop_an_erasure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    monkeypatch.setenv("QUARTERDECK_REDIS_URL", "unix:///nowhere/nobody.sock")
    async with memory_of(tmp_path, user="anna") as memory:
        await memory.aremember("Anna prefers to be called in the evening.", source="a mail")
        receipt = await memory.aforget(user="anna")
        assert receipt.removed["memories"] == 1 and receipt.removed["session"] == 0
        assert list(memory.export()) == []
        assert "session cache" not in {one.what for one in receipt.left}, "no run names her: there is no cache"
        await memory.aremember("Anna prefers to be called in the evening.", source="a mail")
        for run_id in ("r1", "r2"):
            await begun(memory, run_id, why="anna called")
        monkeypatch.setenv("QUARTERDECK_REDIS_URL", url)
        receipt = await memory.aforget(user="anna")
        assert receipt.removed["memories"] == 1 and receipt.removed["session"] == 0
        (missed,) = [one for one in receipt.left if one.what == "session cache"]
        assert "QUARTERDECK_REDIS_URL" in missed.where and "caches of 2 runs" in missed.advice
        assert "erase again" in missed.advice and "swordfish" not in str(receipt)


async def test_a_large_scope_goes_whole_with_its_collection_and_no_byte_is_left(tmp_path: Path) -> None:
    anna, bo = Scope(crew="c", user="anna"), Scope(crew="c", user="bo")
    vector = [[1.0] + [0.0] * 15]
    async with memory_of(tmp_path, crew="c", user="anna") as memory:
        for start in range(0, COUNT, 5_000):
            size = min(5_000, COUNT - start)
            items = [Item("", anna, f"anna dislikes herring number {start + n}", source="x") for n in range(size)]
            await memory.longterm.add(items, vector * size)
        await memory.longterm.add([Item("", bo, "bo likes herring in autumn", source="x")])
        before = await memory.longterm.stats()
        assert before["index"]["vectors"] == COUNT and before["index"]["collections"] == 1
        receipt = await memory.aforget(user="anna", rewrite=True)
        assert receipt.removed["memories"] == receipt.removed["vectors"] == COUNT
        assert "0 found" in receipt.proof
        after = await memory.longterm.stats()
        assert (after["items"], after["words"], after["index"]["vectors"]) == (1, 1, 0)
        counts = [memory.store.read(select(func.count()).select_from(table))[0][0] for table in (memories, vectors)]
        assert counts == [1, 1]
        assert [one.item.text for one in await memory.longterm.search("herring", bo)] == ["bo likes herring in autumn"]
        assert await memory.longterm.search("herring", anna) == []
    held = b"".join(file.read_bytes() for file in (tmp_path / "runs").rglob("*") if file.is_file())
    assert b"anna dislikes" not in held and b"bo likes herring" in held
