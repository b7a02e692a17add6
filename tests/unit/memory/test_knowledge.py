from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.unit.tools.site import Page, Site, serving

from quarterdeck.errors import ModelError, SpecError
from quarterdeck.journal.store import Store
from quarterdeck.memory.item import Scope
from quarterdeck.memory.knowledge import ORIGIN, Knowledge
from quarterdeck.memory.longterm import LongTerm
from quarterdeck.spec.load import load_crew
from quarterdeck.spec.services import WebSpec
from quarterdeck.spec.workspace import Workspace
from quarterdeck.testing import HashEmbedder

TARIFF = "# Tariff\n\nA berth costs 40 EUR a day.\n\n# Water\n\nDrinking water is free at quay north.\n"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(f"sqlite:///{tmp_path}/journal.db") as opened:
        yield opened


@pytest.fixture
def docs(tmp_path: Path) -> Path:
    folder = tmp_path / "docs" / "inner"
    folder.mkdir(parents=True)
    (folder.parent / "tariff.md").write_text(TARIFF)
    (folder / "wind.txt").write_text("The wind farm at Lindholm has nine turbines.")
    (folder.parent / ".hidden.md").write_text("The secret tariff is zero.")
    (folder.parent / "photo.png").write_bytes(b"\x89PNG")
    return folder.parent


def knowledge(
    store: Store, root: Path, *sources: str, embedder: Any = None, web: WebSpec | None = None, crew: str = "harbour"
) -> Knowledge:
    memories = LongTerm(store, embedder or HashEmbedder())
    return Knowledge(memories, store, sources, root, tenant="acme", crew=crew, web=web)


async def test_a_folder_is_cut_by_structure_and_cited_by_document_and_place(store: Store, docs: Path) -> None:
    known = knowledge(store, docs.parent, "docs/")
    done = await known.refresh()
    assert sorted(done.added) == ["docs/inner/wind.txt", "docs/tariff.md"] and not done.skipped
    best = (await known.search("what does a berth cost"))[0]
    assert best["source"] == "docs/tariff.md:1-3" and "40 EUR" in best["text"] and best["why"]
    items = await LongTerm(store, None).export(known.scope)
    assert [(one.group, one.place) for one in items if one.group == "docs/tariff.md"] == [
        ("docs/tariff.md", 0), ("docs/tariff.md", 1),
    ]  # fmt: skip
    assert {(one.kind, one.origin) for one in items} == {("document", ORIGIN)}
    assert not await LongTerm(store, None).export(Scope("acme", "harbour"))  # never among what the crew remembers


async def test_only_what_changed_is_embedded_anew_and_what_is_gone_is_forgotten(store: Store, docs: Path) -> None:
    embedder = HashEmbedder()
    known = knowledge(store, docs.parent, "docs", embedder=embedder)
    await known.refresh()
    count = len(embedder.texts)
    assert count == 3
    assert sorted((await known.refresh()).unchanged) == ["docs/inner/wind.txt", "docs/tariff.md"]
    assert len(embedder.texts) == count
    (docs / "tariff.md").write_text("A berth costs 55 EUR a day.")
    assert (await known.refresh()).changed == ("docs/tariff.md",)
    assert embedder.texts[count:] == ["A berth costs 55 EUR a day."]
    assert (await known.search("berth"))[0]["text"] == "A berth costs 55 EUR a day."
    assert not any("40 EUR" in one["text"] for one in await known.search("berth", 20))
    (docs / "inner" / "wind.txt").unlink()
    assert (await known.refresh()).removed == ("docs/inner/wind.txt",)
    assert not any("turbines" in one["text"] for one in await known.search("wind turbines", 20))


async def test_what_cannot_be_read_is_said_and_stays_as_it_was(store: Store, docs: Path) -> None:
    known = knowledge(store, docs.parent, "docs", "nowhere", "docs/photo.png", "ftp://x/y")
    await known.refresh()
    (docs / "tariff.md").write_bytes(b"A berth\0costs")
    (docs / "inner" / "wind.txt").unlink()
    (docs / "inner" / "wind.txt").symlink_to("/etc/hostname")
    done = await known.refresh()
    assert not done.removed and not done.changed
    assert {one.name for one in done.skipped} == {
        "docs/tariff.md", "docs/inner/wind.txt", "nowhere", "docs/photo.png", "ftp://x/y",
    }  # fmt: skip
    assert "40 EUR" in (await known.search("what does a berth cost"))[0]["text"]


async def test_crews_do_not_see_each_others(store: Store, docs: Path) -> None:
    await knowledge(store, docs.parent, "docs").refresh()
    assert await knowledge(store, docs.parent, "docs", crew="harbour2").search("berth") == []


async def test_without_an_embedder_the_words_are_enough(store: Store, docs: Path) -> None:
    class Broken(HashEmbedder):
        async def embed(self, texts: Any) -> list[list[float]]:
            if len(self.texts) > 2:
                raise ModelError("gone", "unreachable")
            return await super().embed(texts)

    known = knowledge(store, docs.parent, "docs", embedder=Broken())
    await known.refresh()
    assert "40 EUR" in (await known.search("berth"))[0]["text"]


@pytest.mark.usefixtures("loopback")
async def test_pages_are_read_within_the_operators_reach(store: Store, tmp_path: Path) -> None:
    with serving() as site:
        open_to = WebSpec(hosts=("127.0.0.1",), ports=(site.port,), networks=("127.0.0.0/8",))
        site.pages["/notice"] = Page(b"<h1>Notice</h1><p>The lock is closed in May.</p><script>no()</script>")
        url = f"{site.url}/notice"
        shut = await knowledge(store, tmp_path, url, web=WebSpec()).refresh()
        assert shut.skipped and not shut.added and not site.seen
        known = knowledge(store, tmp_path, url, web=open_to)
        assert (await known.refresh()).added == (url,)
        (found,) = await known.search("when is the lock closed")
        assert found["source"] == f"{url}:par1-2" and "no()" not in found["text"]
        await _page_goes(site, known, url)


async def _page_goes(site: Site, known: Knowledge, url: str) -> None:
    site.pages["/notice"] = Page(b"", 503)
    done = await known.refresh()
    assert not done.removed and "503" in done.skipped[0].why
    site.pages["/notice"] = Page(b"", 410)
    assert (await known.refresh()).removed == (url,)


def test_an_entry_is_a_path_or_a_web_address(tmp_path: Path) -> None:
    (tmp_path / "crews").mkdir()
    (tmp_path / "crews" / "harbour.yaml").write_text(
        "crew: harbour\nknowledge: [docs, 'ftp://x/y']\n"
        "agents: {a: {role: r, goal: g, backstory: b}}\ntasks: {t: {agent: a, description: d, expected_output: e}}\n"
    )
    with pytest.raises(SpecError, match=r"knowledge\.1: write a folder"):
        load_crew("harbour", Workspace(tmp_path))
