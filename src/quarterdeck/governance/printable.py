"""Text that others wrote, such as a key of an argument, so that it can stand within a line that a person reads."""

from __future__ import annotations

import json
import re

_PLAIN = re.compile(r"[\w.@\[\]-]+")


def printable(text: str) -> str:
    """Return text in which each character that cannot be seen as itself is written as its code point.

    These are line breaks, all other control characters, marks that reorder text, and blanks of another width.

    Args:
        text: Any text.
    """
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)


def quoted(name: str) -> str:
    """Return a name or a path; in quotes, with all but ASCII escaped, where it could be taken for more than that.

    Args:
        name: Such as the key of a dict, which may be anything.
    """
    return name if _PLAIN.fullmatch(name) else json.dumps(name)
