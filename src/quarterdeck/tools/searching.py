"""Finding lines in the files of a root, bounded in files, bytes, hits and time."""

from __future__ import annotations

import re
import time
from typing import Any

from quarterdeck.errors import ToolError
from quarterdeck.tools.confined import Root

MAX_FILES = 2_000
MAX_FILE_BYTES = 2_000_000
MAX_TOTAL_BYTES = 100_000_000
MAX_HITS = 100
MAX_LINE = 300
SECONDS = 10.0
_RECURSIVE = re.compile(r"\(\?(?:R|&|P>|[+-]?\d)")
"""Patterns that call themselves: they take memory without end before any time limit."""


class Finder:
    """Looks for words or a regular expression, and remembers what it found.

    Args:
        words: What to look for; capitals make no difference.
        pattern: Whether it is a regular expression. It runs on an engine with a time limit, because a model can
            write one that takes for ever.

    Attributes:
        found: Hits, each with `file`, `line` and `text`.
        note: What was left out, and why; empty when nothing was.

    Raises:
        ToolError: It is no regular expression, or one that calls itself.
    """

    def __init__(self, words: str, *, pattern: bool) -> None:
        import regex  # only a search needs it

        self.found: list[dict[str, Any]] = []
        self.note = ""
        if pattern and _RECURSIVE.search(words):
            raise ToolError("A regular expression that calls itself is not taken here. Write a simpler one.")
        try:
            self._pattern = regex.compile(words if pattern else regex.escape(words), regex.IGNORECASE)
        except (regex.error, RecursionError, OverflowError) as error:
            raise ToolError(f"This is no regular expression: {error}. For plain words: pattern=false.") from None

    def look(self, root: Root, path: str) -> None:
        """Look through the text files below a folder.

        Raises:
            ToolError: There is no such folder, or the expression takes too long or too much memory.
        """
        room = MAX_TOTAL_BYTES
        began = time.monotonic()
        for number, file in enumerate(root.files(path)):
            spent = time.monotonic() - began
            if number >= MAX_FILES or room <= 0 or spent >= SECONDS:
                self.note = f"Only the first {number:,} files were looked through; look below a folder."
                return
            try:
                content = root.read(file, MAX_FILE_BYTES)
            except ToolError:
                continue  # too large, or gone meanwhile
            room -= len(content)
            if b"\0" not in content[:8192]:
                self._look_at(file, content.decode("utf-8", "replace"), SECONDS - spent)
            if len(self.found) >= MAX_HITS:
                self.note = f"There may be more than these {MAX_HITS}; look for something rarer."
                return

    def _look_at(self, file: str, text: str, seconds: float) -> None:
        end = time.monotonic() + seconds
        for number, line in enumerate(text.splitlines(), 1):
            try:
                match = self._pattern.search(line, timeout=max(0.001, end - time.monotonic()), concurrent=True)
            except (TimeoutError, MemoryError):
                raise ToolError(
                    f"The expression takes too long at {file}:{number}. Write a simpler one, or look for plain words."
                ) from None
            if match:
                self.found.append({"file": file, "line": number, "text": _around(line, match.start())})
                if len(self.found) >= MAX_HITS:
                    return


def _around(line: str, at: int) -> str:
    start = max(0, at - MAX_LINE // 2)
    return line[start : start + MAX_LINE].strip()
