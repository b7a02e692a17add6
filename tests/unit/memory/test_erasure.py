"""After an erasure no byte of what was remembered about the user is in the files, and the receipt says what is left."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import ColumnElement, Connection, delete, insert, select, update

from quarterdeck.journal.events import Decision
from quarterdeck.journal.run import RunJournal
from quarterdeck.journal.store import Store
from quarterdeck.journal.tables import episodes, memories, replies, vectors
from quarterdeck.memory import residue
from quarterdeck.memory.erasure import erase
from quarterdeck.memory.residue import files_of, probe_of, probes_of, search_files


class Rows:
    """The least long-term memory: rows alone."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def add(self, number: int, text: str, tenant: str = "", user: str = "", **other: Any) -> str:
        row = {
            "number": number, "id": f"id{number}", "tenant": tenant, "crew": "", "agent": "", "about": user,
            "kind": "fact", "text": text, "digest": "", "source": "a test", "origin": "user", "confidence": 1.0,
            "created_at": 1.0, "expires_at": 0.0, "superseded_by": "", "group_name": "", "place": 0, **other,
        }  # fmt: skip
        await self._store.writer.ask(lambda connection: connection.execute(insert(memories).values(row)))
        vector = {"memory": number, "model": "test", "vector": bytes(8)}
        await self._store.writer.ask(lambda connection: connection.execute(insert(vectors).values(vector)))
        return f"id{number}"

    async def erase(self, tenant: str, user: str) -> int:
        return await self._delete((memories.c.tenant == tenant) & (memories.c.about == user))

    async def delete(self, id: str) -> int:
        return await self._delete(memories.c.id == id)

    async def _delete(self, which: ColumnElement[bool]) -> int:
        def work(connection: Connection) -> int:
            numbers = select(memories.c.number).where(which)
            connection.execute(delete(vectors).where(vectors.c.memory.in_(numbers)))
            return connection.execute(delete(memories).where(which)).rowcount

        return await self._store.writer.ask(work)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(f"sqlite:///{tmp_path / 'runs' / 'journal.db'}") as store:
        yield store


async def add_episode(store: Store, goal: str, tenant: str = "", user: str = "", id: str = "e1") -> None:
    row = {
        "id": id, "run_id": "r", "tenant": tenant, "crew": "c", "agent": "", "about": user, "task": "t", "goal": goal,
        "status": "succeeded", "code": "", "body": "{}", "cost_usd": "0", "seconds": 1.0, "created_at": 1.0,
        "expires_at": 0.0,
    }  # fmt: skip
    await store.writer.ask(lambda connection: connection.execute(insert(episodes).values(row)))


async def test_everything_about_the_user_goes_and_nothing_of_anybody_else(store: Store) -> None:
    rows = Rows(store)
    await rows.add(1, "Anna likes the window seat best", user="anna")
    await rows.add(2, "Annabel likes the aisle seat best", user="annabel")
    await rows.add(3, "Another Anna of another tenant", tenant="other", user="anna")
    await add_episode(store, "Book the window seat again", user="anna")
    await add_episode(store, "Book another seat for somebody", user="bo", id="e2")
    receipt = await erase(store, rows, tenant="", user="anna")
    assert receipt.removed == {"memories": 1, "vectors": 1, "episodes": 1, "replies": 0, "session": 0}
    assert {row[0] for row in store.read(memories.select().with_only_columns(memories.c.id))} == {"id2", "id3"}
    assert {row[0] for row in store.read(episodes.select().with_only_columns(episodes.c.id))} == {"e2"}
    assert "2 passages" in receipt.proof and "0 found" in receipt.proof


async def test_no_byte_is_left_in_the_files(store: Store, tmp_path: Path) -> None:
    rows = Rows(store)
    kept = [f"Shared fact number {at:04} about the port and its cranes" for at in range(300)]
    secret = [f"Secret {at:04} of Anna: she {'really ' * (at % 90)}dislikes herring" for at in range(300)]
    for at, (one, other) in enumerate(zip(kept, secret, strict=True)):
        await rows.add(2 * at + 1, one)
        await rows.add(2 * at + 2, other, user="anna")
    await store.writer.ask(lambda c: c.execute(update(memories).where(memories.c.about == "anna").values(place=7)))
    probes = probes_of(secret)
    assert len(search_files(files_of(store, None), probes)) == len(probes) == 50
    receipt = await erase(store, rows, tenant="", user="anna")
    assert "50 passages" in receipt.proof and "0 found" in receipt.proof
    everything = b"".join(file.read_bytes() for file in (tmp_path / "runs").iterdir() if file.is_file())
    assert b"dislikes herring" not in everything and b"of Anna" not in everything
    assert kept[7].encode() in everything


async def test_what_was_freed_before_is_overwritten_too(store: Store) -> None:
    """An edit or an expiry of last year left its bytes in the free space of a page."""
    rows = Rows(store)
    await rows.add(1, "Anna keeps her spare key under the third stone", user="anna")
    await store.writer.ask(lambda c: residue._all(c, "PRAGMA secure_delete=OFF"))
    await rows.add(2, "Anna keeps her spare key under the third stone", user="anna")
    await rows.delete("id2")
    receipt = await erase(store, rows, tenant="", user="anna")
    assert receipt.proof.startswith("the database was rewritten") and "0 found" in receipt.proof
    assert not search_files(files_of(store, None), [b"under the third stone"])


async def test_a_database_too_large_to_rewrite_is_told(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = Rows(store)
    await store.writer.ask(lambda c: residue._all(c, "PRAGMA secure_delete=OFF"))
    await rows.add(1, "Anna keeps her spare key under the third stone", user="anna")
    await rows.add(2, "Anna keeps her spare key under the third stone", user="anna")
    await rows.delete("id2")
    monkeypatch.setattr(residue, "VACUUM_BYTES", 10)
    receipt = await erase(store, rows, tenant="", user="anna")
    assert "not rewritten" in receipt.proof and "1 found" in receipt.proof
    (left,) = [one for one in receipt.left if one.what == "free space"]
    assert left.where.endswith("journal.db") and "more than" in left.advice and "--rewrite" in left.advice
    await rows.add(1, "Anna keeps her spare key under the third stone", user="anna")
    receipt = await erase(store, rows, tenant="", user="anna", rewrite=True)
    assert "0 found" in receipt.proof and "free space" not in {one.what for one in receipt.left}


async def test_what_cannot_be_removed_is_listed(store: Store, tmp_path: Path) -> None:
    rows = Rows(store)
    said = "Anna prefers to be called in the evening"
    await rows.add(1, said, user="anna")
    await rows.add(2, "The crew met anna in spring")
    async with await RunJournal.start(
        store, crew="c", spec={}, inputs={}, spec_hash="", version="1", run_id="run22222"
    ) as journal:
        await journal.append(Decision(what="noted", why=f"anna: {said}"))
    (tmp_path / "files" / "run22222").mkdir(parents=True)
    (tmp_path / "runs" / "journal.db.bak").write_text("old")
    receipt = await erase(store, rows, tenant="", user="anna", run_folders=tmp_path / "files")
    assert [(one.what, Path(one.where).name) for one in receipt.left] == [
        ("journal", "run22222"), ("files of a run", "run22222"), ("memory about others", "id2"),
        ("backup", "journal.db.bak"), ("backup", "copies made outside of Quarterdeck"),
    ]  # fmt: skip
    assert "0 found" in receipt.proof  # what an append-only record says is no residue
    assert said not in str(receipt)


async def test_kept_answers_of_models_that_name_the_user_go(store: Store) -> None:
    row = {"model": "m", "size": 1, "created_at": 1.0, "expires_at": 9e9}
    told = [{**row, "key": "1", "reply": '{"text": "Ask Zo\u00eb \\"Z\\" first"}'}, {**row, "key": "2", "reply": "x"}]
    await store.writer.ask(lambda c: c.execute(insert(replies).values(told)))
    receipt = await erase(store, Rows(store), tenant="", user='Zo\u00eb "Z"')
    assert receipt.removed["replies"] == 1
    assert [row[0] for row in store.read(replies.select().with_only_columns(replies.c.key))] == ["2"]


async def test_an_erasure_needs_a_name(store: Store) -> None:
    with pytest.raises(ValueError, match="name of a user"):
        await erase(store, Rows(store), tenant="", user="")


def test_probes_are_the_same_in_a_row_and_in_json() -> None:
    assert probe_of('He said "never on a Sunday morning" twice') == b"never on a Sunday morning"
    assert probe_of("short") == b""
    assert len(probe_of("\u00e9" * 200)) == 64


def test_a_search_finds_what_stands_across_two_parts_of_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(residue, "_CHUNK", 100)
    (tmp_path / "a").write_bytes(b"." * 95 + b"across the border" + b"." * 300)
    assert search_files([tmp_path / "a", tmp_path / "gone"], [b"across the border", b"nowhere"]) == {
        b"across the border": tmp_path / "a"
    }
