"""Long-term memory on every database: what is written is found, by whom it belongs to and by nobody else."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from quarterdeck.errors import JournalError
from quarterdeck.journal import schema
from quarterdeck.journal.database import connect
from quarterdeck.journal.store import Store
from quarterdeck.journal.tables import metadata
from quarterdeck.memory.item import Item, Recalled, Scope
from quarterdeck.memory.longterm import LongTerm
from quarterdeck.spec.memory import LongtermSpec
from quarterdeck.testing import HashEmbedder

CREW = Scope("acme", "research")
TEXTS = [
    "The harbour dredged the channel in March",
    "Anna prefers tea in the morning",
    "The crane lifted forty containers on Friday",
    "Wind closed the port for two days",
]
WRITER = """
import asyncio, sys
from quarterdeck.journal.store import Store
from quarterdeck.journal.tables import metadata
from quarterdeck.memory.item import Item, Scope
from quarterdeck.memory.longterm import LongTerm
from quarterdeck.testing import HashEmbedder

async def main(url, name, count):
    with Store.open(url) as store:
        longterm = LongTerm(store, HashEmbedder(8))
        for number in range(count):
            await longterm.add([Item("", Scope("acme", "shared"), f"note {number} of {name}")])

asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
"""


@pytest.fixture
def longterm(store: Store, tmp_path: Path) -> Iterator[LongTerm]:
    memory = LongTerm(store, HashEmbedder(), tmp_path / "index", LongtermSpec(days=30))
    yield memory
    memory.close()


def texts(found: list[Recalled]) -> list[str]:
    return [one.item.text for one in found]


def items(*said: str, scope: Scope = CREW, **more: Any) -> list[Item]:
    return [Item("", scope, one, **more) for one in said]


async def test_an_item_comes_back_whole(longterm: LongTerm) -> None:
    item = Item(
        "", CREW, "Wind \x00 closed it, \u20ac5", "lesson", "run 7, gather", "tool:web", 0.7, group="g", place=3
    )
    (memory_id,) = await longterm.add([item])
    found = await longterm.get(memory_id)
    assert found is not None and found.created_at > 1e9
    assert found.expires_at == pytest.approx(found.created_at + 30 * 86400), "as the profile says"
    assert found == replace(
        item,
        id=memory_id,
        text="Wind \ufffd closed it, \u20ac5",
        created_at=found.created_at,
        expires_at=found.expires_at,
    )
    assert await longterm.get(memory_id, Scope("acme")) is None
    assert [one.item for one in await longterm.search("wind", CREW)] == [found]


async def test_words_and_meaning_both_find(longterm: LongTerm, store: Store) -> None:
    await longterm.add(items(*TEXTS))
    (best, *_) = await longterm.search("containers lifted", CREW)
    assert best.item.text == TEXTS[2]
    assert 0 < best.score <= 1 and best.parts["text"] > 0 and best.parts["meaning"] > 0
    assert best.why.startswith("text 0.") and "meaning 0." in best.why
    words = LongTerm(store, None)
    (only,) = await words.search("lifting container", CREW)  # of another form
    assert only.item.text == TEXTS[2] and only.parts["meaning"] == 0
    assert texts(await longterm.nearest("zzz", (await HashEmbedder().embed([TEXTS[3]]))[0], CREW, 1)) == [TEXTS[3]]
    assert await longterm.search("  ", CREW) == [] and await words.search('"*():^-', CREW) == []


async def test_a_scope_is_compared_exactly(longterm: LongTerm) -> None:
    scopes = [
        Scope(), Scope("acme"), Scope("acme", "research"), Scope("acme", "research", "writer"),
        Scope("acme", "research", "", "anna"), Scope("acme", "research", "writer", "anna"), Scope("acm"),
        Scope("acme%"), Scope("ACME"), Scope("acme", "res_arch"), Scope("acme", "", "research"), Scope("acmeresearch"),
    ]  # fmt: skip
    await longterm.add([Item("", scope, f"the harbour of {number}") for number, scope in enumerate(scopes)])
    for number, scope in enumerate(scopes):
        assert texts(await longterm.search("harbour", scope)) == [f"the harbour of {number}"]
        assert [item.text for item in await longterm.export(scope)] == [f"the harbour of {number}"]
    assert await longterm.search("harbour", Scope("acme", "%")) == []
    assert await longterm.delete(scopes[1]) == 1
    assert [len(await longterm.export(scope)) for scope in scopes] == [1, 0, *[1] * 10]


async def test_what_was_replaced_or_has_expired_is_not_recalled(longterm: LongTerm) -> None:
    old, new = await longterm.add(items("Anna drinks tea", "Anna drinks coffee"))
    late = await longterm.add(items("Anna drinks wine", expires_at=2e9))
    other = await longterm.add(items("Anna drinks beer", scope=Scope("acme")))
    assert not await longterm.supersede(old, other[0]), "of another scope"
    assert not await longterm.supersede(old, old) and not await longterm.supersede("none", new)
    assert await longterm.supersede(old, new)
    assert not await longterm.supersede(new, old), "no circle"
    assert set(texts(await longterm.search("what does Anna drink", CREW))) == {"Anna drinks coffee", "Anna drinks wine"}
    assert texts(await longterm.search("what does Anna drink", CREW, now=2.1e9)) == []
    assert (
        [item.id for item in await longterm.history(old)]
        == [old, new]
        == [item.id for item in await longterm.history(new)]
    )
    assert await longterm.history("none") == []
    assert await longterm.expire(2e9) == 4, "by the profile's 30 days, too"
    assert await longterm.get(late[0]) is None and (await longterm.stats())["words"] == 0


async def test_deletion_takes_rows_vectors_and_words(longterm: LongTerm, store: Store) -> None:
    first, *_ = await longterm.add(items(*TEXTS))
    await longterm.add(items(TEXTS[0], scope=Scope("acme", "other", "", "anna")))
    await longterm.add(items(TEXTS[0], scope=Scope("acme", "", "", "anna")))
    await longterm.add(items(TEXTS[0], scope=Scope("acme%", "", "", "anna")))
    assert await longterm.delete([first], scope=Scope("acme")) == 0
    assert await longterm.delete([first, "none"]) == 1
    assert TEXTS[0] not in texts(await longterm.search("harbour channel", CREW))
    assert await longterm.erase("acme", "anna") == 2
    assert len(await longterm.search("harbour", Scope("acme%", "", "", "anna"))) == 1
    stats = await longterm.stats()
    assert stats["items"] == stats["words"] == stats["vectors"]["hash"] == 4
    await longterm.add(items("the newest"))
    assert await longterm.delete(CREW) == 4
    assert (await longterm.stats())["items"] == 1


async def test_neighbours_in_a_group_are_found_with_each_other(longterm: LongTerm) -> None:
    said = ["When did the crane break?", "On the ninth, they say.", "Who told you so?", "Lunch is at noon."]
    await longterm.add([Item("", CREW, one, "message", group="talk", place=n) for n, one in enumerate(said)])
    await longterm.add(items(*[f"Unrelated remark number {n}" for n in range(20)]))
    found = await longterm.search("crane break", CREW, 3)
    assert texts(found)[:2] == said[:2] and f"neighbour of {found[0].item.id}" in found[1].why


async def test_only_the_kinds_asked_for(longterm: LongTerm) -> None:
    await longterm.add(items(*[f"harbour remark {n}" for n in range(150)]))
    await longterm.add(items("harbour lesson", kind="lesson"))
    assert texts(await longterm.search("harbour remark", CREW, 5, kinds=["lesson"])) == ["harbour lesson"]


async def test_an_add_is_all_or_nothing(longterm: LongTerm) -> None:
    (memory_id,) = await longterm.add(items(TEXTS[0]))
    with pytest.raises(JournalError, match="there already"):
        await longterm.add([*items(TEXTS[1]), Item(memory_id, CREW, TEXTS[2])])
    with pytest.raises(ValueError, match="numbers"):
        await longterm.add(items(TEXTS[1]), [[1.0, 2.0]])
    with pytest.raises(ValueError, match="100,000 characters"):
        await longterm.add(items("x" * 100_001))
    stats = await longterm.stats()
    assert stats["items"] == stats["words"] == 1


async def test_rebuilt_indexes_give_the_same(longterm: LongTerm, store: Store) -> None:
    await longterm.add(items(*TEXTS, *[f"The harbour on day {n}" for n in range(40)]))
    before = await longterm.search("harbour wind day 7", CREW, 20, now=2e9)
    await store.writer.ask(lambda connection: connection.execute(text("DELETE FROM vectors")))
    words = await LongTerm(store, None).search("harbour", CREW)
    seen: list[tuple[int, int]] = []
    assert (await longterm.rebuild(lambda done, total: seen.append((done, total))))["vectors"] == {"hash": 44}
    assert await longterm.search("harbour wind day 7", CREW, 20, now=2e9) == before
    assert [one.item for one in await LongTerm(store, None).search("harbour", CREW)] == [one.item for one in words]
    assert seen[-1] == (44, 44)


async def test_another_process_is_seen(store: Store, url: str, tmp_path: Path) -> None:
    ours, theirs = LongTerm(store, HashEmbedder()), LongTerm(store, HashEmbedder())
    await ours.add(items(*TEXTS))
    await theirs.search("harbour", CREW)
    (memory_id,) = await ours.add(items("The lock was painted"))
    assert texts(await theirs.search("lock painted", CREW, 1)) == ["The lock was painted"]
    await ours.delete([memory_id])
    await ours.add(items("The dock was painted"))
    assert texts(await theirs.search("painted", CREW, 1)) == ["The dock was painted"]


def test_several_processes_write_at_once(url: str) -> None:
    Store.open(url).close()
    command = [sys.executable, "-c", WRITER, url]
    writers = [subprocess.Popen([*command, f"w{n}", "40"], stderr=subprocess.PIPE, text=True) for n in range(4)]
    assert [(writer.communicate(timeout=60)[1], writer.returncode) for writer in writers] == [("", 0)] * 4
    with Store.open(url) as store:
        stats = asyncio.run(LongTerm(store, HashEmbedder(8)).stats())
        assert stats["items"] == stats["words"] == stats["vectors"]["hash"] == 160


def test_the_migration_makes_the_same_text_index(url: str) -> None:
    def shape(store: Store) -> list[Any]:
        with store._engine.connect() as connection:
            if connection.dialect.name == "sqlite":
                query = "SELECT name, sql FROM sqlite_master WHERE name LIKE 'memor%' ORDER BY name"
                return [(name, " ".join(str(sql).split())) for name, sql in connection.execute(text(query))]
            query = "SELECT indexname, indexdef FROM pg_indexes WHERE tablename LIKE 'memor%' ORDER BY indexname"
            return [tuple(row) for row in connection.execute(text(query))]

    with Store.open(url) as store:
        created = shape(store)
        with store._engine.begin() as connection:
            for name in ("memory_text", *metadata.tables, "alembic_version"):
                connection.execute(text(f"DROP TABLE {name}"))
    engine = connect(url)
    with schema._alone(engine) as connection:
        schema._upgrade(connection, schema.migrations())
    engine.dispose()
    with Store.open(url) as store:
        assert shape(store) == created and any(name.startswith("memory_text") for name, _ in created)
