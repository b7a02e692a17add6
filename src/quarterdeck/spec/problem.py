"""One thing that is wrong with a declared file, and where it stands."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """A mistake in a declared file.

    Attributes:
        file: The path as the user would type it.
        line: Counted from 1.
        column: Counted from 1.
        where: The dotted place, such as `tasks.gather.agent`; empty for the file as a whole.
        what: What is wrong, and what would be right.
    """

    file: str
    line: int
    column: int
    where: str
    what: str

    def __str__(self) -> str:
        """Return `file:line:column  where: what`."""
        place = f"{self.file}:{self.line}:{self.column}"
        return f"{place}  {self.where}: {self.what}" if self.where else f"{place}  {self.what}"


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return `; did you mean "x"?` for the nearest known word, or nothing when none is near."""
    near = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f'; did you mean "{near[0]}"?' if near else ""
