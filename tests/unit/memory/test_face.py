"""`quarterdeck.Memory`: one face for what is remembered, in exactly one scope."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from quarterdeck import Memory, Rejected
from quarterdeck.errors import InputError, ModelError
from quarterdeck.memory.item import Scope
from quarterdeck.spec.memory import LongtermSpec, MemoryProfile
from quarterdeck.spec.workspace import Workspace
from quarterdeck.testing import HashEmbedder

Open = Callable[..., Memory]


@pytest.fixture
def memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Open]:
    for variable in ("QUARTERDECK_DATABASE_URL", "QUARTERDECK_TENANT", "QUARTERDECK_REDIS_URL"):
        monkeypatch.delenv(variable, raising=False)
    opened: list[Memory] = []

    def open_memory(**scope: Any) -> Memory:
        given = {"embedder": HashEmbedder(), **scope}
        opened.append(Memory(workspace=Workspace(tmp_path), **given))
        return opened[-1]

    yield open_memory
    for one in opened:
        one.close()


def test_what_was_remembered_is_recalled_with_its_source_and_why(memory: Open) -> None:
    with memory(crew="research") as mine:
        item = mine.remember("The port of Rotterdam has 42 cranes.", source="docs/port.md:12")
        mine.remember("The ferry to Hull leaves at nine in the evening.", source="docs/ferry.md:3")
        found = mine.recall("How many cranes has the port of Rotterdam?")
    assert found[0].item.id == item.id
    assert found[0].item.source == "docs/port.md:12"
    assert found[0].why and 0 <= found[0].score <= 1
    assert item.scope == Scope(crew="research") and item.origin == "user"


def test_another_process_recalls_it(memory: Open) -> None:
    with memory(crew="research") as mine:
        mine.remember("The port of Rotterdam has 42 cranes.", source="a test")
    with memory(crew="research") as later:
        assert [one.item.text for one in later.recall("cranes")] == ["The port of Rotterdam has 42 cranes."]


@pytest.mark.parametrize(
    "other", [{}, {"crew": "Research"}, {"crew": "research "}, {"crew": "research", "user": "anna"},
              {"crew": "research", "agent": "a"}, {"tenant": "t", "crew": "research"}, {"crew": "res%"}],
)  # fmt: skip
def test_no_other_scope_sees_it(memory: Open, other: dict[str, str]) -> None:
    mine, others = memory(crew="research"), memory(**other)
    item = mine.remember("The port of Rotterdam has 42 cranes.", source="a test")
    assert others.recall("port cranes") == []
    assert list(others.export()) == []
    for ask in (others.get, others.history, others.forget):
        with pytest.raises(InputError, match="in this scope"):
            ask(item.id)
    others.forget(everything=True)
    assert mine.get(item.id) == item


def test_an_edit_replaces_and_the_history_keeps(memory: Open) -> None:
    mine = memory(user="anna")
    old = mine.remember("Anna prefers a window seat in every train.", source="a mail", kind="preference")
    new = mine.edit(old.id, "Anna sits at the aisle nowadays.", source="another mail")
    assert [one.item.id for one in mine.recall("window seat aisle train")] == [new.id]
    assert [one.id for one in mine.history(new.id)] == [old.id, new.id] == [one.id for one in mine.history(old.id)]
    assert mine.get(old.id).superseded_by == new.id and mine.get(new.id).kind == "preference"
    with pytest.raises(InputError, match=f"replaced by {new.id}"):
        mine.edit(old.id, "Anna prefers to stand.", source="a third mail")


@pytest.mark.parametrize("sure", [0.0, 0.2])
def test_the_write_gate_refuses_and_says_why(memory: Open, sure: float) -> None:
    mine = memory(profile=MemoryProfile(longterm=LongtermSpec(min_confidence=0.5, deny=("(?i)password",))))
    with pytest.raises(Rejected, match="confidence"):
        mine.remember("The ferry leaves at nine.", source="a guess", confidence=sure)
    with pytest.raises(Rejected):
        mine.remember("The PASSWORD of the ferry is swordfish.", source="a mail")
    with pytest.raises(Rejected, match="where it comes from"):
        mine.remember("The ferry leaves at nine.", source=" ")
    assert list(mine.export()) == []


def test_the_same_again_is_merged(memory: Open) -> None:
    mine = memory()
    first = mine.remember("The ferry to Hull leaves at nine.", source="a mail")
    assert mine.remember("The ferry to Hull leaves  at nine.", source="another mail").id == first.id
    assert len(list(mine.export())) == 1


def test_forgetting_one_and_everything(memory: Open) -> None:
    mine, other = memory(crew="a"), memory(crew="b")
    texts = ["The ferry leaves at nine.", "Cranes are painted blue.", "Herring is sold on Fridays."]
    ids = [mine.remember(text, source="a test").id for text in texts]
    other.remember("The ferry leaves at ten.", source="a test")
    assert mine.forget(ids[0]).removed == {"memories": 1}
    assert mine.recall("ferry") == [] or all("ferry" not in one.item.text for one in mine.recall("ferry"))
    assert mine.forget(everything=True).removed == {"memories": 2, "episodes": 0}
    assert list(mine.export()) == [] and len(list(other.export())) == 1


@pytest.mark.parametrize("asked", [{}, {"memory_id": "x", "user": "y"}, {"user": "y", "everything": True}])
def test_forget_wants_exactly_one_thing(memory: Open, asked: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="one thing"):
        memory().forget(**asked)


def test_the_right_to_erasure_reaches_every_crew_of_the_tenant_and_no_file_keeps_a_byte(
    memory: Open, tmp_path: Path
) -> None:
    said = "Anna keeps her spare key under the third stone of number {}"
    for scope in ({"crew": "a"}, {"crew": "b", "agent": "c"}, {"tenant": "t"}):
        mine = memory(user="anna", **scope)
        for number in range(20):
            mine.remember(f"{said.format(number)} {'zanzibar ' * (number + 1)}", source="a test")
        mine.recall("spare key")
    memory(crew="a", user="annabel").remember("Annabel has no spare key.", source="a test")
    receipt = memory().forget(user="anna")
    assert receipt.removed["memories"] == 40 == receipt.removed["vectors"]
    assert "0 found" in receipt.proof
    memory(tenant="t").forget(user="anna")
    files = [file for file in (tmp_path / "runs").rglob("*") if file.is_file()]
    held = b"".join(file.read_bytes() for file in files)
    assert files and b"third stone" not in held and b"zanzibar" not in held and b"Annabel has no" in held
    assert len(list(memory(crew="a", user="annabel").export())) == 1


def test_export_has_all_of_the_scope_as_data(memory: Open) -> None:
    mine = memory(crew="research", user="anna")
    item = mine.remember("Anna prefers a window seat.", source="a mail")
    (row,) = mine.export()
    assert (row["what"], row["id"], row["text"], row["user"], row["source"]) == (
        "memory", item.id, item.text, "anna", "a mail"
    )  # fmt: skip


class _Missing(HashEmbedder):
    async def embed(self, texts: Any) -> list[list[float]]:
        raise ModelError("The embedder has no weights. Fetch them: quarterdeck models pull embedder", "no_weights")


def test_without_weights_words_alone_are_enough_and_it_says_so(memory: Open) -> None:
    with memory(embedder=_Missing()) as mine:
        mine.remember("The port of Rotterdam has 42 cranes.", source="a test")
        assert [one.item.text for one in mine.recall("cranes")] == ["The port of Rotterdam has 42 cranes."]
        assert "models pull embedder" in mine.without_meaning and "\n" not in mine.without_meaning
    with memory() as later:  # what was remembered meanwhile is embedded when it can be
        later.rebuild()
        assert later.recall("cranes")[0].parts and later.without_meaning == ""


async def test_the_async_face(memory: Open) -> None:
    async with memory(crew="c") as mine:
        item = await mine.aremember("The port has 42 cranes.", source="a test")
        assert [one.item.id for one in await mine.arecall("cranes")] == [item.id]
        assert [one.id for one in await mine.ahistory(item.id)] == [item.id]
        assert [row["id"] async for row in mine.aexport()] == [item.id]
        assert (await mine.aforget(item.id)).removed == {"memories": 1}


async def test_the_sync_face_works_where_a_loop_runs(memory: Open) -> None:
    assert memory().remember("The port has 42 cranes.", source="a test").text == "The port has 42 cranes."


def test_stats_count_by_scope_and_kind(memory: Open) -> None:
    memory(crew="a").remember("The port has 42 cranes.", source="a test")
    memory(crew="a", user="u").remember("Anna likes slow ferries.", source="a test", kind="preference")
    memory(tenant="other").remember("Not of this tenant.", source="a test")
    told = memory().stats()
    scopes = {(one["crew"], one["user"], one["kind"]): one["items"] for one in told["scopes"]}
    assert scopes == {("a", "", "fact"): 1, ("a", "u", "preference"): 1}


def test_rebuild_makes_the_index_anew(memory: Open, tmp_path: Path) -> None:
    mine = memory()
    mine.remember("The port has 42 cranes.", source="a test")
    before = mine.recall("cranes of the port")
    mine.close()
    with sqlite3.connect(tmp_path / "runs" / "journal.db") as database:
        database.execute("INSERT INTO memory_text(memory_text) VALUES ('delete-all')")
    database.close()
    again = memory()
    again.rebuild()
    assert again.recall("cranes of the port") == before


def test_a_profile_without_long_term_memory_remembers_nothing(memory: Open) -> None:
    with pytest.raises(InputError, match="remembers nothing"):
        memory(profile="none")


@pytest.mark.parametrize("name", ["a\0b", "a\nb", "x" * 201, "\ud800"])
def test_names_that_no_database_should_be_asked_about(memory: Open, name: str) -> None:
    with pytest.raises(ValueError, match="no name of a scope"):
        memory(user=name)
