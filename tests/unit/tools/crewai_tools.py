"""CrewAI tools for the tests, as a program has them in a module of its own."""

from __future__ import annotations

import os
import time
from typing import Any

from crewai.tools import BaseTool, tool
from pydantic import PrivateAttr


class Counter(BaseTool):  # type: ignore[misc]
    """Counts in a shop."""

    name: str = "count"
    description: str = "Count things."
    shop: str
    shelves: list[str]
    limit: int = 5
    keeper: Any = None
    _line: Any = PrivateAttr(default=None)

    def _run(self, what: str, n: int) -> dict[str, Any]:
        if what == "hang":
            time.sleep(60)
        return {"shop": self.shop, "shelves": self.shelves, "limit": self.limit, "n": n, "pid": os.getpid()}


@tool("double")  # type: ignore[untyped-decorator]
def double(n: int) -> list[int]:
    """Double a number."""
    return [2 * n, os.getpid()]
