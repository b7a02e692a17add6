"""What comes back from the gate: always a result, never an exception of the tool."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Literal


@dataclass(frozen=True, slots=True)
class ToolResult:
    """The outcome of one tool call.

    Attributes:
        status: `ok`, `error` (it ran and failed) or `denied` (it never ran).
        value: JSON-able and bounded; for `error` and `denied` the text that says why.
        error_class: Empty, or `unknown_tool`, `not_granted`, `arguments`, `repeated`, `timeout`, `limit`, `tool`,
            `bug`.
    """

    status: Literal["ok", "error", "denied"]
    value: Any
    error_class: str = ""

    def text(self) -> str:
        """Return the result as an agent reads it."""
        body = self.value if isinstance(self.value, str) else json.dumps(self.value, ensure_ascii=False)
        return body if self.status == "ok" else f"Error: {body}"
