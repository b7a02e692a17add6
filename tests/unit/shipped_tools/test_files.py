"""The files tools: what they read and change, each change once and with a way back."""

from __future__ import annotations

import os
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from tests.unit.tools.escapes import ESCAPES, HARMLESS

from quarterdeck.errors import ToolError
from quarterdeck.tools import searching
from quarterdeck.tools.loading import Toolbox
from quarterdeck.tools.tool import RootFolder, ToolContext

ROOT = Path(__file__).parents[3]
TOOLS = Toolbox.load([ROOT / "tools"], display_root=ROOT)
CALLS = count()


class Desk:
    """Calls tools as a run with the roots `docs` (may be written) and `fixed` (may not)."""

    def __init__(self, base: Path) -> None:
        self.docs = base / "docs"
        self.docs.mkdir()
        self.base = base

    def context(self, path: str) -> ToolContext:
        roots = {"docs": RootFolder(self.docs, write=True), "fixed": RootFolder(self.docs)}
        return ToolContext("r1", f"r1:{path}", {}, self.base / "runs" / "r1", path=path, roots=roots)

    def __call__(self, tool: str, *, at: str = "", **arguments: Any) -> Any:
        context = self.context(at or f"t/tool-{next(CALLS)}")
        return TOOLS[f"files.{tool}"].function(context=context, **{"root": "docs", **arguments})

    def undo(self, name: str, at: str, result: Any) -> Any:
        undo = TOOLS[f"files.{name}"].manifest.undo
        assert undo is not None
        return undo({}, result, self.context(at))


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def test_every_tool_declares_effect_owner_sinks_and_the_way_back() -> None:
    for name in (name for name in TOOLS if name.startswith(("files.", "git.", "calculator.", "clock.", "output."))):
        manifest = TOOLS[name].manifest
        assert manifest.effect in ("read", "write") and manifest.owner and manifest.sinks is not None, name
        assert (manifest.undo is not None) == (manifest.effect == "write"), name


def test_a_file_is_written_read_edited_appended_to_and_listed(desk: Desk) -> None:
    assert desk("write", path="notes/a.md", content="one\ntwo\nthree\n")["bytes"] == 14
    assert desk("read", path="notes/a.md") == {
        "path": "notes/a.md", "first": 1, "last": 3, "lines": 3, "text": "one\ntwo\nthree\n",
    }  # fmt: skip
    assert desk("read", path="notes/a.md", first=2, last=2)["text"] == "two\n"
    desk("edit", path="notes/a.md", old="two", new="zwei")
    desk("append", path="notes/a.md", content="four\n")
    assert (desk.docs / "notes" / "a.md").read_text() == "one\nzwei\nthree\nfour\n"
    assert desk("list", path="notes") == [{"name": "a.md", "kind": "file", "bytes": 20}]
    assert desk("list") == [{"name": "notes", "kind": "folder", "bytes": 0}]


@pytest.mark.parametrize(("old", "what"), [("x", "stands 2 times"), ("y", "does not stand")])
def test_an_edit_must_match_once(desk: Desk, old: str, what: str) -> None:
    desk("write", path="a", content="x x")
    with pytest.raises(ToolError, match=what):
        desk("edit", path="a", old=old, new="z")
    assert (desk.docs / "a").read_text() == "x x"


def test_deleting_shows_first_and_can_be_undone(desk: Desk) -> None:
    (desk.docs / "a").write_bytes(b"\x00\xff")
    shown = desk("delete", path="a", at="t/1")
    assert "Nothing was deleted" in shown["preview"] and (desk.docs / "a").exists()
    assert desk.undo("delete", "t/1", shown) == ""
    gone = desk("delete", path="a", preview=False, at="t/2")
    assert not (desk.docs / "a").exists()
    assert desk.undo("delete", "t/2", gone) == "restored"
    assert (desk.docs / "a").read_bytes() == b"\x00\xff"
    with pytest.raises(ToolError, match="no file b"):
        desk("delete", path="b", preview=False)


def test_an_edit_made_again_after_a_crash_is_made_once(desk: Desk) -> None:
    (desk.docs / "a").write_text("x")
    for _ in range(2):
        assert desk("edit", path="a", old="x", new="xx", at="t/1")["bytes"] == 2
    verify = TOOLS["files.edit"].manifest.verify
    assert verify is not None and verify({}, None, desk.context("t/1"))
    (desk.docs / "a").write_text("other")
    assert not verify({}, None, desk.context("t/1"))


def test_only_declared_roots_are_open_and_only_those_for_writing_are_written(desk: Desk) -> None:
    (desk.docs / "a").write_text("x")
    assert desk("read", path="a", root="fixed")["text"] == "x"
    for name, more in (("write", {"content": ""}), ("append", {"content": ""}), ("delete", {"preview": False})):
        with pytest.raises(ToolError, match="read only"):
            desk(name, path="a", root="fixed", **more)
    with pytest.raises(ToolError, match="no root"):
        desk("read", path="a", root="..")
    assert desk("list", root="run") == []


def test_no_tool_lets_an_escape_through(desk: Desk) -> None:
    (desk.base / "secret").write_text("the secret outside")
    (desk.docs / "link").symlink_to("../secret")
    (desk.docs / "linkdir").symlink_to("..")
    through = []
    for path in ESCAPES:
        for name, more in (
            ("read", {}), ("list", {}), ("search", {"words": "the"}), ("delete", {"preview": False}),
            ("append", {"content": "x"}), ("edit", {"old": "the", "new": "x"}),
        ):  # fmt: skip
            if name in ("delete", "append", "edit") and path not in HARMLESS:
                continue
            try:
                result = desk(name, path=path, **more)
            except ToolError:
                continue
            through.append((name, path, result))
    assert through == []
    assert (desk.base / "secret").read_text() == "the secret outside"


def test_long_and_binary_files_are_told(desk: Desk) -> None:
    (desk.docs / "long").write_text("".join(f"{number}\n" for number in range(1000)))
    shown = desk("read", path="long", first=100)
    assert (shown["first"], shown["last"], shown["lines"]) == (100, 499, 1000)
    with pytest.raises(ToolError, match="has 1000 lines"):
        desk("read", path="long", first=1001)
    (desk.docs / "wide").write_text("w" * 20_000)
    assert "[cut: 8,000 more characters]" in desk("read", path="wide")["text"]
    (desk.docs / "binary").write_bytes(b"\x00\x01")
    (desk.docs / "latin").write_bytes(b"\xe9t\xe9")
    for name in ("binary", "latin"):
        with pytest.raises(ToolError, match="no text"):
            desk("read", path=name)


def test_search_finds_words_and_patterns_and_skips_what_is_no_text(desk: Desk) -> None:
    (desk.docs / "sub").mkdir()
    (desk.docs / "a.md").write_text("Berth 4 (north)\nnothing\n")
    (desk.docs / "sub" / "b.md").write_text("berth 12\n")
    (desk.docs / "c.bin").write_bytes(b"\x00berth")
    os.mkfifo(desk.docs / "pipe")
    assert [hit["file"] for hit in desk("search", words="BERTH")["found"]] == ["a.md", "sub/b.md"]
    assert desk("search", words="4 (north)")["found"] == [{"file": "a.md", "line": 1, "text": "Berth 4 (north)"}]
    assert [hit["line"] for hit in desk("search", words=r"berth \d{2}", pattern=True, path="sub")["found"]] == [1]
    with pytest.raises(ToolError, match="no regular expression"):
        desk("search", words="(", pattern=True)


def test_search_is_bounded_in_time_and_hits(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(searching, "SECONDS", 0.05)
    (desk.docs / "a").write_text("a" * 5_000 + "!")
    with pytest.raises(ToolError, match="takes too long at a:1"):
        desk("search", words=r"(a|aa|a+)+(b|c)+$", pattern=True)
    for recursive in ("(?R)?a(?R)", "(a)(?1)", "(?P<x>a(?&x)?)z"):
        with pytest.raises(ToolError, match="calls itself"):
            desk("search", words=recursive, pattern=True)
    monkeypatch.setattr(searching, "SECONDS", 10.0)
    (desk.docs / "b").write_text("hit\n" * 300)
    found = desk("search", words="hit")
    assert len(found["found"]) == searching.MAX_HITS and "rarer" in found["note"]
    monkeypatch.setattr(searching, "MAX_FILES", 1)
    assert "Only the first 1 files" in desk("search", words="nowhere")["note"]
