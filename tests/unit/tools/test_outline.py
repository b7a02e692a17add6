"""What a docstring leaves unsaid, and that no shipped tool does."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from quarterdeck.spec.workspace import starter
from quarterdeck.tools.loading import tool_files
from quarterdeck.tools.outline import advice, outlines, read_docstring

WHOLE = "Find a berth when a ship comes in.\n\nArgs:\n    ship: Which.\n\nReturns:\n    Its number.\n"


@pytest.mark.parametrize(
    ("doc", "unsaid"),
    [
        (WHOLE, []),
        (WHOLE.replace("when a ship comes in", "in the harbour. It is kept for an hour"), []),
        (WHOLE.replace("Returns:", "Return:"), []),
        ("", []),  # a mistake of its own
        (WHOLE.replace(" when a ship comes in", ""), ["3 of at least 5 words", "when to use"]),
        (WHOLE.replace("when a ship comes in", "in the whole of the harbour"), ["when to use"]),
        (WHOLE.replace("when", "whence").replace("ship comes", "user comes"), ["when to use"]),  # no part of a word
        (WHOLE.replace("Returns:", "Raises:"), ["add `Returns:`"]),
        (WHOLE.replace("Which.", "Which. Use it when in need."), []),
        ("Find a berth in the harbour.\n\nArgs:\n    ship: Use it when it comes in.\n", ["when to use", "`Returns:`"]),
    ],
)
def test_advice_is_what_is_left_unsaid(doc: str, unsaid: list[str]) -> None:
    found = advice(doc)
    assert len(found) == len(unsaid)
    assert all(part in line for part, line in zip(unsaid, found, strict=True))


def test_returns_is_no_part_of_what_models_are_shown() -> None:
    assert read_docstring(WHOLE).text == "Find a berth when a ship comes in."


def test_shipped_tools_leave_nothing_unsaid() -> None:
    beginner = Path(starter() / "src" / "quarterdeck" / "cli" / "workspace" / "tools")
    found = {
        f"{file.stem}.{outline.name}": advice(outline.doc)
        for file in tool_files([starter() / "tools", beginner])
        for outline in outlines(ast.parse(file.read_bytes()))
    }
    assert len(found) > 30 and "notes.read" in found
    assert {name: unsaid for name, unsaid in found.items() if unsaid} == {}
