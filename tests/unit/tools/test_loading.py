from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from quarterdeck.errors import SpecError
from quarterdeck.tools.loading import (
    Toolbox,
    check_file,
    find_reference,
    load_object,
    reference_mistake,
    tool_files,
    tool_names,
)

GOOD = '''
from __future__ import annotations
from pydantic import BaseModel
from quarterdeck.tools.evidence import Evidence
from os.path import join

LIMIT = 3

class Answer(BaseModel):
    text: str

def greet_(name: str) -> str:
    """Greet somebody.

    Args:
        name: Whom.
    """
    return _hello(name)

async def wait() -> None:
    """Wait a little."""

def check(output: Answer, evidence: Evidence) -> Answer:
    return output

def _hello(name):
    return "hello " + name
'''


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    mine, theirs = tmp_path / "mine" / "tools", tmp_path / "starter" / "tools"
    for folder in (mine, theirs):
        folder.mkdir(parents=True)
    (mine / "good.py").write_text(GOOD)
    (theirs / "good.py").write_text('def other() -> None:\n    """Hidden by the file of the same name."""\n')
    (theirs / "more.py").write_text('def one() -> int:\n    """Return one."""\n    return 1\n')
    return mine, theirs


def test_public_functions_are_tools_and_guardrails_are_not(folders: tuple[Path, Path]) -> None:
    box = Toolbox.load(folders, display_root=folders[0].parent)
    assert list(box) == ["good.greet", "good.wait", "more.one"]
    assert tool_names(tool_files(folders)) == ["good.greet", "good.wait", "more.one"]
    tool = box["good.greet"]
    assert tool.function(name="you") == "hello you" and tool is box.get("good.greet")
    assert box.get("good.check") is None and "more.one" in box and len(box) == 3
    assert box["more.one"].function() == 1
    assert not any("mine" in place for place in sys.path)


def test_all_limits_what_is_a_tool(folders: tuple[Path, Path]) -> None:
    for declared in ('__all__ = ["one"]', '__all__: list[str] = ["one"]'):
        (folders[1] / "more.py").write_text(
            f'{declared}\n\ndef one() -> None:\n    """One."""\n\ndef helper(x):\n    pass\n'
        )
        assert tool_names(tool_files(folders))[2:] == ["more.one"]


def test_nothing_is_imported_before_it_is_asked_for(folders: tuple[Path, Path], tmp_path: Path) -> None:
    mark = tmp_path / "was_run"
    (folders[0] / "eager.py").write_text(f'open({str(mark)!r}, "w").close()\n\ndef go() -> None:\n    """Go."""\n')
    box = Toolbox.load(folders, display_root=tmp_path)
    assert "eager.go" in box.names and reference_mistake("tools/eager.py:go", folders) == ""
    assert check_file(folders[0] / "eager.py", tmp_path) == [] and not mark.exists()
    assert box["eager.go"].name == "eager.go" and mark.exists()


def test_all_mistakes_of_all_files_are_told_with_their_lines(folders: tuple[Path, Path]) -> None:
    root = folders[0].parent
    (folders[0] / "bare.py").write_text("def f(a, b: int):\n    pass\n")
    (folders[0] / "broken.py").write_text("x = 1\ndef f(:\n")
    (folders[0] / "binary.py").write_bytes(b"\0\xff")
    (folders[0] / "huge.py").write_bytes(b"#" * 1_000_001)
    with pytest.raises(SpecError) as caught:
        Toolbox.load(folders, display_root=root)
    text = str(caught.value)
    for part in (
        "tools/bare.py:1:1  f: no docstring",
        "tools/bare.py:1:1  f.a: no type",
        "tools/bare.py:1:1  f.b: no description",
        "tools/broken.py:2:7  this is not Python",
        "tools/binary.py:1:1",
        "tools/huge.py:1:1  cannot be read: it is larger",
    ):
        assert part in text, text


@pytest.mark.parametrize("last", ["raise ValueError('no key')", "import sys; sys.exit(1)", "undefined"])
def test_a_file_that_fails_to_import_is_a_problem_not_a_traceback(folders: tuple[Path, Path], last: str) -> None:
    (folders[0] / "fails.py").write_text(f'def f() -> None:\n    """Do."""\n\n{last}\n')
    box = Toolbox.load(folders, display_root=folders[0].parent)
    for _ in range(2):
        with pytest.raises(SpecError, match=r"tools/fails\.py:4:1  importing it failed"):
            box["fails.f"]


def test_references_are_found_in_the_first_folder_that_has_the_file(folders: tuple[Path, Path]) -> None:
    answer = load_object("tools/good.py:Answer", folders)
    assert answer.__name__ == "Answer" and answer is load_object("tools/good.py:Answer", folders)
    assert load_object("tools/good.py:check", folders).__annotations__["output"] == "Answer"
    assert load_object("tools/more.py:one", folders)() == 1


def test_a_changed_file_is_loaded_anew(folders: tuple[Path, Path]) -> None:
    assert load_object("tools/more.py:one", folders)() == 1
    (folders[1] / "more.py").write_text('def one() -> int:\n    """Return two, in fact."""\n    return 2\n')
    assert load_object("tools/more.py:one", folders)() == 2


@pytest.mark.parametrize(
    ("reference", "what"),
    [
        ("tools/god.py:Answer", 'no file tools/god.py; did you mean "tools/good.py"?'),
        ("tools/good.py:Anser", 'has no "Anser"; did you mean "Answer"?'),
        ("tools/good.py", "write it as tools/file.py:name"),
        ("tools/../../secret.py:x", "write it as tools/file.py:name"),
        ("/etc/passwd:x", "write it as tools/file.py:name"),
        ("os:system", "write it as tools/file.py:name"),
    ],
)
def test_wrong_references_say_what_is_wrong(folders: tuple[Path, Path], reference: str, what: str) -> None:
    assert what in reference_mistake(reference, folders)
    with pytest.raises(SpecError) as caught:
        load_object(reference, folders)
    assert what in str(caught.value)


def test_a_link_does_not_lead_out_of_the_tools_folder(folders: tuple[Path, Path], tmp_path: Path) -> None:
    (tmp_path / "outside.py").write_text("x = 1\n")
    (folders[0] / "link.py").symlink_to(tmp_path / "outside.py")
    with pytest.raises(LookupError, match=r"no file tools/link\.py"):
        find_reference("tools/link.py:x", folders)


def test_names_are_listed_without_pydantic_or_any_vendor(folders: tuple[Path, Path]) -> None:
    program = (
        "import sys; from pathlib import Path\n"
        "from quarterdeck.tools.loading import tool_files, tool_names\n"
        f"print(tool_names(tool_files([Path({str(folders[0])!r})])))\n"
        "print([m for m in ('crewai', 'litellm', 'bs4', 'pypdf', 'jsonschema') if m in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=30)
    assert done.stdout.splitlines() == ["['good.greet', 'good.wait']", "[]"]
