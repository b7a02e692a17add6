"""Reading code under review, and what counts as a finding."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from quarterdeck.errors import ToolError
from quarterdeck.tools.evidence import Evidence, Receipt
from quarterdeck.tools.loading import Toolbox, load_object
from quarterdeck.tools.tool import ToolContext

ROOT = Path(__file__).parents[3]
TOOLS = Toolbox.load([ROOT / "tools"], display_root=ROOT)


def load(name: str) -> Any:
    return load_object(f"tools/review.py:{name}", [ROOT / "tools"])


def call(name: str, folder: Path, **arguments: Any) -> Any:
    return TOOLS[name].function(context=ToolContext("r", "r:x", {"code": str(folder)}, Path("unused")), **arguments)


def git(folder: Path, *arguments: str) -> None:
    subprocess.run(["git", "-c", "user.name=a", "-c", "user.email=a@b.c", *arguments], cwd=folder, check=True)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    (tmp_path / "a.py").write_text("one = 1\ntwo = 2\n")
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-qm", "first")
    (tmp_path / "a.py").write_text("one = 1\ntwo = 3\n")
    return tmp_path


def test_changes_are_shown_with_their_line_numbers(checkout: Path) -> None:
    assert call("code.changes", checkout) == [{"file": "a.py", "lines": "1  one = 1\n2+ two = 3"}]


def test_a_hostile_checkout_runs_nothing(checkout: Path) -> None:
    ran = checkout / "ran"
    (checkout / ".gitattributes").write_text("*.py filter=x diff=x\n")
    for key in ("filter.x.clean", "diff.x.textconv", "diff.external", "core.fsmonitor"):
        git(checkout, "config", key, f"sh -c 'touch {ran}; cat'")
    assert call("code.changes", checkout)[0]["file"] == "a.py"
    assert not ran.exists()


def test_a_checkout_cannot_show_another_folder(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    other = tmp_path_factory.mktemp("other")
    (other / "a.py").write_text("secret = 1\n")
    git(checkout, "config", "core.worktree", str(other))
    assert call("code.changes", checkout) == [{"file": "a.py", "lines": "1  one = 1\n2  two = 3"}]


@pytest.mark.parametrize("how", ["gitdir", "link", "alternates"])
def test_a_checkout_cannot_show_another_repository(checkout: Path, tmp_path: Path, how: str) -> None:
    inside = tmp_path / "inside"
    inside.mkdir()
    (inside / "b.py").write_text("mine = 1\n")
    if how == "gitdir":
        (inside / ".git").write_text(f"gitdir: {checkout / '.git'}\n")
    elif how == "link":
        (inside / ".git").symlink_to(checkout / ".git")
    else:
        git(inside, "init", "-q")
        (inside / ".git" / "objects" / "info").mkdir(exist_ok=True)
        (inside / ".git" / "objects" / "info" / "alternates").write_text(f"{checkout / '.git' / 'objects'}\n")
    assert call("code.changes", inside) == [{"file": "b.py", "lines": "1  mine = 1"}]


def test_the_last_commit_is_shown_where_nothing_is_changed(checkout: Path) -> None:
    git(checkout, "commit", "-qam", "second")
    assert call("code.changes", checkout) == [{"file": "a.py", "lines": "1  one = 1\n2+ two = 3"}]


def test_a_folder_without_git_is_shown_whole_and_an_empty_one_refused(tmp_path: Path) -> None:
    with pytest.raises(ToolError, match="no code to review"):
        call("code.changes", tmp_path)
    (tmp_path / "b.py").write_text("x\ny\n")
    assert call("code.changes", tmp_path) == [{"file": "b.py", "lines": "1  x\n2  y"}]
    assert call("code.read", tmp_path, file="b.py", first=2, last=9) == "2  y"


@pytest.mark.parametrize("file", ["../x.py", "/etc/passwd", "link.py"])
def test_nothing_outside_the_folder_is_read(tmp_path: Path, file: str) -> None:
    inside = tmp_path / "in"
    inside.mkdir()
    (tmp_path / "x.py").write_text("secret")
    (inside / "link.py").symlink_to(tmp_path / "x.py")
    with pytest.raises(ToolError, match="no file"):
        call("code.read", inside, file=file, first=1, last=1)


def finding(line: int, file: str = "a.py", severity: str = "high") -> dict[str, Any]:
    return {"file": file, "line": line, "severity": severity, "problem": f"p{line}", "suggestion": "s"}


def test_findings_about_code_that_was_not_shown_are_dropped() -> None:
    given = Evidence(receipts=[Receipt("code.changes", {}, [{"file": "a.py", "lines": "1  one = 1\n2+ two = 3"}])])
    output = load("Findings")(findings=[finding(2), finding(7), finding(1, "b.py")])
    assert [kept.line for kept in load("findings_stand_in_the_code")(output, given).findings] == [2]
    assert "2 findings about code that was not shown" in given.notes[0]


def test_the_review_holds_what_reviewers_found_and_approves_nothing_high() -> None:
    result = {"worker": "security", "result": {"findings": [finding(2)]}}
    given = Evidence(receipts=[Receipt("delegate", {"worker": "security"}, result)])
    review = load("with_findings")(load("Review")(summary="Fine.", verdict="approve"), given)
    assert review.verdict == "change" and review.findings[0]["reviewer"] == "security"
