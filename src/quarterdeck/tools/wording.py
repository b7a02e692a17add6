"""How a report's words are taken apart, compared, and shown as Markdown."""

from __future__ import annotations

import re

_MARKS = re.compile(r"\s*\[\s*F?\d{1,3}(?:\s*,\s*F?\d{1,3})*\s*\]|\s*\(\s*F\d{1,3}(?:\s*,\s*F\d{1,3})*\s*\)")


def sentences_of(text: str) -> list[str]:
    """Return the sentences of a text; a full stop within a number or before a small letter ends none."""
    return [part for part in re.split(r"(?<=[.!?])\s+(?=[A-Z\"'])", text) if part]


def place(source: str) -> str:
    """Return a source as people say it: `wind.md:12-15` is `wind.md, lines 12-15`."""
    match = re.fullmatch(r"(.*):(p(?!ar)|par)?(\d+)(-\d+)?(?:\.\d+)?", source)
    if match is None:
        return markdown(source)
    unit = {"p": "page", "par": "paragraph"}.get(match[2] or "", "line")
    return f"{markdown(match[1])}, {unit}{'s' if match[4] else ''} {match[3]}{match[4] or ''}"


def markdown(text: str) -> str:
    """Return a document's or a model's words so that Markdown shows them and does nothing else: no link, no image."""
    flat = " ".join(text.split())
    return re.sub(r"([\[\]<`]|^[#>+-])", r"\\\1", flat)


def without_marks(text: str) -> str:
    """Return a sentence without the fact names and marks that models like to write into it."""
    return " ".join(_MARKS.sub("", text).split())


def key_of(text: str) -> str:
    """Return what tells whether two texts are the same but for case, spaces and the mark at the end."""
    return " ".join(text.lower().split()).rstrip(" .?!")


def short(text: str, length: int = 80) -> str:
    """Return a text on one line, cut at so many characters."""
    text = " ".join(text.split())
    return text if len(text) <= length else f"{text[: length - 3]}..."
