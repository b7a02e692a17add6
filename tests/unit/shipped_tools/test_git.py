"""The git tools on real repositories, hostile ones too."""

from __future__ import annotations

import subprocess
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from quarterdeck.errors import ToolError
from quarterdeck.tools.loading import Toolbox
from quarterdeck.tools.tool import RootFolder, ToolContext

ROOT = Path(__file__).parents[3]
TOOLS = Toolbox.load([ROOT / "tools"], display_root=ROOT)
CALLS = count()


class Desk:
    """Calls git tools as a run with the root `code`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def context(self, path: str) -> ToolContext:
        roots = {"code": RootFolder(self.folder, write=True)}
        return ToolContext("r1", f"r1:{path}", {}, self.folder.parent / "r1", path=path, roots=roots)

    def __call__(self, tool: str, *, at: str = "", **arguments: Any) -> Any:
        context = self.context(at or f"t/tool-{next(CALLS)}")
        return TOOLS[f"git.{tool}"].function(context=context, **{"root": "code", **arguments})

    def undo(self, tool: str, at: str, result: Any, **arguments: Any) -> Any:
        undo = TOOLS[f"git.{tool}"].manifest.undo
        assert undo is not None
        return undo({"root": "code", **arguments}, result, self.context(at))


def git(folder: Path, *arguments: str) -> str:
    command = ["git", "-c", "user.name=a", "-c", "user.email=a@b.c", *arguments]
    return subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    folder = tmp_path / "code"
    folder.mkdir()
    git(folder, "init", "-q", "-b", "main")
    (folder / "a.py").write_text("one = 1\n")
    git(folder, "add", ".")
    git(folder, "commit", "-qm", "first")
    return Desk(folder)


def test_a_change_is_seen_staged_committed_and_shown(desk: Desk) -> None:
    (desk.folder / "a.py").write_text("one = 2\n")
    assert desk("status") == {"branch": "main", "branches": ["main"], "files": [" M a.py"], "changed": 1}
    assert "+one = 2" in desk("diff") and desk("diff", staged=True) == "Nothing is changed."
    assert desk("add", paths=["a.py"])["staged"] == ["a.py"]
    made = desk("commit", message="Second\n\nBecause.", at="t/1")["commit"]
    assert git(desk.folder, "rev-parse", "HEAD").strip() == made
    assert [entry["subject"] for entry in desk("log")] == ["Second", "first"]
    assert desk("log")[0]["author"] == "Quarterdeck run r1" and len(desk("log", limit=1)) == 1
    assert "Quarterdeck-Call: r1:t/1" in desk("show") and "+one = 2" in desk("show", revision="HEAD")
    assert "-one = 2" in desk("diff", revision="HEAD~1", path="a.py") or "+one = 2" in desk("diff", revision="HEAD~1")


def test_everything_is_undone_in_reverse(desk: Desk) -> None:
    before = (
        git(desk.folder, "status", "--porcelain"),
        git(desk.folder, "show-ref"),
        git(desk.folder, "symbolic-ref", "HEAD"),
    )
    (desk.folder / "b.py").write_text("two = 2\n")
    results = [
        ("branch", "t/0", desk("branch", name="fix/two", at="t/0")),
        ("add", "t/1", desk("add", paths=["b.py"], at="t/1")),
        ("commit", "t/2", desk("commit", message="Two", at="t/2")),
    ]
    assert git(desk.folder, "symbolic-ref", "--short", "HEAD").strip() == "fix/two"
    for name, at, result in reversed(results):
        assert desk.undo(name, at, result, name="fix/two")
    (desk.folder / "b.py").unlink()
    assert before == (
        git(desk.folder, "status", "--porcelain"),
        git(desk.folder, "show-ref"),
        git(desk.folder, "symbolic-ref", "HEAD"),
    )


def test_a_commit_is_made_once_and_taken_back_only_while_it_is_the_last(desk: Desk) -> None:
    (desk.folder / "a.py").write_text("one = 2\n")
    desk("add", paths=["a.py"])
    made = desk("commit", message="Second", at="t/1")
    assert desk("commit", message="Second", at="t/1") == made
    git(desk.folder, "commit", "-q", "--allow-empty", "-m", "a person's")
    with pytest.raises(ToolError, match="not the last commit"):
        desk.undo("commit", "t/1", made)
    git(desk.folder, "reset", "-q", "--soft", "HEAD~1")
    assert desk.undo("commit", "t/1", None) == "taken back"  # also when its result was never recorded
    assert git(desk.folder, "log", "--format=%s").split() == ["first"]


def test_the_first_commit_of_a_repository_can_be_taken_back(tmp_path: Path) -> None:
    (tmp_path / "code").mkdir()
    git(tmp_path / "code", "init", "-q")
    (tmp_path / "code" / "a").touch()
    desk = Desk(tmp_path / "code")
    staged = desk("add", paths=["."], at="t/1")
    made = desk("commit", message="x", at="t/2")
    desk.undo("commit", "t/2", made)
    desk.undo("add", "t/1", staged)
    assert git(desk.folder, "status", "--porcelain").strip() == "?? a"


def test_a_call_made_again_after_a_crash_keeps_its_way_back(desk: Desk) -> None:
    (desk.folder / "b.py").touch()
    for _ in range(2):
        staged = desk("add", paths=["b.py"], at="t/1")
        desk("branch", name="two", at="t/2")
    with pytest.raises(ToolError, match="branch two already"):
        desk("branch", name="two", at="t/3")
    assert TOOLS["git.branch"].manifest.undo is not None
    undo = TOOLS["git.branch"].manifest.undo
    assert undo({"root": "code", "name": "two"}, "failed", desk.context("t/3")) == ""
    assert undo({"root": "code", "name": "two"}, None, desk.context("t/2")) == "removed"
    assert desk.undo("add", "t/1", staged) == "unstaged"
    assert desk("status") == {"branch": "main", "branches": ["main"], "files": ["?? b.py"], "changed": 1}


@pytest.mark.parametrize(
    "revision",
    [
        "--output=ran",
        "-p",
        "--ext-diff",
        "HEAD --",
        "HEAD\n--all",
        "a..b",
        "HEAD:a.py",
        ":/first",
        "@{-1}",
        "--",
        "$(touch ran)",
        "`x`",
        "HEAD;ls",
    ],
)
def test_no_option_comes_from_a_model(desk: Desk, revision: str) -> None:
    for name in ("diff", "log", "show"):
        with pytest.raises(ToolError):
            desk(name, revision=revision)
    assert sorted(path.name for path in desk.folder.iterdir()) == [".git", "a.py"]


@pytest.mark.parametrize(
    "path", ["../x", "/etc/passwd", ".git/config", ":(top)a.py/../..", "--force", "a\0b", ".GIT/hooks/x"]
)
def test_no_path_leaves_the_repository(desk: Desk, path: str) -> None:
    (desk.folder.parent / "x").write_text("outside")
    with pytest.raises(ToolError):
        desk("add", paths=[path])
    assert git(desk.folder, "diff", "--cached", "--name-only") == ""


@pytest.mark.parametrize(
    "key",
    [
        "core.fsmonitor",
        "core.hooksPath",
        "core.pager",
        "core.editor",
        "core.sshCommand",
        "core.worktree",
        "core.attributesFile",
        "diff.external",
        "diff.x.textconv",
        "diff.x.command",
        "filter.x.clean",
        "filter.x.process",
        "merge.x.driver",
        "gpg.program",
        "commit.gpgSign",
        "log.showSignature",
        "alias.status",
        "include.path",
        "includeIf.gitdir:/.path",
        "credential.helper",
        "extensions.partialClone",
        "extensions.worktreeConfig",
        "uploadpack.packObjectsHook",
        "sequence.editor",
        "submodule.x.update",
    ],
)
def test_a_repository_that_configures_programs_is_refused(desk: Desk, key: str) -> None:
    ran = desk.folder / "ran"
    with (desk.folder / ".git" / "config").open("a") as config:
        section, _, rest = key.partition(".")
        name, dot, last = rest.rpartition(".")
        config.write(f'[{section}{f" {chr(34)}{name}{chr(34)}" if dot else ""}]\n\t{last} = "touch {ran}"\n')
    (desk.folder / ".gitattributes").write_text("* filter=x diff=x merge=x\n")
    (desk.folder / "a.py").write_text("changed\n")
    for name, more in (
        ("status", {}),
        ("diff", {}),
        ("add", {"paths": ["a.py"]}),
        ("commit", {"message": "m"}),
        ("show", {}),
    ):
        with pytest.raises(ToolError, match=r"do not trust|failed"):
            desk(name, **more)
    assert not ran.exists()


def test_hooks_are_not_run(desk: Desk) -> None:
    ran = desk.folder.parent / "ran"
    hooks = desk.folder / ".git" / "hooks"
    hooks.mkdir(exist_ok=True)
    for name in (
        "pre-commit",
        "commit-msg",
        "prepare-commit-msg",
        "post-commit",
        "reference-transaction",
        "post-index-change",
    ):
        (hooks / name).write_text(f"#!/bin/sh\ntouch {ran}\n")
        (hooks / name).chmod(0o755)
    (desk.folder / "a.py").write_text("changed\n")
    staged = desk("add", paths=["a.py"], at="t/1")
    made = desk("commit", message="m", at="t/2")
    desk.undo("commit", "t/2", made)
    desk.undo("add", "t/1", staged)
    assert not ran.exists()


def test_a_repository_that_stands_elsewhere_is_refused(desk: Desk, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "inner").mkdir()
    for make in (
        lambda: (other / ".git").symlink_to(desk.folder / ".git"),
        lambda: (other / ".git").write_text(f"gitdir: {desk.folder / '.git'}\n"),
        lambda: git(desk.folder, "worktree", "add", "-q", str(other / "tree")),
    ):
        make()
        for folder in ("", "inner", "tree"):
            with pytest.raises(ToolError):
                Desk(other)("status", folder=folder)
        (other / ".git").unlink(missing_ok=True)
    (desk.folder / ".git" / "objects" / "info" / "alternates").write_text("/elsewhere/objects\n")
    with pytest.raises(ToolError, match="takes objects from another"):
        desk("status")


def test_a_repository_around_the_root_is_not_used(desk: Desk) -> None:
    (desk.folder / "inner").mkdir()
    with pytest.raises(ToolError, match="no git repository"):
        Desk(desk.folder / "inner")("status")
