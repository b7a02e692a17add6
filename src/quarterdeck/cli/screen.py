"""The screen: what commands write to. Nothing that passes through it can steer a terminal."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, TextIO

from quarterdeck.cli.text import clean

if TYPE_CHECKING:
    from rich.console import Console


class Screen:
    """Standard output: a terminal, or plain text for files and pipes.

    Args:
        out: Where to write; standard output if not given.
        terminal: Whether it is one; found out if not given.
    """

    def __init__(self, out: TextIO | None = None, *, terminal: bool | None = None) -> None:
        self.out = out or sys.stdout
        self.terminal = self.out.isatty() if terminal is None else terminal
        self.encoding = getattr(self.out, "encoding", None) or "utf-8"
        self._console: Console | None = None

    @property
    def unicode(self) -> bool:
        """Whether more than ASCII can be shown."""
        return self.encoding.lower().replace("-", "").startswith("utf")

    @property
    def console(self) -> Console:
        """The terminal as rich sees it; only used on one."""
        if self._console is None:
            from rich.console import Console

            self._console = Console(file=self.out, force_terminal=self.terminal, highlight=False, emoji=False)
        return self._console

    def line(self, text: str = "", style: str = "") -> None:
        """Write a line.

        Args:
            text: Cleaned before it is written.
            style: Such as `bold` or `red`; terminals only.
        """
        shown = clean(text).encode(self.encoding, "replace").decode(self.encoding)
        if self.terminal:
            from rich.text import Text

            self.console.print(Text(shown, style=style), soft_wrap=True)
        else:
            self.out.write(shown + "\n")
            self.out.flush()

    def data(self, value: Any) -> None:
        """Write a value as one line of JSON."""
        self.out.write(json.dumps(value, ensure_ascii=not self.unicode, default=str) + "\n")
        self.out.flush()

    def json_line(self, text: str) -> None:
        """Write what is JSON already, on a line of its own."""
        self.out.write(text.encode(self.encoding, "backslashreplace").decode(self.encoding) + "\n")
        self.out.flush()

    def columns(self, rows: Iterable[Sequence[str]]) -> None:
        """Write rows with their columns aligned."""
        for line in aligned(rows):
            self.line(line)

    def markdown(self, text: str) -> None:
        """Write Markdown: rendered on a terminal that can show it, as it is elsewhere."""
        if self.terminal and self.unicode:
            from quarterdeck.cli.markdown import rendered

            self.console.print(rendered(clean(text)))
        else:
            self.line(text.rstrip("\n"))


def aligned(rows: Iterable[Sequence[str]], gap: int = 2) -> list[str]:
    """Return rows as lines, each column as wide as its widest cell."""
    table = [[clean(cell).replace("\n", " ") for cell in row] for row in rows]
    columns = max((len(row) for row in table), default=0)
    widths = [max((len(row[at]) for row in table if at < len(row)), default=0) for at in range(columns)]
    return [(" " * gap).join(cell.ljust(widths[at]) for at, cell in enumerate(row)).rstrip() for row in table]
