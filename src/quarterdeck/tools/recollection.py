"""What earlier runs found, looked up again in the documents: memory is no proof."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from quarterdeck.errors import ToolError
from quarterdeck.tools.library import Library
from quarterdeck.tools.quoting import find_quote, gives_orders, is_long_enough, paragraph_around
from quarterdeck.tools.words import content_stems

SAME_WORDS = 0.75
"""How many of the words of two questions must be the same for one to stand for the other."""


@dataclass(frozen=True, slots=True)
class Recollection:
    """A remembered quote that still stands in the document that it names.

    Attributes:
        question: What it was found for.
        since: The day on which it was remembered (UTC), such as `2026-11-21`.
    """

    question: str
    source: str
    quote: str
    heading: str
    since: str


def look_up(memories: Sequence[Mapping[str, Any]], folder: str) -> tuple[list[Recollection], int]:
    """Return the remembered facts that still stand in the documents of a folder, and how many do not.

    Args:
        memories: As `Evidence.memories` has them.
        folder: Where the documents lie.
    """
    facts = [one for one in memories if one["kind"] == "fact" and one["group"]]
    if not facts:
        return [], 0
    try:
        passages = Library(Path(folder).expanduser()).passages
    except ToolError:
        return [], len(facts)
    found = []
    for fact in facts:
        for passage in sorted(passages, key=lambda passage: passage.source != fact["source"]):
            quote = find_quote(fact["text"], passage.text)
            if quote is None or _document(passage.source) != _document(fact["source"]):
                continue
            if is_long_enough(quote) and not gives_orders(paragraph_around(quote, passage.text)):
                heading = "" if gives_orders(passage.heading) else passage.heading
                since = time.strftime("%Y-%m-%d", time.gmtime(fact["at"]))
                found.append(Recollection(fact["group"], passage.source, quote, heading, since))
                break
    return found, len(facts) - len(found)


def same_question(one: str, other: str) -> bool:
    """Return whether two questions have nearly the same words, whatever their order."""
    a, b = set(content_stems(one)), set(content_stems(other))
    return bool(a and b) and len(a & b) >= SAME_WORDS * len(a | b)


def _document(source: str) -> str:
    return source.rpartition(":")[0] or source
