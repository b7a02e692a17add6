"""The notes of this workspace, as a tool: a typed function with a docstring that says what it does to the world."""

from pathlib import Path

from quarterdeck.errors import ToolError
from quarterdeck.tools.manifest import tool

NOTES = Path(__file__).resolve().parents[1] / "docs"
MAX_CHARACTERS = 8_000


@tool(effect="read", owner="you", sinks={})
def read(name: str) -> str:
    """Read one of the notes when you need what it says.

    Args:
        name: The note's file name, such as welcome.md.

    Returns:
        The text of the note, cut where it is long.
    """
    path = (NOTES / name).resolve()
    if not path.is_file() or not path.is_relative_to(NOTES):
        known = ", ".join(sorted(note.name for note in NOTES.glob("*.md")))
        raise ToolError(f"There is no note {name!r}; there are: {known}.")
    return path.read_text(encoding="utf-8")[:MAX_CHARACTERS]
