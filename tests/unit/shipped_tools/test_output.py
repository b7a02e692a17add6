from __future__ import annotations

import os
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from quarterdeck.errors import ToolError
from quarterdeck.tools.loading import Toolbox
from quarterdeck.tools.tool import ToolContext

ROOT = Path(__file__).parents[3]
WRITE = Toolbox.load([ROOT / "tools"], display_root=ROOT)["output.write"]


CALLS = count()


def write(folder: Path, name: str, content: str = "text") -> Any:
    path = "x" if name == "report.md" and content == "new" else f"call-{next(CALLS)}"
    return WRITE.function(context=ToolContext("r1", f"r1:{path}", {}, folder, path=path), name=name, content=content)


def test_a_file_is_written_into_the_run_s_folder_and_replaced(tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "r1"
    first = write(folder, "report.md", "é")
    assert (first["name"], first["bytes"], first["before"]) == ("report.md", 2, "")
    assert write(folder, "report.md", "second")["bytes"] == 6
    assert [path.name for path in folder.iterdir() if path.is_file()] == ["report.md"]
    assert (folder / "report.md").read_text() == "second"


@pytest.mark.parametrize(
    "name",
    ["../x", "/etc/x", "a/b", "..", ".", "", ".hidden", "a\\b", "a\0b", "a\nb", "x" * 101, "-rf", "\u202etxt", "a b"],
)
def test_only_plain_names_are_taken(tmp_path: Path, name: str) -> None:
    with pytest.raises(ToolError, match="no plain file name"):
        write(tmp_path / "r1", name)
    assert list(tmp_path.iterdir()) == []


def test_a_link_is_neither_followed_nor_replaced(tmp_path: Path) -> None:
    folder, outside = tmp_path / "r1", tmp_path / "outside.md"
    folder.mkdir()
    outside.write_text("mine")
    (folder / "report.md").symlink_to(outside)
    with pytest.raises(ToolError, match="is a link"):
        write(folder, "report.md", "new")
    assert outside.read_text() == "mine" and (folder / "report.md").is_symlink()


def test_a_folder_that_is_a_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "r1").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ToolError, match="cannot be opened"):
        write(tmp_path / "r1", "report.md")
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_size_and_number_are_bounded(tmp_path: Path) -> None:
    with pytest.raises(ToolError, match="more than 1,000,000"):
        write(tmp_path, "big.txt", "é" * 600_000)
    for number in range(200):
        (tmp_path / f"f{number}").touch()
    with pytest.raises(ToolError, match="200 files already"):
        write(tmp_path, "one-more.txt")
    assert write(tmp_path, "f7")["bytes"] == 4


def test_a_failure_leaves_the_old_file_and_no_litter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, "report.md", "old")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ToolError, match="No space left"):
        write(tmp_path, "report.md", "new")
    left = [(path.name, path.read_text()) for path in tmp_path.iterdir() if path.is_file()]
    assert left == [("report.md", "old")]


def test_a_file_is_taken_back(tmp_path: Path) -> None:
    (tmp_path / "report.md").write_text("before the run")
    result = write(tmp_path, "report.md", "new")
    undo = WRITE.manifest.undo
    assert undo is not None
    assert undo({}, result, ToolContext("r1", "r1:x", {}, tmp_path, path="x")) == "restored"
    assert (tmp_path / "report.md").read_text() == "before the run"
