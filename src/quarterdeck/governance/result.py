"""What comes back from the gate: always a result, never an exception of the tool."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from quarterdeck.journal.events import ToolStatus

EMPTY = "It ran and returned nothing."
"""What an agent reads of an empty result: nothing found is something else than something gone wrong."""


@dataclass(frozen=True, slots=True)
class ToolResult:
    """The outcome of one tool call.

    Attributes:
        status: `ok`, `error` (it ran and failed), `denied` (it never ran), `shadowed` (recorded, not done),
            `unverified` (done, the world not seen changed) or `unknown` (nobody knows whether it was done).
        value: JSON-able and bounded; for all but `ok` the text that says why.
        error_class: Empty, or `unknown_tool`, `not_granted`, `not_loaded`, `arguments`, `repeated`, `timeout`,
            `limit`, `tool`, `bug`, `empty`, `forbidden`, `rejected`, `unavailable`, `rate_limited`, `killed`,
            `unverified`, `unknown_effect`.
        receipt: What the tool's undo needs: its whole result.
    """

    status: ToolStatus
    value: Any
    error_class: str = ""
    receipt: Any = None

    def text(self) -> str:
        """Return the result as an agent reads it."""
        if self.error_class == "empty" and self.status == "ok":
            return EMPTY if self.value in (None, "") else f"{_readable(self.value)} ({EMPTY})"
        body = _readable(self.value)
        return body if self.status in ("ok", "shadowed") else f"Error: {body}"


def noted(value: Any, note: str) -> Any:
    """Return the value of a result with a note for the agent, in the same shape: text, list or mapping."""
    if isinstance(value, str):
        return f"{value}\n[{note}]"
    if isinstance(value, list):
        return [*value, f"[{note}]"]
    return {**value, "[note]": note} if isinstance(value, dict) else value


def _readable(value: Any) -> str:
    """Return text as it is, a list of flat records as lines, and everything else as JSON.

    Lines keep text free of JSON's escapes, which cost tokens and end up in what a small model quotes.
    """
    if isinstance(value, str):
        return value
    if isinstance(value, list) and value and all(isinstance(record, dict) and _is_flat(record) for record in value):
        return "\n\n".join("\n".join(f"{key}: {part}" for key, part in record.items()) for record in value)
    return json.dumps(value, ensure_ascii=False)


def _is_flat(record: dict[str, Any]) -> bool:
    return all(isinstance(part, str | int | float) for part in record.values())
