"""What puts a call before a person although the policy would let it pass: doubt, and data that is missing."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from quarterdeck.governance.call import ToolCall

PLACEHOLDERS = frozenset({
    "", "?", "-", "n/a", "na", "nil", "none", "null", "tbd", "todo", "to be determined", "unknown", "undefined",
    "unspecified", "not known", "xxx", "placeholder", "missing",
})  # fmt: skip
"""What people and models write where they do not know: never the address of anybody, or an amount."""
ESCALATE = "escalate"
"""What was chosen, in a decision that people are told of."""
_CONFIDENCE = re.compile(r"\bconfidence\W{1,5}(?:is\W{1,3})?(\d{1,3}(?:\.\d{1,6})?)(\s?%)?", re.IGNORECASE)


def uncertainty_of(text: str) -> float | None:
    """Return how unsure an agent says that it is, from 0 to 1: from `confidence: 0.65` or `confidence is 65 %`.

    Args:
        text: What it said; of several figures the last one counts.
    """
    figures = list(_CONFIDENCE.finditer(text[-10_000:]))
    if not figures:
        return None
    found = figures[-1]
    confidence = float(found[1]) / (100 if found[2] else 1)
    return round(1 - confidence, 6) if 0 <= confidence <= 1 else None


def doubt(call: ToolCall, least_confidence: float | None) -> tuple[str, str]:
    """Return why a person should see a call that changes something: the kind of doubt and the words; empty for none.

    Args:
        call: The call; its tool is known and its arguments are valid.
        least_confidence: The crew's `scope.escalate_below`; None for any.
    """
    if call.effect == "read" or call.preview:
        return "", ""
    unsure = uncertainty_of(call.why)
    if unsure is not None and least_confidence is not None and 1 - unsure < least_confidence:
        return "confidence", f"its confidence {1 - unsure:g} is below {least_confidence:g} (scope.escalate_below)"
    missing = _missing(call)
    if missing:
        return "incomplete", f"what decides its effect is not known: {', '.join(missing)}"
    return "", ""


def _missing(call: ToolCall) -> list[str]:
    """Return the sinks of a call in whose place stands a word for not knowing."""
    sinks = (call.tool.manifest.sinks if call.tool else None) or {}
    given = call.arguments or {}
    return [f"{name} is {given[name]!r}" for name in sinks if name in given and _is_placeholder(given[name])]


def _is_placeholder(value: Any) -> bool:
    if isinstance(value, list):
        return not value or any(_is_placeholder(one) for one in value)
    return isinstance(value, str) and value.strip().strip("<>[]().").casefold() in PLACEHOLDERS
