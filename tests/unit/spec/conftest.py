from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from quarterdeck.errors import SpecError
from quarterdeck.spec.load import load_crew
from quarterdeck.spec.workspace import Workspace

Problems = Callable[..., list[str]]


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    (tmp_path / "crews").mkdir()
    (tmp_path / "tools").mkdir()
    (tmp_path / "tools" / "checks.py").write_text(
        "raise SystemExit\nclass Facts: ...\ndef verbatim(): ...\nlimit = 3\n"
    )
    return Workspace(tmp_path)


@pytest.fixture
def problems(workspace: Workspace) -> Problems:
    """Loads the text of a crew file and returns what is wrong with it, a line each, without the file's name."""

    def find(text: str, known_tools: list[str] | None = None) -> list[str]:
        (workspace.root / "crews" / "x.yaml").write_text(text)
        try:
            load_crew("x", workspace, known_tools)
        except SpecError as error:
            return [str(problem).removeprefix("crews/x.yaml:") for problem in error.problems]
        return []

    return find
