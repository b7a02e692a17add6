"""Changes to files that can be taken back, and that survive being killed at any moment."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.unit.tools.test_confined import tree

from quarterdeck.errors import ToolError
from quarterdeck.tools import backups
from quarterdeck.tools.backups import backups_of, receipt, restore, transact, written
from quarterdeck.tools.tool import RootFolder, ToolContext


def context(base: Path, path: str = "t/tool-1", force: bool = False) -> ToolContext:
    roots = {"docs": RootFolder(base / "docs", write=True), "fixed": RootFolder(base / "docs")}
    return ToolContext("r1", f"r1:{path}", {}, base / "runs" / "r1", path=path, roots=roots, force=force)


def write(base: Path, name: str, content: bytes | None, path: str = "t/tool-1", root: str = "docs") -> dict[str, Any]:
    return receipt(root, transact(context(base, path), "files.write", root, name, lambda old: content))


@pytest.fixture
def base(tmp_path: Path) -> Path:
    (tmp_path / "docs" / "sub").mkdir(parents=True)
    (tmp_path / "docs" / "a.md").write_bytes(b"one\r\n\xff\x00")
    (tmp_path / "docs" / "a.md").chmod(0o640)
    (tmp_path / "docs" / "sub" / "b.md").write_bytes(b"two")
    return tmp_path


def test_everything_is_put_back_byte_by_byte_in_reverse(base: Path) -> None:
    before = tree(base / "docs")
    done = [
        (f"t/tool-{number}", write(base, name, content, f"t/tool-{number}"))
        for number, (name, content) in enumerate(
            [
                ("a.md", b"x"),
                ("a.md", b"y"),
                ("new/deep/c.md", b"z"),
                ("sub/b.md", None),
                ("a.md", None),
                ("a.md", b"again"),
            ]
        )
    ]
    assert tree(base / "docs") != before
    for path, result in reversed(done):
        assert restore({}, result, context(base, path)) == "restored"
    assert tree(base / "docs") == before


def test_a_file_that_was_changed_since_is_left_unless_forced_and_then_kept(base: Path) -> None:
    result = write(base, "a.md", b"the run's")
    (base / "docs" / "a.md").write_bytes(b"a person's")
    with pytest.raises(ToolError, match=r"a\.md was changed since"):
        restore({}, result, context(base))
    assert (base / "docs" / "a.md").read_bytes() == b"a person's"
    assert restore({}, result, context(base, force=True)) == "restored"
    assert (base / "docs" / "a.md").read_bytes() == b"one\r\n\xff\x00"
    kept = (base / "runs" / "r1" / ".quarterdeck" / "undo").glob("*.bin")
    assert b"a person's" in [file.read_bytes() for file in kept]
    assert [backup.call for backup in backups_of(base / "runs" / "r1")] == ["t/tool-1"]


def test_a_call_made_again_does_not_do_it_again_and_keeps_the_first_backup(base: Path) -> None:
    first = transact(context(base), "files.append", "docs", "a.md", lambda old: (old or b"") + b"+")
    again = transact(context(base), "files.append", "docs", "a.md", lambda old: (old or b"") + b"+")
    assert again == first
    assert (base / "docs" / "a.md").read_bytes() == b"one\r\n\xff\x00+"
    assert written({}, None, context(base))
    (base / "docs" / "a.md").write_bytes(b"other")
    assert not written({}, None, context(base))


def test_a_backup_that_is_damaged_or_another_one_is_not_used(base: Path) -> None:
    result = write(base, "a.md", b"x")
    place = base / "runs" / "r1" / ".quarterdeck" / "undo"
    with pytest.raises(ToolError, match="not the one that was recorded"):
        restore({}, result | {"before": "0" * 64}, context(base))
    next(place.glob("*.bin")).write_bytes(b"forged")
    with pytest.raises(ToolError, match="missing or damaged"):
        restore({}, result, context(base))
    for file in place.iterdir():
        file.unlink()
    with pytest.raises(ToolError, match="backup is missing"):
        restore({}, result, context(base))
    assert (base / "docs" / "a.md").read_bytes() == b"x"
    assert restore({}, {"preview": "nothing"}, context(base, "t/other")) == ""


def test_only_declared_roots_can_be_written(base: Path) -> None:
    with pytest.raises(ToolError, match=r'no root "etc"\. There are: run, docs, fixed'):
        write(base, "a.md", b"x", root="etc")
    with pytest.raises(ToolError, match="read only"):
        write(base, "a.md", b"x", root="fixed")
    assert write(base, "own.md", b"x", root="run")["root"] == "run"
    assert (base / "runs" / "r1" / "own.md").read_bytes() == b"x"


def test_the_number_and_size_of_backups_are_bounded(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backups, "MAX_TOTAL_BYTES", 1000)
    write(base, "a.md", b"x" * 900, "t/1")
    with pytest.raises(ToolError, match="no more is changed"):
        write(base, "a.md", b"y", "t/2")
    assert (base / "docs" / "a.md").read_bytes() == b"x" * 900


KILLER = """
import json, os, signal, sys
from itertools import count
from pathlib import Path
from tests.unit.tools.test_backups import context, tree
from quarterdeck.tools.backups import backups_of, restore, transact

base = Path(sys.argv[1])
A, B = b"A" * 200_000, b"B" * 200_000
(base / "docs" / "f").write_bytes(A)
begin = tree(base / "docs")

def doomed(function, left, after):
    def call(*arguments, **keywords):
        left[0] -= 1
        if left[0] == 0 and not after:
            os.kill(os.getpid(), signal.SIGKILL)
        try:
            return function(*arguments, **keywords)
        finally:
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)
    return call

seen, half, died, wrong = set(), 0, 0, 0
for number in count():
    child = os.fork()
    if child == 0:
        left = [1 + number // 2]
        for name in ("open", "fsync", "rename", "unlink", "mkdir", "fchmod"):
            setattr(os, name, doomed(getattr(os, name), left, number % 2))
        transact(context(base, f"k/{number}"), "files.write", "docs", "f", lambda old: B)
        transact(context(base, f"k/{number}n"), "files.write", "docs", "new/g", lambda old: B)
        os._exit(0)
    ended = os.waitpid(child, 0)[1]
    files = [(base / "docs" / name).read_bytes() for name in ("f", "new/g") if (base / "docs" / name).exists()]
    half += sum(content not in (A, B) for content in files)
    seen.add("".join(chr(content[0]) for content in files))
    for one in backups_of(base / "runs" / "r1"):
        if one.call == f"k/{number}n":
            restore({}, None, context(base, one.call))
    for one in backups_of(base / "runs" / "r1"):
        if one.call == f"k/{number}":
            restore({}, None, context(base, one.call))
    wrong += tree(base / "docs") != begin
    if ended == 0:
        break
    died += ended == signal.SIGKILL
print(json.dumps({"half": half, "died": died, "wrong": wrong, "states": sorted(seen)}))
"""


def test_kill_9_leaves_the_old_file_or_the_new_one_and_undo_the_old_tree(base: Path) -> None:
    """A process dies before and after each of its system calls, in two writes; then they are undone."""
    done = subprocess.run(
        [sys.executable, "-c", KILLER, str(base)],
        capture_output=True, text=True, check=True, cwd=Path(__file__).parents[3], timeout=100,
    )  # fmt: skip
    told = json.loads(done.stdout)
    assert (told["half"], told["wrong"]) == (0, 0), told
    assert told["died"] > 60 and told["states"] == ["A", "B", "BB"]
