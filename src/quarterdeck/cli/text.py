"""Text for people: cleaned of what a terminal would obey, shortened, and figures in words."""

from __future__ import annotations

import json
import re
from decimal import Decimal
from typing import Any

# C0 and C1 controls but tab and line feed, delete, and the marks that reorder what stands beside them.
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


def clean(text: str) -> str:
    """Return text that a terminal can only show: control characters and escape sequences cannot act."""
    return _CONTROL.sub("", text.replace("\r\n", "\n"))


def one_line(text: str, width: int = 0) -> str:
    """Return text on one line, cut at so many characters (0: not cut)."""
    line = " ".join(clean(text).split())
    return line if not width or len(line) <= width else line[: max(0, width - 3)].rstrip() + "..."


def compact(value: Any, width: int = 0) -> str:
    """Return data on one line: text as it is, all else as JSON."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return one_line(text, width)


def call_text(tool: str, arguments: dict[str, Any] | None, width: int = 0) -> str:
    """Return a tool call as it would be written in Python."""
    inside = ", ".join(f"{name}={json.dumps(value, ensure_ascii=False)}" for name, value in (arguments or {}).items())
    return one_line(f"{tool}({inside})", width)


def duration(seconds: float) -> str:
    """Return a duration in words: `0.4 s`, `41 s`, `1 min 38 s`, `2 h 5 min`."""
    if seconds < 0.95:
        return f"{max(seconds, 0):.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s" if whole % 60 else f"{whole // 60} min"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def tokens(count: int) -> str:
    """Return a count of tokens: `0.6k tokens`."""
    return f"{count / 1000:.1f}k tokens"


def money(usd: Decimal | float | None) -> str:
    """Return a cost; below a cent its first two digits, wherever they stand."""
    if usd is None:
        return "cost unknown"
    if not 0 < usd < Decimal("0.01"):
        return f"${usd:.2f}"
    return f"${usd:.{1 - Decimal(str(usd)).adjusted()}f}".rstrip("0")


def exact(usd: Decimal | None) -> str:
    """Return money with all its digits, two at least: `$0.0000391`, or `unknown`."""
    if usd is None:
        return "unknown"
    text = format(usd.normalize(), "f")
    whole, _, rest = text.partition(".")
    sign = "-" if whole.startswith("-") else ""
    return f"{sign}${int(whole.lstrip('-')):,}.{rest.ljust(2, '0')}"


def count(number: int, noun: str, plural: str = "") -> str:
    """Return a number with its noun: `1 model call`, `3 crews`."""
    return f"{number} {noun}" if number == 1 else f"{number} {plural or noun + 's'}"


def size(number: int) -> str:
    """Return a size in bytes: `1.1 GB`, `491 MB`."""
    return f"{number / 1e9:.1f} GB" if number >= 1e9 else f"{number / 1e6:.0f} MB"
