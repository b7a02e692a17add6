"""Tools that read code under review: what changed in a git checkout, or the files of a folder."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path
from typing import Any

from quarterdeck.errors import ToolError
from quarterdeck.tools.confined import Root
from quarterdeck.tools.gitrun import Repository, repository
from quarterdeck.tools.manifest import tool
from quarterdeck.tools.tool import ToolContext

__all__ = ["changes", "read"]

MAX_FILES = 40
MAX_CHARACTERS = 6_000
MAX_FILE_BYTES = 400_000
CODE = frozenset(
    ".py .js .ts .tsx .jsx .go .rs .java .kt .c .h .cc .cpp .hpp .cs .rb .php .swift .scala .sh .sql .css .html".split()
)
HUNK = re.compile(r"^@@ -\d+(?:,\d+)? \+(\d+)")


@tool(effect="read", owner="quarterdeck", sinks={})
def changes(context: ToolContext) -> list[dict[str, Any]]:
    """Show the code under review, each line with its number: the changes of a git checkout, else the files.

    In a git checkout these are the changes that are not committed, or those of the last commit if there are none. A
    checkout that the git tools do not trust is shown as files.

    Returns:
        A list of `{file, lines}`, bounded in size.
    """
    folder = Path(context.inputs["code"])
    with contextlib.ExitStack() as held:
        try:
            root = held.enter_context(Root.open(folder.resolve(), "code"))
            git = held.enter_context(repository(root, ""))
        except ToolError:
            shown = _whole(folder)
        else:
            shown = _changed(git)
    if not shown:
        raise ToolError(f"There is no code to review in {folder.name}.")
    return _bounded(shown)


@tool(effect="read", owner="quarterdeck", sinks={})
def read(file: str, first: int, last: int, context: ToolContext) -> str:
    """Read some lines of one file under review, with their numbers. Use it to see more than the changes.

    Args:
        file: The file's path, as `code.changes` shows it.
        first: The first line, counted from 1.
        last: The last line; at most 200 lines are read.

    Returns:
        The lines, each with its number.
    """
    folder = Path(context.inputs["code"]).resolve()
    path = (folder / file).resolve()
    if not path.is_relative_to(folder) or not path.is_file():
        raise ToolError(f"There is no file {file} in the code under review.")
    lines = _text(path).splitlines()
    first = max(1, first)
    return _numbered(lines[first - 1 : min(last, first + 199)], first)


def _changed(git: Repository) -> dict[str, str]:
    diff = _diff(git, "HEAD") or _diff(git, "HEAD~1", "HEAD")
    shown: dict[str, list[str]] = {}
    file, number = "", 0
    for line in diff.splitlines():
        if line.startswith("+++ "):
            file = line[6:] if line.startswith("+++ b/") else ""
        elif match := HUNK.match(line):
            number = int(match.group(1))
        elif file and line[:1] in ("+", " "):
            shown.setdefault(file, []).append(f"{number}{line[0]} {line[1:]}")
            number += 1
    return {file: "\n".join(lines) for file, lines in shown.items()}


def _diff(git: Repository, *commits: str) -> str:
    shown = ("--no-ext-diff", "--no-textconv", "--no-color", "--ignore-submodules=all")
    return git.git("diff", *shown, *commits, "--", allowed=(0, 128))  # 128: there is no such commit


def _whole(folder: Path) -> dict[str, str]:
    files = [
        path
        for path in sorted(folder.rglob("*"))
        if path.suffix in CODE and path.is_file() and not path.is_symlink()
        and not any(part.startswith(".") or part in ("node_modules", "__pycache__") for part in path.parts)
    ]  # fmt: skip
    return {str(path.relative_to(folder)): _numbered(_text(path).splitlines(), 1) for path in files[:MAX_FILES]}


def _text(path: Path) -> str:
    with path.open("rb") as file:
        return file.read(MAX_FILE_BYTES).decode(errors="replace")


def _numbered(lines: list[str], first: int) -> str:
    return "\n".join(f"{number}  {line}" for number, line in enumerate(lines, first))


def _bounded(shown: dict[str, str]) -> list[dict[str, Any]]:
    left = MAX_CHARACTERS
    result = []
    for file, lines in list(shown.items())[:MAX_FILES]:
        cut = lines if len(lines) <= left else lines[: max(0, left)].rpartition("\n")[0]
        left -= len(lines)
        if cut:
            result.append({"file": file, "lines": cut})
    return result
