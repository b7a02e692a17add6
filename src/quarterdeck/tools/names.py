"""The names of files and folders that tools take; whatever could be read as another name elsewhere is refused."""

from __future__ import annotations

import re
import unicodedata

from quarterdeck.errors import ToolError

MAX_PATH_BYTES = 1024
MAX_NAME_BYTES = 200
MAX_PARTS = 16
_ENCODED = re.compile(r"%(?:25)*(?:2e|2f|5c|00|7e|c0|c1|e0)", re.IGNORECASE)
_DEVICE = re.compile(r"(?:con|prn|aux|nul|conin\$|conout\$|com[0-9]|lpt[0-9])(?:\..*)?", re.IGNORECASE)
_SPECIAL = frozenset("./\\~:")
_SLASHES = frozenset("\u2044\u2215\u2216\u29f5\u29f8\u29f9\u2571\u2572")
"""Look like slashes and are turned into them by some systems, though Unicode's normal forms leave them alone."""
_CLOSED = (".git", "git~")
"""What belongs to git: its configuration names programs to run, and may hold passwords."""
_OWN = ".quarterdeck"


def parts_of(path: str) -> tuple[str, ...]:
    """Return the components of a path below a root; none for the root itself (empty, or `.`).

    Args:
        path: Relative, with `/` between its components.

    Raises:
        ToolError: It is absolute, climbs, is too long, or has a name that could be read otherwise; says which.
    """
    if path in ("", "."):
        return ()
    try:
        size = len(path.encode())
    except UnicodeEncodeError:
        raise ToolError("The path is no valid Unicode.") from None
    if size > MAX_PATH_BYTES:
        raise ToolError(f"The path has {size:,} bytes, more than {MAX_PATH_BYTES:,}.")
    if path.startswith(("/", "\\", "~")):
        raise ToolError(f"{shown(path)} is no path below a root. Give it relative to the root: notes/report.md.")
    parts = tuple(path.removesuffix("/").split("/"))
    if len(parts) > MAX_PARTS:
        raise ToolError(f"The path has {len(parts)} parts, more than {MAX_PARTS}.")
    for part in parts:
        if why := _wrong(part):
            raise ToolError(f"{shown(path)} cannot be used: {why}.")
    return parts


def shown(path: str) -> str:
    """Return a path as a message can show it: shortened, and with whatever cannot be printed written out."""
    text = path.encode("unicode_escape").decode() if not path.isprintable() else path
    return f'"{text[:100]}"'


def _wrong(part: str) -> str:
    """Return what is wrong with one component, or nothing."""
    if part in ("", ".", ".."):
        return "it has an empty part, `.` or `..`"
    if len(part.encode()) > MAX_NAME_BYTES:
        return f"a name in it is longer than {MAX_NAME_BYTES} bytes"
    if any(mark in part for mark in "\\:"):
        return "names have no backslash and no colon"
    if part.startswith("~") or part != part.strip() or part.endswith("."):
        return "names do not begin with ~, begin or end with a space, or end with a dot"
    if any(unicodedata.category(mark)[0] == "C" or (mark.isspace() and mark != " ") for mark in part):
        return "names have no control characters, no invisible marks and no spaces but the plain one"
    if _ENCODED.search(part):
        return "names have no percent-encoded dots or slashes"
    return _otherwise_read(part)


def _otherwise_read(part: str) -> str:
    """Return why a name means something else to git, to another system or after Unicode normalisation."""
    folded = unicodedata.normalize("NFKC", part)
    look_alike = any(folded.count(mark) > part.count(mark) for mark in _SPECIAL) or not _SLASHES.isdisjoint(part)
    if look_alike or unicodedata.normalize("NFC", part) != part:
        return "it is not in Unicode's normal form, or has look-alikes of dots, slashes, colons or ~"
    lowered = folded.casefold()
    if lowered == _CLOSED[0] or lowered.startswith(_CLOSED[1]):
        return "git's own files are closed to these tools"
    if lowered.startswith(_OWN):
        return "names that begin with .quarterdeck are kept for backups"
    if _DEVICE.fullmatch(lowered):
        return "it is the name of a device on some systems"
    return ""
