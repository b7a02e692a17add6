"""An index of words that is damaged, emptied or gone costs nothing: it is found out, and made anew from SQL."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from quarterdeck.journal.store import Store
from quarterdeck.memory import words
from quarterdeck.memory.item import Item, Scope
from quarterdeck.memory.longterm import LongTerm
from quarterdeck.memory.owner import Owner
from quarterdeck.memory.vectors import VectorIndex
from quarterdeck.testing import HashEmbedder

CREW = Scope("acme", "research")
SQLITE = {
    "damaged": "UPDATE memory_text_data SET block = x'00ff' WHERE id > 10",
    "silent": "UPDATE memory_text_data SET block = x'00ff'",
    "emptied": "INSERT INTO memory_text (memory_text) VALUES ('delete-all')",
    "without sizes": "DROP TABLE memory_text_docsize",
    "without data": "DROP TABLE memory_text_data",
    "gone": "DROP TABLE memory_text",
}
SERVER = {
    "emptied": "DELETE FROM memory_text",
    "gone": "DROP TABLE memory_text",
    "no index": "DROP INDEX memory_text_by_body",
}


@pytest.fixture(params=[*(("sqlite", how) for how in SQLITE), *(("postgresql", how) for how in SERVER)],
                ids=lambda one: "-".join(one).replace(" ", "_"))  # fmt: skip
def broken(request: pytest.FixtureRequest) -> tuple[str, str]:
    """The URL of a database, and what breaks its index."""
    kind, how = request.param
    return request.getfixturevalue(f"{kind}_url"), (SQLITE if kind == "sqlite" else SERVER)[how]


@pytest.fixture
def store(broken: tuple[str, str]) -> Iterator[Store]:
    with Store.open(broken[0]) as store:
        yield store


async def fill(store: Store, count: int = 60) -> None:
    await LongTerm(store, None).add([Item("", CREW, f"The harbour master wrote note {n}") for n in range(count)])


async def damage(store: Store, how: str) -> None:
    await store.writer.ask(lambda connection: connection.execute(text(how)))


async def asked(longterm: LongTerm) -> list[Any]:
    return [(one.item.text, round(one.score, 6)) for one in await longterm.search("harbour note 7", CREW, 5, now=2e9)]


async def test_a_recall_finds_it_out_and_finds_the_same(
    store: Store, broken: tuple[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    await fill(store)
    before = await asked(LongTerm(store, None))
    assert before[0][0] == "The harbour master wrote note 7"
    await damage(store, broken[1])
    longterm = LongTerm(store, None)
    with caplog.at_level(logging.WARNING):
        assert await asked(longterm) == before
    if broken[1] != SERVER["no index"]:  # a server finds the same without it, only slower
        assert len(caplog.records) == 1 and "made anew from the database" in caplog.text
    assert "backup" not in caplog.text
    stats = await longterm.stats()
    assert stats["items"] == stats["words"] == 60
    assert await asked(longterm) == before


async def test_what_is_remembered_and_forgotten_meanwhile_is_whole(store: Store, broken: tuple[str, str]) -> None:
    await fill(store)
    await damage(store, broken[1])
    longterm = LongTerm(store, None)
    (added,) = await longterm.add([Item("", CREW, "The lighthouse keeper is called Zoe")])
    (doomed, *_) = await longterm.export(CREW)
    assert await longterm.delete([doomed.id]) == 1
    found = await longterm.search("lighthouse keeper", CREW)
    assert [one.item.id for one in found] == [added]
    stats = await longterm.stats()
    assert stats["items"] == stats["words"] == 60


async def test_a_rebuild_mends_it(store: Store, broken: tuple[str, str]) -> None:
    await fill(store)
    before = await asked(LongTerm(store, None))
    await damage(store, broken[1])
    seen: list[tuple[int, int]] = []
    stats = await LongTerm(store, None).rebuild(lambda done, total: seen.append((done, total)))
    assert stats["words"] == 60 and seen[-1] == (60, 60)
    assert await asked(LongTerm(store, None)) == before
    if store.folder is None:
        with store._engine.connect() as connection:
            query = text("SELECT count(*) FROM pg_indexes WHERE indexname = 'memory_text_by_body'")
            assert connection.execute(query).scalar_one() == 1


async def test_who_does_not_own_the_index_goes_on_without_it_and_says_what_to_do(
    store: Store, broken: tuple[str, str], tmp_path: Path, caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    if broken[1] == SERVER["no index"]:
        return  # nothing to go without
    await fill(store)
    await damage(store, broken[1])
    monkeypatch.setattr(Owner, "claim", lambda self: False)
    longterm = LongTerm(store, HashEmbedder(), tmp_path / "index")
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            found = await longterm.search("harbour note 7", CREW, 5)
            assert len(found) == 5 and all(one.parts["text"] > 0 for one in found)
    assert len(caplog.records) == 1 and "quarterdeck memory rebuild" in caplog.text and "backup" not in caplog.text
    longterm.close()


async def test_a_mending_is_bounded_and_goes_on_at_the_next_recall(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with Store.open(sqlite_url) as store:
        await fill(store, 35)
        await damage(store, SQLITE["emptied"])
        monkeypatch.setattr(words, "PAGE", 10)
        monkeypatch.setattr(words, "MEND_SECONDS", 1e-9)
        longterm, held = LongTerm(store, None), []
        for _ in range(5):
            assert await longterm.search("harbour note", CREW, 5), "by the texts themselves"
            held.append((await longterm.stats())["words"])
        assert held == [10, 20, 30, 35, 35]
    assert len(caplog.records) == 1 and "in parts" in caplog.text


def test_a_rebuild_of_an_index_of_vectors_says_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    nearest: Any = None
    index = VectorIndex(tmp_path, "m", nearest)
    with caplog.at_level(logging.WARNING):
        assert index.discard()
    assert caplog.text == ""
