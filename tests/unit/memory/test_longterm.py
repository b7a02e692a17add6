"""What long-term memory does by itself, whatever the database."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import func, select

from quarterdeck.errors import JournalError
from quarterdeck.journal.store import Store
from quarterdeck.journal.tables import memories
from quarterdeck.memory.item import Item, Scope
from quarterdeck.memory.longterm import LongTerm, reached
from quarterdeck.testing import HashEmbedder

CREW = Scope("acme", "research")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(f"sqlite:///{tmp_path / 'journal.db'}") as store:
        yield store


def test_whom_a_profile_reaches() -> None:
    run = Scope("acme", "research", "writer", "anna")
    assert reached(run, "crew") == CREW
    assert reached(run, "agent") == Scope("acme", "research", "writer")
    assert reached(run, "user") == Scope("acme", user="anna")


async def test_a_locked_database_is_tried_again(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    ask, locked = store.writer.ask, [JournalError("locked", code="locked")] * 2

    async def busy(work: object) -> object:
        if locked:
            raise locked.pop()
        return await ask(work)  # type: ignore[arg-type]

    monkeypatch.setattr(store.writer, "ask", busy)
    longterm = LongTerm(store, None)
    await longterm.add([Item("", CREW, "harbour")])
    assert len(await longterm.search("harbour", CREW)) == 1
    locked[:] = [JournalError("full", code="full")]
    with pytest.raises(JournalError, match="full"):
        await longterm.add([Item("", CREW, "quay")])
    assert not locked


async def test_numbers_are_never_given_twice(store: Store) -> None:
    longterm = LongTerm(store, None)
    (first,) = await longterm.add([Item("", CREW, "harbour")])
    await longterm.delete([first])
    await longterm.add([Item("", CREW, "quay")])
    assert store.read(select(func.max(memories.c.number)))[0][0] == 2


async def test_other_scopes_weigh_nothing_in_a_score(store: Store) -> None:
    longterm = LongTerm(store, None)
    await longterm.add([Item("", CREW, text) for text in ("harbour crane", "harbour wind", "crane wind wind")])
    before = longterm._text.search(store, CREW, "harbour wind", 9, (), 0.0)
    ranking = [one.item.text for one in await longterm.search("harbour wind", CREW)]
    await longterm.add([Item("", Scope("other"), "wind " * 50) for _ in range(200)])
    after = longterm._text.search(store, CREW, "harbour wind", 9, (), 0.0)
    assert [one.telling for one in before.words] == [one.telling for one in after.words]
    assert before.scores == pytest.approx(after.scores, rel=0.3)  # but for lengths
    assert ranking == [one.item.text for one in await longterm.search("harbour wind", CREW)]


async def test_searching_embeds_the_query_alone(store: Store) -> None:
    embedder = HashEmbedder()
    longterm = LongTerm(store, embedder)
    await longterm.add([Item("", CREW, "harbour")])
    embedder.texts.clear()
    await longterm.search("quay", CREW)
    await longterm.search(" ", CREW)
    assert embedder.texts == ["quay"]


def test_no_vendor_is_loaded_before_a_scope_is_large() -> None:
    code = "import sys, quarterdeck.memory.longterm; print([m for m in ('chromadb', 'mem0') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
