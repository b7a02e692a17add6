"""Reading and changing text files, confined to the roots that the operator opened and the run's own folder."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from quarterdeck.errors import ToolError
from quarterdeck.tools.backups import OWN, receipt, restore, root_of, transact, written
from quarterdeck.tools.confined import Root
from quarterdeck.tools.manifest import tool
from quarterdeck.tools.searching import Finder
from quarterdeck.tools.tool import ToolContext

__all__ = ["append", "delete", "edit", "list_", "read", "search", "write"]

MAX_TEXT = 1_000_000
MAX_LISTED = 500
MAX_LINES = 400
MAX_CHARACTERS = 12_000

OWNER = "the operator who opened the root"
SINKS = {"path": "path", "root": "path"}
TOLD = ("root", "path", "bytes")
Path = Annotated[str, Field(max_length=1024, description="Below the root, such as notes/report.md.")]
Where = Annotated[str, Field(max_length=64, description="The root: `run` is the run's own folder.")]
Text = Annotated[str, Field(max_length=MAX_TEXT)]


@tool(effect="read", owner=OWNER, sinks={})
def list_(context: ToolContext, path: Path = "", root: Where = OWN) -> list[dict[str, Any]]:
    """List what stands in a folder, at most 500 entries. Use it to find a path.

    Args:
        context: The run that asks; filled in by the engine.
        path: The folder; empty for the root itself.
        root: In which root.

    Returns:
        A list of `{name, kind, bytes}`.
    """
    with root_of(context, root) as opened:
        entries = opened.entries(path)
    shown = [{"name": entry.name, "kind": entry.kind, "bytes": entry.size} for entry in entries[:MAX_LISTED]]
    if len(entries) > MAX_LISTED:
        shown.append({"name": f"... {len(entries) - MAX_LISTED} more", "kind": "", "bytes": 0})
    return shown


@tool(effect="read", owner=OWNER, sinks={})
def read(
    context: ToolContext,
    path: Path,
    first: Annotated[int, Field(ge=1)] = 1,
    last: Annotated[int, Field(ge=0)] = 0,
    root: Where = OWN,
) -> dict[str, Any]:
    """Read lines of a text file, at most 400 at once. The result says how many there are.

    Args:
        context: The run that asks; filled in by the engine.
        path: The file.
        first: The first line, counted from 1.
        last: The last line; 0 for as many as can be read at once.
        root: In which root.

    Returns:
        `text`, with the lines that it is and how many `lines` the file has.
    """
    with root_of(context, root) as opened:
        lines = _text(opened, path).splitlines(keepends=True)
    if first > max(1, len(lines)):
        raise ToolError(f"{path} has {len(lines)} lines; line {first} is not there.")
    end = min(len(lines), first + MAX_LINES - 1, last or len(lines))
    shown: list[str] = []
    room = MAX_CHARACTERS
    for line in lines[first - 1 : end]:
        if len(line) > room and shown:
            break
        shown.append(line if len(line) <= room else f"{line[:room]} [cut: {len(line) - room:,} more characters]\n")
        room -= len(shown[-1])
    text = "".join(shown)
    return {"path": path, "first": first, "last": first + len(shown) - 1, "lines": len(lines), "text": text}


@tool(effect="write", owner=OWNER, sinks=SINKS, idempotent=True, undo=restore, verify=written, projection=TOLD)
def write(context: ToolContext, path: Path, content: Text, root: Where = OWN) -> dict[str, Any]:
    """Write a text file. A file at this path is replaced, folders are made as needed.

    Args:
        context: The run that asks; filled in by the engine.
        path: The file.
        content: The whole text of the file.
        root: In which root.

    Returns:
        Where it was written, and how many bytes it has.
    """
    data = content.encode("utf-8", "replace")
    return receipt(root, transact(context, "files.write", root, path, lambda old: data), bytes=len(data))


@tool(effect="write", owner=OWNER, sinks=SINKS, idempotent=True, undo=restore, verify=written, projection=TOLD)
def append(context: ToolContext, path: Path, content: Text, root: Where = OWN) -> dict[str, Any]:
    """Add text at the end of a file if it is there.

    Args:
        context: The run that asks; filled in by the engine.
        path: The file.
        content: The text to add, as it is.
        root: In which root.

    Returns:
        Where it was written, and how many bytes the file has now.
    """

    def added(old: bytes | None) -> bytes:
        if old is None:
            raise ToolError(f"There is no file {path} in {root}. Use files.write to make one.")
        return old + content.encode("utf-8", "replace")

    change = transact(context, "files.append", root, path, added)
    return receipt(root, change, bytes=change.after.size if change.after else 0)


@tool(effect="write", owner=OWNER, sinks=SINKS, idempotent=True, undo=restore, verify=written, projection=TOLD)
def edit(
    context: ToolContext,
    path: Path,
    old: Annotated[str, Field(min_length=1, max_length=100_000)],
    new: Annotated[str, Field(max_length=100_000)],
    root: Where = OWN,
) -> dict[str, Any]:
    """Replace a piece of a text file. The piece must stand in the file exactly once.

    Args:
        context: The run that asks; filled in by the engine.
        path: The file.
        old: The piece, word for word, with enough around it to be found only once.
        new: What to put in its place.
        root: In which root.

    Returns:
        Where it was written, and how many bytes the file has now.
    """

    def replaced(content: bytes | None) -> bytes:
        if content is None:
            raise ToolError(f"There is no file {path} in {root}. See files.list.")
        text = _decoded(content, path)
        found = text.count(old)
        if found != 1:
            what = "does not stand in" if found == 0 else f"stands {found} times in"
            raise ToolError(f"The piece {what} {path}. Read the file, and give a piece that stands there exactly once.")
        return text.replace(old, new).encode("utf-8", "replace")

    change = transact(context, "files.edit", root, path, replaced)
    return receipt(root, change, bytes=change.after.size if change.after else 0)


@tool(
    effect="write", owner=OWNER, sinks=SINKS, idempotent=True, undo=restore, verify=written, dry_run="preview",
    projection=(*TOLD, "preview"),
)  # fmt: skip
def delete(context: ToolContext, path: Path, preview: bool = True, root: Where = OWN) -> dict[str, Any]:
    """Delete one file. The first call only shows what would be deleted.

    Args:
        context: The run that asks; filled in by the engine.
        path: The file.
        preview: True only says what would be deleted; call again with false to delete it.
        root: In which root.

    Returns:
        What was deleted, or would be.
    """
    if preview:
        with root_of(context, root) as opened:
            size = len(opened.read(path))
        return {"root": root, "path": path, "bytes": size, "preview": "Nothing was deleted. Call with preview=false."}

    def removed(old: bytes | None) -> None:
        if old is None:
            raise ToolError(f"There is no file {path} in {root}.")

    change = transact(context, "files.delete", root, path, removed)
    return receipt(root, change, bytes=change.before.size if change.before else 0)


@tool(effect="read", owner=OWNER, sinks={})
def search(
    context: ToolContext,
    words: Annotated[str, Field(min_length=1, max_length=200)],
    path: Path = "",
    pattern: bool = False,
    root: Where = OWN,
) -> dict[str, Any]:
    """Find the lines of text files that hold some words. At most 100 lines of 2,000 files are shown.

    Args:
        context: The run that asks; filled in by the engine.
        words: What to look for, in capitals or not; a regular expression if `pattern` is true.
        path: A folder to look below; empty for all of the root.
        pattern: Whether `words` is a regular expression.
        root: In which root.

    Returns:
        `found`, the lines with their places, and a `note` where not all was searched.
    """
    finder = Finder(words, pattern=pattern)
    with root_of(context, root) as opened:
        finder.look(opened, path)
    return {"found": finder.found, "note": finder.note}


def _text(root: Root, path: str) -> str:
    return _decoded(root.read(path), path)


def _decoded(content: bytes, path: str) -> str:
    if b"\0" in content[:8192]:
        raise ToolError(f"{path} is no text file.")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        raise ToolError(f"{path} is no text in UTF-8.") from None
