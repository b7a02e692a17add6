"""Long-term memory at size: recall within one tenant, batches, single adds, writers at once, and an index lost.

python -m bench.memory [--items 100000] [--tenants 100] [--writes 1000] [--indexed 20000]
"""

from __future__ import annotations

import argparse
import asyncio
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from bench.report import Row, report

from quarterdeck.journal.store import Store
from quarterdeck.memory.item import Item, Scope
from quarterdeck.memory.longterm import LongTerm

if TYPE_CHECKING:
    from quarterdeck.memory.nearest import Floats

DIMENSION = 384
WORDS = 20_000
QUERIES = 300
BATCH = 1_000
WRITERS = 8
WRITER = """
import asyncio, sys
from bench.memory import Given
from quarterdeck.journal.store import Store
from quarterdeck.memory.item import Item, Scope
from quarterdeck.memory.longterm import LongTerm

async def main(url, name, count):
    with Store.open(url) as store:
        longterm = LongTerm(store, Given())
        for number in range(count):
            await longterm.add([Item("", Scope("shared"), f"note {number} of {name}")])

asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
"""


class Given:
    """An embedder whose vectors cost nothing: what is measured is the memory, not a model."""

    name = "given"
    dimension = DIMENSION

    async def embed(self, texts: list[str]) -> list[list[float]]:
        """Return the same vector for all."""
        return [[1.0] + [0.0] * (DIMENSION - 1)] * len(texts)


class World:
    """Texts and vectors of tenants: words as frequent as in a language, vectors around topics."""

    def __init__(self, tenants: int) -> None:
        self.random = np.random.default_rng(5)
        share = 1 / np.arange(1, WORDS + 1)
        self._share = share / share.sum()
        self._topics = self._unit(self.random.normal(size=(200, DIMENSION)))
        self.tenants = [Scope(f"tenant {number}") for number in range(tenants)]

    def text(self, words: int) -> str:
        """Return words."""
        return " ".join(f"w{n:x}q" for n in self.random.choice(WORDS, words, p=self._share))

    def vectors(self, count: int) -> Floats:
        """Return vectors."""
        topics = self._topics[self.random.integers(len(self._topics), size=count)]
        return self._unit(topics + self.random.normal(size=topics.shape) * 0.05)

    @staticmethod
    def _unit(many: np.ndarray) -> Floats:
        return (many / np.linalg.norm(many, axis=1, keepdims=True)).astype(np.float32)


async def fill(longterm: LongTerm, world: World, count: int, scopes: list[Scope]) -> float:
    """Add so many items, by scope in batches; return how many a second."""
    each = max(1, count // len(scopes))
    spent = 0.0
    for scope in scopes:
        for start in range(0, each, BATCH):
            size = min(BATCH, each - start)
            items = [Item("", scope, world.text(25), group=f"g{n // 20}", place=n % 20) for n in range(size)]
            vectors = world.vectors(size)
            began = time.perf_counter()
            await longterm.add(items, vectors)
            spent += time.perf_counter() - began
    return each * len(scopes) / spent


async def recall(longterm: LongTerm, world: World, scopes: list[Scope], count: int) -> list[float]:
    """Return the ms of searches in random tenants, sorted."""
    spent = []
    for vector in world.vectors(count):
        scope = scopes[int(world.random.integers(len(scopes)))]
        query = world.text(8)
        began = time.perf_counter()
        await longterm.nearest(query, vector.tolist(), scope, 10)
        spent.append((time.perf_counter() - began) * 1000)
    return sorted(spent)


async def at_size(folder: Path, options: argparse.Namespace) -> list[Row]:
    """Measure one database with many tenants."""
    world = World(options.tenants)
    with Store.open(f"sqlite:///{folder / 'journal.db'}") as store:
        longterm = LongTerm(store, Given(), folder / "index")
        rate = await fill(longterm, world, options.items, world.tenants)
        cold = await recall(longterm, world, world.tenants, QUERIES)
        warm = await recall(longterm, world, world.tenants, QUERIES)
        single = []
        for _ in range(100):
            began = time.perf_counter()
            await longterm.add([Item("", world.tenants[0], world.text(25))])
            single.append((time.perf_counter() - began) * 1000)
        longterm.close()
    return [
        ("recall, p50", statistics.median(warm), "ms", 15.0),
        ("recall, p95", warm[int(len(warm) * 0.95)], "ms", 40.0),
        ("recall, first of a tenant included, p95", cold[int(len(cold) * 0.95)], "ms", 40.0),
        ("an item in batches", 1000 / rate, "ms", 1.0),
        ("a single durable add, p50", statistics.median(single), "ms", 15.0),
        ("memory of the process", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, "MB", 600.0),
    ]


async def at_once(folder: Path, writes: int) -> list[Row]:
    """Let several processes write to one file."""
    url = f"sqlite:///{folder / 'shared.db'}"
    Store.open(url).close()
    began = time.perf_counter()
    command = [sys.executable, "-c", WRITER, url]
    writers = [
        subprocess.Popen([*command, f"w{n}", str(writes)], stderr=subprocess.PIPE, text=True) for n in range(WRITERS)
    ]
    failed = [said for one in writers if (said := one.communicate()[1]) or one.returncode]
    seconds = time.perf_counter() - began
    with Store.open(url) as store:
        stats = await LongTerm(store, Given()).stats()
    lost = WRITERS * writes - min(stats["items"], stats["words"], stats["vectors"].get("given", 0))
    return [
        (f"{WRITERS} processes x {writes} adds: lost", float(lost), "", 0.0),
        (f"{WRITERS} processes x {writes} adds: failed", float(len(failed)), "", 0.0),
        (f"{WRITERS} processes x {writes} adds", seconds, "s", None),
    ]


async def lost_index(folder: Path, count: int) -> list[Row]:
    """Delete the index of one large scope; compare what is found before and after, and with comparing all vectors."""
    world = World(1)
    (scope,) = world.tenants
    with Store.open(f"sqlite:///{folder / 'large.db'}") as store:
        longterm = LongTerm(store, Given(), folder / "large", exact=min(1000, count // 2))
        await fill(longterm, world, count, [scope])
        asked = [(world.text(8), vector.tolist()) for vector in world.vectors(50)]

        async def answers(memory: LongTerm) -> tuple[list[list[str]], float]:
            began = time.perf_counter()
            found = [await memory.nearest(text, vector, scope, 10, now=2e9) for text, vector in asked]
            spent = (time.perf_counter() - began) / len(asked) * 1000
            return [[one.item.id for one in one_answer] for one_answer in found], spent

        await longterm.nearest(*asked[0], scope)
        await longterm.settle()
        before, with_index = await answers(longterm)
        longterm.close()
        shutil.rmtree(folder / "large")
        again = LongTerm(store, Given(), folder / "large", exact=min(1000, count // 2))
        began = time.perf_counter()
        await again.nearest(*asked[0], scope)
        await again.settle()
        rebuilding = time.perf_counter() - began
        after, _ = await answers(again)
        vectors = (await again.stats())["index"]["vectors"]
        again.close()
        alone = LongTerm(store, Given(), exact=10**9)
        await answers(alone)
        exact, without_index = await answers(alone)
    differs = sum(one != other for one, other in zip(before, after, strict=True))
    from_exact = sum(one != other for one, other in zip(after, exact, strict=True))
    return [
        (f"index deleted at {count}: vectors not rebuilt", float(count - vectors), "", 0.0),
        ("answers that differ after it", float(differs), "of 50", 0.0),
        ("answers that differ from comparing all", float(from_exact), "of 50", None),
        ("rebuilding", rebuilding, "s", None),
        ("recall with the index", with_index, "ms", None),
        ("recall comparing all vectors", without_index, "ms", None),
    ]


async def main(options: argparse.Namespace) -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rows = await at_size(folder, options)
        rows += await at_once(folder, options.writes)
        if options.indexed:
            rows += await lost_index(folder, options.indexed)
    report("memory", rows)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--tenants", type=int, default=100)
    parser.add_argument("--writes", type=int, default=1_000, help="of each of 8 processes")
    parser.add_argument("--indexed", type=int, default=20_000, help="items of the scope whose index is lost; 0: none")
    asyncio.run(main(parser.parse_args()))
