"""The index of vectors: made from SQL, owned by one process, thrown away when anything is wrong with it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from quarterdeck.journal.store import Store
from quarterdeck.memory.item import Item, Scope
from quarterdeck.memory.longterm import LongTerm
from quarterdeck.memory.owner import Owner
from quarterdeck.testing import HashEmbedder

CREW = Scope("acme", "research")
COUNT = 60
HOLD = """
import sys
from pathlib import Path
from quarterdeck.memory.owner import Owner
print(Owner(Path(sys.argv[1])).claim(), flush=True)
sys.stdin.read()
"""


def items(count: int = COUNT, scope: Scope = CREW) -> list[Item]:
    return [Item("", scope, f"remark {n} of day {n % 7} on berth {n % 11}") for n in range(count)]


async def ids(longterm: LongTerm) -> list[str]:
    found = await longterm.search("remark of day 3 on berth 5", CREW, 20, now=2e9)
    await longterm.settle()
    return [one.item.id for one in found]


async def vectors(longterm: LongTerm) -> int:
    count: int = (await longterm.stats())["index"]["vectors"]
    return count


@pytest.fixture
async def longterm(tmp_path: Path) -> AsyncIterator[LongTerm]:
    with Store.open(f"sqlite:///{tmp_path / 'journal.db'}") as store:
        memory = LongTerm(store, HashEmbedder(32), tmp_path / "index", exact=20)
        await memory.add(items())
        yield memory
        memory.close()


async def test_only_large_scopes_are_indexed_and_answers_are_the_exact_ones(longterm: LongTerm) -> None:
    exact = LongTerm(longterm._store, HashEmbedder(32))
    await longterm.add(items(10, Scope("acme", "small")))
    assert await vectors(longterm) == COUNT
    first = await ids(longterm)
    assert (near := longterm._meaning.near()) is not None and not near._kept, "the index was asked"
    assert first == await ids(exact)
    index = longterm._meaning.index()
    assert index is not None and index.discard()
    assert await ids(longterm) == first
    assert near._kept, "all were compared while there was no index"
    assert await vectors(longterm) == COUNT, "and it was made again"


async def test_it_follows_what_is_added_replaced_and_deleted(longterm: LongTerm) -> None:
    await ids(longterm)
    old, new = await longterm.add(items(2))
    assert await vectors(longterm) == COUNT + 2
    await longterm.supersede(old, new)
    assert await vectors(longterm) == COUNT + 1
    await longterm.delete([new])
    assert await vectors(longterm) == COUNT
    await longterm.delete(CREW)
    assert await vectors(longterm) == 0


@pytest.mark.parametrize("damage", ["deleted", "folder deleted", "corrupt", "a vector lost"])
async def test_whatever_happens_to_it_the_answers_stay(longterm: LongTerm, tmp_path: Path, damage: str) -> None:
    before = await ids(longterm)
    index = longterm._meaning.index()
    assert index is not None and before == await ids(longterm)
    if damage == "a vector lost":
        index._client.get_collection(index.name(CREW)).delete(ids=["7"])
    longterm.close()
    if damage == "deleted":
        shutil.rmtree(tmp_path / "index" / "chroma")
    elif damage == "folder deleted":
        shutil.rmtree(tmp_path / "index")
    elif damage == "corrupt":
        (tmp_path / "index" / "chroma" / "chroma.sqlite3").write_bytes(b"no database" * 1000)
    again = LongTerm(longterm._store, HashEmbedder(32), tmp_path / "index", exact=20)
    assert await ids(again) == before
    assert await ids(again) == before
    assert await ids(again) == before and await vectors(again) == COUNT
    again.close()


async def test_it_may_be_deleted_under_us(longterm: LongTerm, tmp_path: Path) -> None:
    before = await ids(longterm)
    shutil.rmtree(tmp_path / "index")
    assert [await ids(longterm) for _ in range(3)] == [before] * 3
    assert await vectors(longterm) == COUNT and (tmp_path / "index" / "chroma" / "chroma.sqlite3").exists()


async def test_one_process_owns_it_and_the_others_answer_all_the_same(longterm: LongTerm, tmp_path: Path) -> None:
    folder = tmp_path / "other"
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(folder)], stdin=-1, stdout=-1, text=True)
    assert holder.stdout is not None and holder.stdout.readline() == "True\n"
    other = LongTerm(longterm._store, HashEmbedder(32), folder, exact=20)
    assert await ids(other) == await ids(longterm)
    assert (await other.stats())["index"] == {"owner": False, "above": 20, "collections": 0, "vectors": 0}
    holder.kill()
    holder.communicate()
    await ids(other)
    assert await vectors(other) == COUNT, "a dead owner lets go"
    other.close()


def test_a_folder_that_cannot_be_written_is_nobodys(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    owner = Owner(tmp_path / "file" / "index")
    assert not owner.claim() and not owner.held
    owner.release()


async def test_collections_are_named_so_that_no_scope_looks_like_another(longterm: LongTerm) -> None:
    index = longterm._meaning.index()
    assert index is not None
    names = ["", "a", "b", "a/b", "a:b", '"', '","', "%", "_", "A", "\u00e9", "e\u0301", "a" * 200]
    scopes = {Scope(t, c, a, u) for t in names for c in names for a in names[:4] for u in names[:4]}
    assert len({index.name(scope) for scope in scopes}) == len(scopes)
