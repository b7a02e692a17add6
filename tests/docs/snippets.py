"""The snippets of a Markdown file: what they are written in, where they stand, which file they are."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
RUN = ("python", "yaml", "sh", "console")
"""The languages whose snippets a test runs; `text` is for what is none of them."""

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_PATH = re.compile(r"# ((?:crews|roles|tools|config)/[\w.-]+\.(?:yaml|py))\n")


@dataclass(frozen=True, slots=True)
class Snippet:
    """One fenced block.

    Attributes:
        page: The file it stands in, from the root of the repository.
        line: Of its first line, from 1.
    """

    page: str
    line: int
    language: str
    text: str

    @property
    def path(self) -> str:
        """The file that it is, such as `crews/harbour.yaml`; empty when it is none."""
        match = _PATH.match(self.text)
        return match[1] if match else ""

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def snippets(page: Path) -> list[Snippet]:
    """Return the fenced blocks of a page, in their order."""
    text = page.read_text(encoding="utf-8")
    return [
        Snippet(str(page.relative_to(ROOT)), text.count("\n", 0, match.start(2)) + 1, match[1], match[2])
        for match in _FENCE.finditer(text)
    ]


@dataclass(slots=True)
class Command:
    """One `$` line of a console snippet, and what is shown to come of it."""

    line: str
    shown: str


def commands(text: str) -> list[Command]:
    """Return the commands of a console snippet."""
    found: list[Command] = []
    for line in text.splitlines():
        if line.startswith("$ "):
            found.append(Command(line[2:], ""))
        else:
            found[-1].shown += line + "\n"
    return found


def same(shown: str, real: str) -> bool:
    """Return whether two outputs are the same but for run ids, times and the width of columns."""
    return _normal(shown) == _normal(real)


def _normal(text: str) -> str:
    text = re.sub(r"\b[2-9a-hjkmnp-tv-z]{8}\b", "ID", text)
    text = re.sub(r"\b\d+(\.\d+)? (ms|s|min|h)\b", "TIME", text)
    return "\n".join(" ".join(line.split()) for line in text.strip().splitlines())
