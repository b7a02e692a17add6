"""`python.run` and `shell.run`, in the real sandbox."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from quarterdeck.errors import ToolError
from quarterdeck.tools import sandboxed
from quarterdeck.tools.loading import Toolbox
from quarterdeck.tools.sandbox import Limits, Sandbox, bubblewrap
from quarterdeck.tools.tool import ToolContext

ROOT = Path(__file__).parents[3]
TOOLS = Toolbox.load([ROOT / "tools"], display_root=ROOT)
pytestmark = pytest.mark.skipif(not bubblewrap() and "CI" not in os.environ, reason="no bubblewrap on this machine")


def context_in(folder: Path, path: str = "task/turn-1/tool-1") -> ToolContext:
    return ToolContext("r1", f"r1:{path}", {}, folder, path=path)


async def python(folder: Path, code: str, **more: Any) -> Any:
    return await TOOLS["python.run"].function(context=context_in(folder, **more), code=code)


async def shell(folder: Path, command: str) -> Any:
    return await TOOLS["shell.run"].function(context=context_in(folder), command=command)


async def test_what_it_prints_comes_back(tmp_path: Path) -> None:
    assert await python(tmp_path, "print(6 * 7)") == {"exit_code": 0, "stdout": "42\n", "stderr": ""}
    assert (await shell(tmp_path, "seq 3 | sort -r | tr -d '\\n'"))["stdout"] == "321"
    failed = await python(tmp_path, "import sys; sys.exit('no')")
    assert failed["exit_code"] == 1 and failed["stderr"] == "no\n"
    assert not list(tmp_path.iterdir())


async def test_its_files_are_kept_with_the_run_and_can_be_undone(tmp_path: Path) -> None:
    result = await shell(
        tmp_path, "mkdir -p d; echo 1 > d/a; echo 22 > .hidden; echo 3 > '../../x' ; echo 4 > 'b c;$(x)'"
    )
    assert result["files"] == [
        {"name": "sandbox/task.turn-1.tool-1/hidden", "bytes": 3},
        {"name": "sandbox/task.turn-1.tool-1/b_c_x_", "bytes": 2},
        {"name": "sandbox/task.turn-1.tool-1/d-a", "bytes": 2},
    ]
    assert all((tmp_path / file["name"]).stat().st_size == file["bytes"] for file in result["files"])
    again = await shell(tmp_path, "echo 1 > only")  # the same call, made again after a crash
    assert [path.name for path in (tmp_path / "sandbox" / "task.turn-1.tool-1").iterdir()] == ["only"]
    (tmp_path / "report.md").touch()
    undo = TOOLS["shell.run"].manifest.undo
    assert undo is not None and undo({"command": ""}, again, context_in(tmp_path)) is True
    assert [path.name for path in tmp_path.rglob("*")] == ["sandbox", "report.md"]


@pytest.mark.parametrize("path", ["../../etc", "/", "", "a/../..", "\0", "x" * 5000])
async def test_no_path_of_a_call_leads_out(tmp_path: Path, path: str) -> None:
    folder = tmp_path / "deep" / "run"
    await python(folder, "open('a', 'w')", path=path)
    kept = [file for file in tmp_path.rglob("a") if file.is_file()]
    assert len(kept) == 1 and kept[0].parent.parent == folder / "sandbox"


async def test_a_link_in_the_way_is_not_followed(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    folder = tmp_path / "run"
    (folder / "sandbox").mkdir(parents=True)
    (folder / "sandbox" / "task.turn-1.tool-1").symlink_to(outside)
    with pytest.raises(ToolError, match="could not be written"):
        await python(folder, "open('a', 'w')")
    assert not list(outside.iterdir())


async def test_the_deadline_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandboxed, "Sandbox", lambda: Sandbox(Limits(seconds=0.5)))
    with pytest.raises(ToolError, match=r"within 0.5 s and was killed"):
        await python(tmp_path, "while True: pass")


@pytest.mark.parametrize(("name", "sink"), [("python.run", "code"), ("shell.run", "command")])
def test_what_is_run_is_a_sink(name: str, sink: str) -> None:
    manifest = TOOLS[name].manifest
    assert manifest.effect == "write" and manifest.sinks == {sink: "command"} and not manifest.trusted
