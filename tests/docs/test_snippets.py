"""Every snippet of the README and of docs/ is run, in a workspace of its own, against a model on loopback."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from tests.docs.snippets import PAGES, ROOT, RUN, Snippet, commands, same, snippets

from quarterdeck.spec.check import check_workspace
from quarterdeck.spec.workspace import Workspace
from quarterdeck.tools.loading import check_file, tool_names

README = PAGES[0]
SHELL = "pip install uv && uv run "
PATIENCE = 110.0
Played = list[dict[str, Any]]


def pages_beside(page: Path) -> tuple[Path, ...]:
    """Return the pages whose files make one workspace: the README by itself, all of docs/ together."""
    return (README,) if page == README else PAGES[1:]


def write_files(workspace: Path, page: Path) -> None:
    """Write the snippets that are files, and what the commands are run on."""
    for snippet in (snippet for one in pages_beside(page) for snippet in snippets(one) if snippet.path):
        file = workspace / snippet.path
        file.parent.mkdir(parents=True, exist_ok=True)
        assert not file.exists(), f"{snippet}: {snippet.path} stands in the pages twice"
        file.write_text(snippet.text, encoding="utf-8")
    (workspace / "crews").mkdir(exist_ok=True)
    (workspace / "harbour").mkdir()
    (workspace / "harbour" / "crane.py").write_text("def lift(load):\n    return load * 2\n")
    shutil.copytree(ROOT / "docs", workspace / "docs")


def playable(page: Path) -> list[Snippet]:
    """Return the snippets of a page that are run; shell lines become the command that they end in."""
    found = []
    for snippet in snippets(page):
        if snippet.language in ("python", "console") and not snippet.path:
            found.append(snippet)
        elif snippet.language == "sh" and "quarterdeck " in snippet.text:
            line = snippet.text.strip().removeprefix(SHELL)
            found.append(Snippet(snippet.page, snippet.line, "console", f"$ {line}\n"))
    return found


@cache
def _keeper() -> TemporaryDirectory[str]:
    return TemporaryDirectory(prefix="quarterdeck-docs-")


@pytest.fixture(scope="session", autouse=True)
def _tidy() -> Iterator[None]:
    yield
    _keeper().cleanup()


def play(page: Path) -> tuple[Path, dict[str, Played]]:
    """Run the snippets of a page; return the workspace, and what came of each by its place."""
    return play_all(pages_beside(page))


@cache
def play_all(pages: tuple[Path, ...]) -> tuple[Path, dict[str, Played]]:
    """Run the snippets of the pages that share a workspace, in one process."""
    page = pages[0]
    folder = Path(_keeper().name) / page.stem
    workspace = folder / "workspace"
    workspace.mkdir(parents=True)
    write_files(workspace, page)
    wanted = [snippet for one in pages for snippet in playable(one)]
    job = {
        "workspace": str(workspace),
        "outcomes": str(folder / "outcomes.json"),
        "snippets": [{"page": s.page, "line": s.line, "language": s.language, "text": s.text} for s in wanted],
    }
    ended = subprocess.run(
        [sys.executable, "-m", "tests.docs.player"],
        input=json.dumps(job), capture_output=True, text=True, timeout=PATIENCE, check=False, cwd=ROOT,
        env={name: value for name, value in os.environ.items() if not name.startswith("QUARTERDECK_")},
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    outcomes = json.loads((folder / "outcomes.json").read_text())
    return workspace, {str(snippet): outcome for snippet, outcome in zip(wanted, outcomes, strict=True)}


ALL = [snippet for page in PAGES for snippet in snippets(page)]
PLAYED = [(page, snippet) for page in PAGES for snippet in playable(page)]


@pytest.mark.parametrize("snippet", ALL, ids=str)
def test_nothing_escapes_these_tests(snippet: Snippet) -> None:
    """A snippet is a file, is played, is the test command, or is marked as `text`."""
    if snippet.language == "text":
        return
    assert snippet.language in RUN, f"{snippet}: no test runs {snippet.language or 'a snippet without a language'}"
    played = {(one.page, one.line) for _, one in PLAYED}
    is_test_command = snippet.language == "sh" and snippet.text == f"{SHELL}pytest\n"
    assert snippet.path or is_test_command or (snippet.page, snippet.line) in played
    if snippet.language == "yaml":
        assert snippet.path, f"{snippet}: begin it with a line such as # crews/name.yaml"


@pytest.mark.parametrize("page", [README, PAGES[1]], ids=["README", "docs"])
def test_declared_files_are_valid(page: Path, tmp_path: Path) -> None:
    write_files(tmp_path, page)
    workspace = Workspace(tmp_path)
    problems = check_workspace(workspace, tool_names(workspace.tool_files()))
    for file in sorted((tmp_path / "tools").glob("*.py")):
        problems += check_file(file, tmp_path)
    assert not problems, "\n".join(map(str, problems))


@pytest.mark.parametrize(("page", "snippet"), PLAYED, ids=[str(snippet) for _, snippet in PLAYED])
def test_snippet_does_what_it_shows(page: Path, snippet: Snippet) -> None:
    _, played = play(page)
    outcomes = played[str(snippet)]
    if snippet.language == "python":
        assert outcomes[0]["code"] == 0, outcomes[0]["error"]
        return
    wanted = commands(snippet.text)
    for number, (command, real) in enumerate(zip(wanted, outcomes, strict=True)):
        told = number + 1 < len(wanted) and wanted[number + 1].line == "echo $?"
        assert told or real["code"] == 0, f"{command.line}: {real['out']}{real['error']}"
        if command.shown:
            assert same(command.shown, real["out"] + real.get("error", "")), f"{command.line} said:\n{real['out']}"


def test_the_main_command_leaves_a_cited_report() -> None:
    workspace, played = play(README)
    said = next(outcomes[0]["out"] for outcomes in played.values() if "run research" in outcomes[0]["command"])
    assert "\nsucceeded in " in said
    report = next(line.removeprefix("Report: ") for line in said.splitlines() if line.startswith("Report: "))
    text = (workspace / report).read_text()
    assert "[1]" in text and "## Sources" in text and ".md" in text.split("## Sources")[1]


def test_the_test_command_is_the_one_that_ci_runs() -> None:
    shown = [s.text.strip() for s in snippets(README) if s.language == "sh" and "pytest" in s.text]
    assert shown == [f"{SHELL}pytest"]
    assert (ROOT / ".ci" / "run").read_text().splitlines()[-1] == shown[0]
