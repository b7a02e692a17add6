"""Names of scopes that were chosen to cross: none of them sees, deletes or exports what is another's."""

from __future__ import annotations

import asyncio
import unicodedata
from collections.abc import AsyncIterator
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, Row, Select, func, select

from quarterdeck import Memory
from quarterdeck.errors import InputError
from quarterdeck.journal.tables import memories
from quarterdeck.memory.fulltext import text_index
from quarterdeck.memory.item import Item, Scope
from quarterdeck.memory.nearest import Nearest
from quarterdeck.spec.workspace import Workspace
from quarterdeck.testing import HashEmbedder

NAMES = 10_000
ROOTS = (
    "user", "User", "USER", "user1", "user10", "user_", "user%", "us_r", "u%", "%", "_", "__", "*", "user*", "?",
    "use?", "[a-z]", "[!u]", "{user,x}", "\\", "\\%", "\\_", "'", "''", '"', "`", ";", "--", "/*", "' OR '1'='1",
    '" OR ""="', "$1", ":name", "?1", "@x", "%s", "%(x)s", "{0}", "${x}", "NULL", "null", "None", "0", "00", "-1",
    "1e1", "true", "/", "//", "/user", "user/", "user/1", "user/10", "..", "../user", ".", ":", "user:", ":user",
    "user:1", "|", "user|", "a/b", "a:b", "a|b", "a\\b", "a,b", "a;b", "a.b", "a-b", "a b", " user", "user ", "  ",
    " ", "\u00a0", "\u2003", "\u3000", "\u200b", "user\u200b", "\u200duser", "\ufeffuser", "\u202euser",
    "\u2066user\u2069", "us\u0435r", "\uff55\uff53\uff45\uff52", "\u00e9", "e\u0301", "\u00c9", "E\u0301", "\u00df",
    "ss", "SS", "\u1e9e", "\u0131", "i", "I", "\u0130", "i\u0307", "\u017f", "s", "\ufb01", "fi", "\u2126", "\u03a9",
    "\u212b", "\u00c5", "A\u030a", "\u01c5", "\u4f60", "\u597d", "\U0001f600", "\U0001f468\u200d\U0001f469",
    "\u0627", "\ufdfa", "\u0e33", "\uac00", "\u1100\u1161", "x" * 199, "x" * 200, "\u00e9" * 200, "AND", "OR", "NOT",
    "NEAR", "NEAR(a b)", "user:*", "^user", "+user", "tenant", "crew", "memories", "DROP TABLE memories",
)  # fmt: skip
REFUSED = ["a\0b", "\0", "a\nb", "a\tb", "\x1b[2J", "\x7f", "x" * 201, "\ud800", "a\udfff"]


def names() -> list[str]:
    """Return 10,000 different names: hostile ones, and all that they begin or end in."""
    ends = (
        "",
        "%",
        "_",
        "*",
        "?",
        "/",
        ":",
        "1",
        "10",
        " ",
        "\u0301",
        "\u200b",
        "'",
        "\\",
        "X",
        "x",
        ".",
        "-",
        "|",
        ",",
    )
    joined = [start + end for end, start in product(ends, ROOTS)]
    joined += [first + middle + last for middle, first, last in product(("/", ":", "%"), ROOTS[:70], ROOTS[:70])]
    joined += [unicodedata.normalize(form, name) for form in ("NFC", "NFD", "NFKC") for name in ROOTS]
    unique = list(dict.fromkeys(name for name in joined if name and len(name) <= 200))
    assert len(unique) >= NAMES
    return unique[:NAMES]


def scopes() -> list[Scope]:
    """Return a scope for each name as a user of one crew, and for some as tenant, crew and agent."""
    found = [Scope(crew="c", user=name) for name in names()]
    for name in names()[:500]:
        found += [Scope(tenant=name, crew="c"), Scope(crew=name), Scope(crew="c", agent=name)]
    return list(dict.fromkeys(found))


def memory_of(url: str, folder: Path, scope: Scope) -> Memory:
    return Memory(
        workspace=Workspace(folder), database_url=url, tenant=scope.tenant, crew=scope.crew, agent=scope.agent,
        user=scope.user, embedder=HashEmbedder(16),
    )  # fmt: skip


@pytest.fixture
async def filled(url: str, tmp_path: Path) -> AsyncIterator[tuple[Memory, list[Scope]]]:
    """One memory a scope; each shares its words with all others and says its own number."""
    wanted = scopes()
    items = [
        Item("", scope, f"The harbour master likes number {at}", source="a test", origin="user")
        for at, scope in enumerate(wanted)
    ]
    async with memory_of(url, tmp_path, Scope()) as memory:
        for start in range(0, len(items), 500):
            await memory.longterm.add(items[start : start + 500])
        yield memory, wanted


class Held:
    """A store that reads on one connection, so that some ten thousand questions do not take minutes."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def read(self, query: Select[Any]) -> list[Row[Any]]:
        return list(self._connection.execute(query).all())


async def test_ten_thousand_names_and_no_crossing(filled: tuple[Memory, list[Scope]]) -> None:
    """Both indexes are asked for every name on every database; a whole recall, which asks both, each 64th time."""
    memory, wanted = filled
    numbers = [row[0] for row in memory.store.read(select(memories.c.number).order_by(memories.c.number))]

    def ask() -> tuple[int, int]:
        by_words = by_vectors = 0
        with memory.store._engine.connect() as connection:
            if memory.store.folder is None:  # what a server does by itself after a minute
                connection.exec_driver_sql("ANALYZE")
            held: Any = Held(connection)
            words, near = text_index(memory.store), Nearest(held, "hash", 16)
            for number, scope in zip(numbers, wanted, strict=True):
                hits = words.search(held, scope, "harbour", 10, frozenset(), 0.0)
                by_words += set(hits.scores) != {number}
                by_vectors += [row[0] for row in next(near.pages(scope), [])] != [number]
        return by_words, by_vectors

    assert len(wanted) > NAMES and await asyncio.to_thread(ask) == (0, 0)
    for at in range(0, len(wanted), 64):
        found = await memory.longterm.search("harbour master number", wanted[at], 10)
        assert [one.item.text for one in found] == [f"The harbour master likes number {at}"]
    await memory.longterm.settle()


async def test_export_and_delete_cross_nothing(filled: tuple[Memory, list[Scope]]) -> None:
    memory, wanted = filled
    left = len(wanted)
    for at in range(0, len(wanted), 50):
        memory.scope = wanted[at]
        assert [row["text"] for row in memory.export()] == [f"The harbour master likes number {at}"]
        foreign = memory.scope
        (own,) = [row["id"] for row in memory.export()]
        memory.scope = wanted[(at + 1) % len(wanted)]
        with pytest.raises(InputError):
            await memory.aforget(own)
        memory.scope = foreign
        assert (await memory.aforget(everything=True)).removed["memories"] == 1
        left -= 1
    kept = {row["text"] for at in range(1, len(wanted), 50) for row in _exported(memory, wanted[at])}
    assert len(kept) == len(range(1, len(wanted), 50))
    assert sum(memory.store.read(_count())[0]) == left


def _exported(memory: Memory, scope: Scope) -> list[dict[str, object]]:
    memory.scope = scope
    return list(memory.export())


def _count() -> Select[Any]:
    return select(func.count()).select_from(memories)


async def test_an_erasure_takes_exactly_one_user_of_one_tenant(url: str, tmp_path: Path) -> None:
    people = [name for name in names()[:300]]
    items = [
        Item("", Scope(tenant, crew, "", name), f"{crew} knows person {at}", source="a test", origin="user")
        for at, name in enumerate(people)
        for tenant in ("", "t")
        for crew in ("a", "b")
    ]
    async with memory_of(url, tmp_path, Scope()) as memory:
        await memory.longterm.add(items)
        for name in ("user", "%", "u%", "_", "\u00e9", " ", "*"):
            receipt = await memory.aforget(user=name)
            assert receipt.removed["memories"] == 2
        left = len(items) - 14
        assert sum(memory.store.read(_count())[0]) == left


@pytest.mark.parametrize("name", REFUSED)
def test_names_that_are_refused(url: str, tmp_path: Path, name: str) -> None:
    for field in ("tenant", "crew", "agent", "user"):
        given: Any = {field: name}
        with pytest.raises(ValueError, match="no name of a scope"):
            Memory(workspace=Workspace(tmp_path), database_url=url, **given)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("scopes")


name_text = st.text(st.characters(exclude_categories=("Cc", "Cs")), max_size=12)
whole_scope = st.builds(Scope, name_text, name_text, name_text, name_text)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(whole_scope, whole_scope)
def test_any_two_scopes_that_differ_never_meet(shared: Path, one: Scope, other: Scope) -> None:
    url = f"sqlite:///{shared / 'runs' / 'journal.db'}"
    with memory_of(url, shared, one) as mine, memory_of(url, shared, other) as others:
        item = mine.remember("The harbour master is called Zoe.", source="a test")
        found = [found.item.id for found in others.recall("harbour master")]
        assert (item.id in found) == (one == other)
        assert (item.id in {row["id"] for row in others.export()}) == (one == other)
        mine.forget(everything=True)
