"""`kill -9` while memories are written: what was acknowledged is whole, and the rest is not there at all."""

from __future__ import annotations

import asyncio
import random
import subprocess
import sys
import time
from pathlib import Path

from sqlalchemy import select

from quarterdeck.journal.store import Store
from quarterdeck.journal.tables import memories, vectors
from quarterdeck.memory.item import Item, Scope
from quarterdeck.memory.longterm import LongTerm
from quarterdeck.testing import HashEmbedder

KILLS = 8
CREW = Scope("acme", "research")
WRITER = """
import asyncio, sys
from pathlib import Path
import numpy  # which the first write would import
from quarterdeck.journal.store import Store
from quarterdeck.memory.item import Item, Scope
from quarterdeck.memory.longterm import LongTerm
from quarterdeck.testing import HashEmbedder

async def main(folder, life):
    with Store.open(f"sqlite:///{folder / 'journal.db'}") as store:
        longterm = LongTerm(store, HashEmbedder(32), folder / "index", exact=20)
        print("ready", flush=True)
        for number in range(100_000):
            texts = [f"life {life} note {number} {n}" for n in "abc"]
            ids = await longterm.add([Item("", Scope("acme", "research"), text) for text in texts])
            if number % 3 == 2:
                await longterm.delete(ids[:1])
            print(*ids[1:], flush=True)

asyncio.run(main(Path(sys.argv[1]), sys.argv[2]))
"""


def live(folder: Path, life: int, seconds: float) -> list[str]:
    """Write until killed; return the ids that were acknowledged."""
    command = [sys.executable, "-c", WRITER, str(folder), str(life)]
    writer = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert writer.stdout is not None and writer.stderr is not None
    assert writer.stdout.readline() == "ready\n", writer.stderr.read()
    time.sleep(seconds)
    writer.kill()
    said, _ = writer.communicate()
    whole = said[: said.rfind("\n") + 1]
    return whole.split()


async def look(folder: Path, acknowledged: set[str]) -> None:
    with Store.open(f"sqlite:///{folder / 'journal.db'}") as store:
        rows = store.read(select(memories.c.number, memories.c.id, memories.c.text))
        assert acknowledged <= {row.id for row in rows}
        assert {row.number for row in rows} == {row.memory for row in store.read(select(vectors.c.memory))}
        longterm = LongTerm(store, HashEmbedder(32), folder / "index", exact=20)
        assert (await longterm.stats())["words"] == len(rows)
        row = random.Random(len(rows)).choice(rows)
        found = [await longterm.search(row.text, CREW, 10, now=2e9) for _ in range(2)]
        await longterm.settle()
        found.append(await longterm.search(row.text, CREW, 10, now=2e9))
        assert row.id in {one.item.id for one in found[0]} and found[0] == found[1] == found[2]
        assert (await longterm.stats())["index"]["vectors"] == (len(rows) if len(rows) > 20 else 0)
        await longterm.add([Item("", CREW, "and on it goes")])
        longterm.close()


def test_what_was_acknowledged_is_there_and_the_indexes_agree(tmp_path: Path) -> None:
    chance = random.Random(4)
    acknowledged: set[str] = set()
    for life in range(KILLS):
        acknowledged |= set(live(tmp_path, life, chance.uniform(0.01, 0.12)))
        asyncio.run(look(tmp_path, acknowledged))
    assert len(acknowledged) > KILLS
