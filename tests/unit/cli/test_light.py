"""What must stay light: commands that need no vendor import none."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import quarterdeck
from quarterdeck import Memory
from quarterdeck.spec.workspace import Workspace
from quarterdeck.testing import HashEmbedder

VENDORS = {"crewai", "litellm", "chromadb", "mem0", "xllamacpp", "openai", "alembic", "rich"}
MODELS_OF_MEANING = {"numpy", "onnxruntime", "tokenizers", "redis"}
PROGRAM = """
import sys, time
from quarterdeck.__main__ import main
try:
    main(sys.argv[2:])
except SystemExit as end:
    code = end.code or 0
loaded = sorted(name for name in sys.argv[1].split(",") if name in sys.modules)
print(f"\\n{code} {time.process_time():.3f} {','.join(loaded)}")
"""


@pytest.mark.parametrize(
    ("arguments", "more", "cpu"),
    [
        (["--help"], {"sqlalchemy", "pydantic"}, 0.25),
        (["run", "--help"], {"sqlalchemy"}, 0.25),
        (["validate"], {"sqlalchemy"}, 0.4),
        (["graph", "hello"], {"sqlalchemy"}, 0.4),
        (["runs", "list"], set(), 0.6),
        (["memory", "stats"], MODELS_OF_MEANING, 0.6),
        (["memory", "export", "--crew", "hello"], MODELS_OF_MEANING, 0.6),
        (["memory", "delete", "--user", "anna", "--yes"], MODELS_OF_MEANING, 0.6),
        (["models", "list"], {"sqlalchemy"}, 0.6),
        (["models", "compare", "--help"], {"sqlalchemy"}, 0.25),
    ],
)
def test_command_loads_no_vendor(workspace: Path, arguments: list[str], more: set[str], cpu: float) -> None:
    asked = ",".join(VENDORS | more)
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, asked, *arguments], cwd=workspace, capture_output=True, text=True, timeout=60
    )
    code, seconds, *loaded = done.stdout.strip().splitlines()[-1].split(" ")
    assert (code, loaded) == ("0", []), done.stdout + done.stderr
    assert float(seconds) < 3 * cpu  # the figure itself is measured by bench/; this only catches a slip


def test_a_memory_is_shown_and_deleted_without_a_vendor(workspace: Path) -> None:
    with Memory(workspace=Workspace(workspace), embedder=HashEmbedder()) as memory:
        known = memory.remember("The port of Rotterdam has 42 cranes.", source="docs/port.md:12").id
    asked = ",".join(VENDORS | MODELS_OF_MEANING)
    for arguments in (["show", known], ["delete", known, "--yes"], ["reset", "--yes"]):
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, asked, "memory", *arguments],
            cwd=workspace, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        code, _, *loaded = done.stdout.strip().splitlines()[-1].split(" ")
        assert (code, loaded) == ("0", []), done.stdout + done.stderr


def test_importing_the_package_loads_nothing_of_it() -> None:
    program = "import sys, quarterdeck; print([name for name in sys.modules if name.startswith('quarterdeck.')])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_public_names_are_pinned() -> None:
    assert quarterdeck.__all__ == [
        "Crew", "Gate", "Member", "Memory", "ModelError", "QuarterdeckError", "Rejected", "Result", "SpecError",
        "ToolError", "__version__", "tool",
    ]  # fmt: skip
    assert len(quarterdeck.__all__) <= 12
    for name in set(quarterdeck.__all__) - {"Member"}:
        assert getattr(quarterdeck, name) is not None
    assert set(quarterdeck.__all__) <= set(dir(quarterdeck))


def test_member_is_a_crewai_agent() -> None:
    assert "BaseAgent" in {parent.__name__ for parent in quarterdeck.Member.__mro__}


def test_unknown_public_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="Crow"):
        quarterdeck.Crow  # noqa: B018
