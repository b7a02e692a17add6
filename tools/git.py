"""Git, without its network and without anything that a repository could have configured to run."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

from pydantic import Field

from quarterdeck.errors import ToolError
from quarterdeck.tools.backups import OWN, noted, root_of
from quarterdeck.tools.gitrun import Repository, repository
from quarterdeck.tools.manifest import tool
from quarterdeck.tools.names import parts_of
from quarterdeck.tools.tool import ToolContext

__all__ = ["add", "branch", "commit", "diff", "log", "show", "status"]

OWNER = "the operator who opened the root"
SINKS = {"root": "path", "folder": "path"}
MAX_CHARACTERS = 12_000
CALL = "Quarterdeck-Call"
"""The trailer of a commit's message that says which call made it."""
_REVISION = re.compile(r"[0-9A-Za-z][0-9A-Za-z._/~^-]{0,199}")
_QUIET = ("--no-ext-diff", "--no-textconv", "--no-color", "--ignore-submodules=all")

Where = Annotated[str, Field(max_length=64, description="The root: `run` is the run's own folder.")]
Folder = Annotated[str, Field(max_length=1024, description="The repository's folder below the root.")]
Revision = Annotated[str, Field(max_length=200, description="A commit, branch or tag, such as HEAD~1.")]
Path = Annotated[str, Field(max_length=1024, description="Only this file or folder of the repository.")]


@tool(effect="read", owner=OWNER, sinks={})
def status(context: ToolContext, root: Where = OWN, folder: Folder = "") -> dict[str, Any]:
    """Show the branch, the branches there are, and which files are changed, staged or not tracked. Use it first.

    Args:
        context: The run that asks; filled in by the engine.
        root: In which root.
        folder: The repository; empty for the root itself.

    Returns:
        `branch`, `branches`, `files`, and how many are `changed`.
    """
    with _opened(context, root, folder) as git:
        lines = git.git("status", "--porcelain=v1", "--branch", "--ignore-submodules=all").splitlines()
        branches = git.git("for-each-ref", "--count=100", "--format=%(refname:short)", "refs/heads").splitlines()
    files = lines[1:]
    return {"branch": lines[0].removeprefix("## "), "branches": branches, "files": files[:200], "changed": len(files)}


@tool(effect="read", owner=OWNER, sinks={})
def diff(
    context: ToolContext,
    revision: Revision = "",
    staged: bool = False,
    path: Path = "",
    root: Where = OWN,
    folder: Folder = "",
) -> str:
    """Show what is changed in the working tree before you commit it.

    Args:
        context: The run that asks; filled in by the engine.
        revision: Compare with this commit in place of what is staged.
        staged: Show what is staged for the next commit.
        path: Only this file or folder.
        root: In which root.
        folder: The repository; empty for the root itself.

    Returns:
        The differences, or that there are none.
    """
    with _opened(context, root, folder) as git:
        which = ["--cached"] if staged else []
        shown = git.git("diff", *_QUIET, *which, "--end-of-options", *_revisions(revision), "--", *_paths(path))
    return _short(shown) or "Nothing is changed."


@tool(effect="read", owner=OWNER, sinks={})
def log(
    context: ToolContext,
    revision: Revision = "HEAD",
    limit: Annotated[int, Field(ge=1, le=100)] = 20,
    path: Path = "",
    root: Where = OWN,
    folder: Folder = "",
) -> list[dict[str, str]]:
    """List commits, newest first. Use it to find one.

    Args:
        context: The run that asks; filled in by the engine.
        revision: From which commit on.
        limit: At most so many.
        path: Only those that changed this file or folder.
        root: In which root.
        folder: The repository; empty for the root itself.

    Returns:
        A list of `{commit, author, date, subject}`.
    """
    with _opened(context, root, folder) as git:
        form = "--format=%h%x1f%an%x1f%aI%x1f%s"
        lines = git.git("log", form, f"-n{limit}", "--no-color", "--end-of-options", *_revisions(revision), "--",
                        *_paths(path))  # fmt: skip
    return [dict(zip(("commit", "author", "date", "subject"), line.split("\x1f"), strict=False))
            for line in lines.splitlines()]  # fmt: skip


@tool(effect="read", owner=OWNER, sinks={})
def show(
    context: ToolContext, revision: Revision = "HEAD", path: Path = "", root: Where = OWN, folder: Folder = ""
) -> str:
    """Show a commit: its message and what it changed. Use it to learn why.

    Args:
        context: The run that asks; filled in by the engine.
        revision: Which commit.
        path: Only this file or folder.
        root: In which root.
        folder: The repository; empty for the root itself.

    Returns:
        The commit, cut where it is long.
    """
    with _opened(context, root, folder) as git:
        shown = git.git("show", *_QUIET, "--no-show-signature", "--format=medium", "--end-of-options",
                        *_revisions(revision), "--", *_paths(path))  # fmt: skip
    return _short(shown)


def _undo_branch(arguments: dict[str, Any], result: Any, context: ToolContext) -> str:
    commit, _, before = noted(context).partition(" ")
    if not commit:
        return ""
    name = f"refs/heads/{arguments['name']}"
    with _opened(context, arguments.get("root", OWN), arguments.get("folder", "")) as git:
        if _commit_of(git, name) not in ("", commit):
            raise ToolError(f"the branch {arguments['name']} has new commits")
        if git.git("symbolic-ref", "--quiet", "HEAD", allowed=(0, 1)).strip() == name:
            git.git("symbolic-ref", "HEAD", before)
        git.git("update-ref", "-d", name, commit)
    return "removed"


@tool(effect="write", owner=OWNER, sinks=SINKS, idempotent=True, undo=_undo_branch)
def branch(
    context: ToolContext,
    name: Annotated[str, Field(max_length=100, pattern=r"^[A-Za-z0-9][A-Za-z0-9._/-]*$")],
    root: Where = OWN,
    folder: Folder = "",
) -> dict[str, str]:
    """Begin a branch at the present commit and switch to it. Files stay as they are.

    Args:
        context: The run that asks; filled in by the engine.
        name: Of the new branch.
        root: In which root.
        folder: The repository; empty for the root itself.

    Returns:
        `branch` and what was checked out before.
    """
    with _opened(context, root, folder) as git:
        git.git("check-ref-format", f"refs/heads/{name}")
        begun = noted(context)  # by an earlier process, which died
        there = _commit_of(git, f"refs/heads/{name}")
        if there and not begun:
            raise ToolError(f"There is a branch {name} already.")
        before = git.git("symbolic-ref", "--quiet", "HEAD", allowed=(0, 1)).strip()
        if not before:
            raise ToolError("No branch is checked out (a detached HEAD); a person has to switch to one first.")
        commit = noted(context, lambda: f"{_commit_of(git, 'HEAD')} {before}").partition(" ")[0]
        if not there:
            git.git("update-ref", f"refs/heads/{name}", commit, "0" * len(commit))  # fails where there is one
        git.git("symbolic-ref", "HEAD", f"refs/heads/{name}")
    return {"branch": name}


def _undo_add(arguments: dict[str, Any], result: Any, context: ToolContext) -> str:
    before = noted(context)
    if not before:
        return ""
    with _opened(context, arguments.get("root", OWN), arguments.get("folder", "")) as git:
        present = git.git("write-tree").strip()
        left = result.get("after") if isinstance(result, dict) else ""
        if present not in (before, left) and not context.force:
            raise ToolError("something else was staged since" if left else "nobody knows what it has staged")
        git.git("read-tree", before)
    return "unstaged"


@tool(effect="write", owner=OWNER, sinks=SINKS, idempotent=True, undo=_undo_add, projection=("staged",))
def add(
    context: ToolContext,
    paths: Annotated[list[Annotated[str, Field(max_length=1024)]], Field(min_length=1, max_length=100)],
    root: Where = OWN,
    folder: Folder = "",
) -> dict[str, Any]:
    """Stage files for the next commit before you make it.

    Args:
        context: The run that asks; filled in by the engine.
        paths: The files or folders, below the repository.
        root: In which root.
        folder: The repository; empty for the root itself.

    Returns:
        `staged`, the files that the next commit will hold.
    """
    with _opened(context, root, folder) as git:
        before = noted(context, lambda: git.git("write-tree").strip())
        git.git("add", "--", *("/".join(parts_of(path)) or "." for path in paths))
        after = git.git("write-tree").strip()
        staged = git.git("diff", *_QUIET, "--cached", "--name-only", "-z").split("\0")
    return {"staged": [name for name in staged if name][:200], "before": before, "after": after}


def _undo_commit(arguments: dict[str, Any], result: Any, context: ToolContext) -> str:
    with _opened(context, arguments.get("root", OWN), arguments.get("folder", "")) as git:
        made = _made_by(git, context) or (result["commit"] if isinstance(result, dict) else "")
        if not made:
            return ""
        head = _commit_of(git, "HEAD")
        if head != made:
            raise ToolError("it is not the last commit any more")
        parent = _commit_of(git, f"{made}^")
        # succeeds only if the branch still stands at this commit; the index and the files stay as they are
        git.git("update-ref", *(("HEAD", parent, made) if parent else ("-d", "HEAD", made)))
    return "taken back"


@tool(effect="write", owner=OWNER, sinks=SINKS, idempotent=True, undo=_undo_commit)
def commit(
    context: ToolContext,
    message: Annotated[str, Field(min_length=1, max_length=5000)],
    root: Where = OWN,
    folder: Folder = "",
) -> dict[str, str]:
    """Commit what is staged. Nothing is pushed.

    Args:
        context: The run that asks; filled in by the engine.
        message: What was done and why; the first line is the subject.
        root: In which root.
        folder: The repository; empty for the root itself.

    Returns:
        `commit`, its id.
    """
    if not message.strip() or "\0" in message:
        raise ToolError("A commit needs a message in plain text.")
    with _opened(context, root, folder) as git:
        if made := _made_by(git, context):
            return {"commit": made}  # an earlier process made it and died before it was recorded
        text = f"{message.strip()}\n\n{CALL}: {context.idempotency_key}\n"
        git.git("commit", "--quiet", "--no-verify", "--no-gpg-sign", "--cleanup=verbatim", "-F", "-", given=text)
        return {"commit": git.git("rev-parse", "HEAD").strip()}


def _commit_of(git: Repository, revision: str) -> str:
    """Return the commit that a revision stands for, or nothing."""
    return git.git("rev-parse", "--verify", "--quiet", revision, allowed=(0, 1)).strip()


def _made_by(git: Repository, context: ToolContext) -> str:
    """Return the last commit if this very call has made it."""
    if not _commit_of(git, "HEAD"):
        return ""
    commit, _, body = git.git("log", "-n1", "--format=%H%n%B", "HEAD", "--").partition("\n")
    last = body.strip().rpartition("\n")[2]
    return commit if last == f"{CALL}: {context.idempotency_key}" else ""


@contextmanager
def _opened(context: ToolContext, root: str, folder: str) -> Iterator[Repository]:
    with root_of(context, root) as opened, repository(opened, folder, context.run_id) as git:
        yield git


def _revisions(revision: str) -> list[str]:
    if not revision:
        return []
    if not _REVISION.fullmatch(revision) or ".." in revision:
        raise ToolError(f'"{revision[:60]}" is no commit, branch or tag; write one such as HEAD~1 or main.')
    return [revision]


def _paths(path: str) -> list[str]:
    return ["/".join(parts_of(path))] if path else []


def _short(text: str) -> str:
    if len(text) <= MAX_CHARACTERS:
        return text
    return f"{text[:MAX_CHARACTERS]}\n[cut: {len(text) - MAX_CHARACTERS:,} more characters; ask for one path]"
