"""Another embedding model: what was remembered before is embedded anew in the background, and nothing is ever mixed."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from sqlalchemy import func, select

from quarterdeck.errors import ModelError
from quarterdeck.journal.store import Store
from quarterdeck.journal.tables import vectors
from quarterdeck.memory.item import Item, Scope
from quarterdeck.memory.longterm import LongTerm
from quarterdeck.memory.owner import Owner
from quarterdeck.memory.reembed import BATCH
from quarterdeck.testing import HashEmbedder

OURS = Scope("acme", "research")
COUNT = 500
QUESTIONS = ["remark on berth 5", "the crane of day 3", "wind of quay 7", "remark 41"]
SLOW = """
import asyncio, sys
from pathlib import Path
from quarterdeck.journal.store import Store
from quarterdeck.memory.item import Scope
from quarterdeck.memory.longterm import LongTerm
from quarterdeck.testing import HashEmbedder

class Told(HashEmbedder):
    async def embed(self, texts):
        if len(texts) > 1:
            print(len(texts), flush=True)
            sys.stdin.readline()
        return await super().embed(texts)

async def main(folder):
    with Store.open(f"sqlite:///{folder / 'journal.db'}") as store:
        longterm = LongTerm(store, Told(64, "new"), folder / "index", exact=100)
        await longterm.search("remark", Scope("acme", "research"))
        await longterm.settle()

asyncio.run(main(Path(sys.argv[1])))
"""


class Slow(HashEmbedder):
    """Waits in each batch until it may go on; a query it answers at once."""

    def __init__(self, dimension: int = 64, name: str = "new") -> None:
        super().__init__(dimension, name)
        self.may = threading.Semaphore(0)
        self.began = threading.Semaphore(0)

    async def embed(self, texts: Sequence[str]) -> list[list[float]]:
        if len(texts) > 1:
            self.began.release()
            await asyncio.to_thread(self.may.acquire)
        return await super().embed(texts)


def items(scope: Scope = OURS, count: int = COUNT) -> list[Item]:
    texts = (
        f"remark {n} of day {n % 7} on berth {n % 11}, {('crane', 'wind')[n % 2]} of quay {n % 13}"
        for n in range(count)
    )
    return [Item(f"{n:016}", scope, text, created_at=1e9) for n, text in enumerate(texts)]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(f"sqlite:///{tmp_path / 'journal.db'}") as store:
        yield store


async def answers(longterm: LongTerm) -> list[list[tuple[str, str]]]:
    found = [await longterm.search(question, OURS, 20, now=2e9) for question in QUESTIONS]
    return [[(one.item.id, one.why) for one in some] for some in found]


async def from_the_start(tmp_path: Path, embedder: HashEmbedder) -> list[list[tuple[str, str]]]:
    with Store.open(f"sqlite:///{tmp_path / 'fresh.db'}") as store:
        longterm = LongTerm(store, embedder)
        await longterm.add(items())
        return await answers(longterm)


def made(store: Store, model: str) -> int:
    return int(store.read(select(func.count()).select_from(vectors).where(vectors.c.model == model))[0][0])


@pytest.mark.parametrize("exact", [100, 20_000], ids=["indexed", "compared"])
async def test_a_change_of_model_is_made_good_in_the_background(store: Store, tmp_path: Path, exact: int) -> None:
    old = LongTerm(store, HashEmbedder(32, "old"), tmp_path / "index", exact=exact)
    await old.add(items())
    old.close()
    slow = Slow()
    longterm = LongTerm(store, slow, tmp_path / "index", exact=exact)
    first = await longterm.search("remark 41", OURS, 3, now=2e9)
    assert first and all("meaning" not in one.why for one in first), "by words alone, and at once"
    await asyncio.to_thread(slow.began.acquire)
    told = (await longterm.stats())["embedding"]
    assert told == {"model": "new", "dimension": 64, "missing": COUNT, "at_work": True}
    slow.may.release()
    await asyncio.to_thread(slow.began.acquire)
    half = await longterm.search("remark 41", OURS, 20, now=2e9)
    assert any("meaning" in one.why for one in half), "with those that are there already"
    assert (await longterm.stats())["embedding"]["missing"] == COUNT - BATCH
    slow.may.release(100)
    await longterm.settle()
    stats = await longterm.stats()
    assert stats["embedding"] == {"model": "new", "dimension": 64, "missing": 0, "at_work": False}
    assert stats["vectors"] == {"new": COUNT, "old": COUNT}, "whoever still uses the old model finds what it had"
    assert await answers(longterm) == await from_the_start(tmp_path, HashEmbedder(64, "new"))
    assert stats["index"]["collections"] == (2 if exact == 100 else 0)
    longterm.close()


async def test_killed_midway_it_goes_on_at_the_next_start(store: Store, tmp_path: Path) -> None:
    old = LongTerm(store, HashEmbedder(32, "old"), tmp_path / "index", exact=100)
    await old.add(items())
    old.close()
    for batches in (2, 1):
        command = [sys.executable, "-c", SLOW, str(tmp_path)]
        with subprocess.Popen(command, stdin=-1, stdout=-1, text=True) as worker:
            assert worker.stdin is not None and worker.stdout is not None
            for _ in range(batches):
                assert worker.stdout.readline() == f"{BATCH}\n"
                worker.stdin.write("\n")
                worker.stdin.flush()
            assert worker.stdout.readline() == f"{BATCH}\n"
            worker.kill()
    assert made(store, "new") == 3 * BATCH, "what was committed is not made again"
    embedder = HashEmbedder(64, "new")
    longterm = LongTerm(store, embedder, tmp_path / "index", exact=100)
    await answers(longterm)
    await longterm.settle()
    assert len(embedder.texts) == len(QUESTIONS) + COUNT - 3 * BATCH
    assert await answers(longterm) == await from_the_start(tmp_path, HashEmbedder(64, "new"))
    longterm.close()


async def test_closing_stops_it_after_a_batch(store: Store, tmp_path: Path) -> None:
    await LongTerm(store, HashEmbedder(32, "old")).add(items())
    slow = Slow()
    longterm = LongTerm(store, slow, tmp_path / "index")
    await longterm.search("remark", OURS)
    await asyncio.to_thread(slow.began.acquire)
    slow.may.release()
    await asyncio.to_thread(longterm.close)
    assert made(store, "new") in (BATCH, 2 * BATCH)
    assert "quarterdeck-reembed" not in {thread.name for thread in threading.enumerate()}
    await longterm.search("remark", OURS)
    assert not (await longterm.stats())["embedding"]["at_work"], "what is closed begins nothing"


@pytest.mark.parametrize("dimension", [16, 128])
async def test_a_model_of_the_same_name_with_another_dimension_is_another_one(
    store: Store, tmp_path: Path, dimension: int
) -> None:
    await LongTerm(store, HashEmbedder(32, "new")).add(items())
    longterm = LongTerm(store, HashEmbedder(dimension, "new"), tmp_path / "index", exact=100)
    assert all(await answers(longterm))
    await longterm.settle()
    assert await answers(longterm) == await from_the_start(tmp_path, HashEmbedder(dimension, "new"))
    lengths = {row[0] for row in store.read(select(func.length(vectors.c.vector)).distinct())}
    assert lengths == {4 * dimension} and made(store, "new") == COUNT
    longterm.close()


async def test_only_scopes_that_are_used_are_embedded(store: Store, tmp_path: Path) -> None:
    other = Scope("acme", "desk")
    await LongTerm(store, HashEmbedder(32, "old")).add([Item("", other, "The code of the desk is green.")])
    await LongTerm(store, HashEmbedder(32, "old")).add(items(count=5))
    embedder = HashEmbedder(64, "new")
    longterm = LongTerm(store, embedder, tmp_path / "index")
    await longterm.search("remark", OURS)
    await longterm.settle()
    assert made(store, "new") == 5 and not any("desk" in text for text in embedder.texts)
    assert (await longterm.stats())["embedding"]["missing"] == 1
    assert (await longterm.rebuild())["embedding"]["missing"] == 0, "a rebuild is for all"
    longterm.close()


async def test_one_process_does_it(store: Store, tmp_path: Path) -> None:
    await LongTerm(store, HashEmbedder(32, "old")).add(items(count=5))
    holder = Owner(tmp_path / "index")
    assert holder.claim()
    longterm = LongTerm(store, HashEmbedder(64, "new"), tmp_path / "index")
    await longterm.search("remark", OURS)
    await longterm.settle()
    assert made(store, "new") == 0
    without = LongTerm(store, HashEmbedder(64, "new"))
    await without.search("remark", OURS)
    await without.settle()
    assert made(store, "new") == 0, "who pays for each call embeds nothing unasked"
    holder.release()
    longterm.close()


async def test_a_model_that_fails_leaves_it_for_the_next_start(store: Store, tmp_path: Path) -> None:
    class Fails(HashEmbedder):
        async def embed(self, texts: Sequence[str]) -> list[list[float]]:
            if len(texts) > 1:
                raise ModelError("too many requests", "rate_limited")
            return await super().embed(texts)

    await LongTerm(store, HashEmbedder(32, "old")).add(items(count=5))
    longterm = LongTerm(store, Fails(64, "new"), tmp_path / "index")
    assert await longterm.search("remark", OURS)
    await longterm.settle()
    assert await longterm.search("remark", OURS)
    assert (await longterm.stats())["embedding"] == {"model": "new", "dimension": 64, "missing": 5, "at_work": False}
    longterm.close()
    again = LongTerm(store, HashEmbedder(64, "new"), tmp_path / "index")
    await again.search("remark", OURS)
    await again.settle()
    assert (await again.stats())["embedding"]["missing"] == 0
    again.close()


async def test_what_has_its_vectors_is_left_alone_and_nothing_is_claimed(store: Store, tmp_path: Path) -> None:
    embedder = HashEmbedder(64, "new")
    longterm = LongTerm(store, embedder, tmp_path / "index")
    await longterm.add(items(count=5))
    await longterm.search("remark", OURS)
    await longterm.settle()
    assert len(embedder.texts) == 6 and not (tmp_path / "index").exists()
    longterm.close()
