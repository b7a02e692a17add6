"""Mistakes are explained where they stand, all at once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest


def test_a_new_workspace_is_fine(cli: Any, workspace: Path) -> None:
    done = cli("validate")
    assert (done.code, done.out) == (0, "1 crew, 2 roles, 1 tool: all fine.\n")
    assert cli("validate", "--strict").code == 0
    checked = {"crews": 1, "roles": 2, "tools": 1}
    assert json.loads(cli("validate", "--json").out) == {"problems": [], "warnings": [], "checked": checked}


def test_all_mistakes_are_told_at_once(cli: Any, workspace: Path) -> None:
    crew = workspace / "crews" / "hello.yaml"
    crew.write_text(crew.read_text().replace("agent: host", "agent: hots").replace("notes.read]", "notes.raed]"))
    (workspace / "roles" / "host.yaml").write_text("role: Host\nbackstory: Short.\n")
    (workspace / "tools" / "notes.py").write_text('def read(name) -> str:\n    """Read."""\n    raise SystemExit(9)\n')
    done = cli("validate")
    lines = done.out.splitlines()
    assert done.code == 2
    assert any(line.startswith("crews/hello.yaml:") and 'did you mean "host"?' in line for line in lines)
    assert any('did you mean "notes.read"?' in line for line in lines)
    assert any(line.startswith("roles/host.yaml:") and "goal" in line for line in lines)
    assert any(line.startswith("tools/notes.py:1:") for line in lines)
    assert lines[-1] == f"{len(lines) - 1} problems in 3 files. Nothing was run."
    one = cli("validate", "hello", "--json")
    problems = json.loads(one.out)["problems"]
    assert one.code == 2 and {"file", "line", "column", "where", "what"} == set(problems[0])


def test_no_code_of_the_workspace_is_run(cli: Any, workspace: Path) -> None:
    tool = workspace / "tools" / "notes.py"
    tool.write_text(tool.read_text() + "\nraise RuntimeError('run by validate')\n")
    assert cli("validate").code == 0


def test_strict_wants_the_whole_scope(cli: Any, workspace: Path) -> None:
    crew = workspace / "crews" / "hello.yaml"
    crew.write_text(crew.read_text().replace("  trigger: [somebody new arrives]\n", ""))
    assert cli("validate").code == 0
    done = cli("validate", "--strict")
    assert done.code == 2 and "scope.trigger: missing" in done.out and "1 problem in 1 file" in done.out


def test_an_empty_place_has_nothing_to_check(cli: Any, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    done = cli("validate")
    assert done.code == 2 and "quarterdeck new FOLDER" in done.err


LOOP = """\
crew: looped
agents:
  maker: {role: R, goal: G, backstory: B, model: MAKER}
  critic: {role: R, goal: G, backstory: B, model: CRITIC}
tasks:
  make: {agent: maker, description: D, expected_output: E}
  judge:
    agent: critic
    description: D
    expected_output: E
    output: {good: boolean}
    loop: {back_to: make, until: good}
"""
MODELS = "default: small\ngroups: {small: [openai/a], tiny: [openai/a], big: [openai/b]}\nmodels: {}\n"


@pytest.mark.parametrize(
    ("maker", "critic", "models", "warned"),
    [
        ("small", "small", MODELS, True),
        ("openai/a", "tiny", MODELS, True),  # another name of the same
        ("small", "big", MODELS, False),
        ("small", '""', MODELS, False),  # left to the workspace
        ('""', '""', MODELS, False),
        ("small", "small", "default: small\ngroups: {small: [openai/a]}\nmodels: {}\n", False),  # there is no other
    ],
)
def test_a_model_that_judges_its_own_work_is_a_warning(
    cli: Any, workspace: Path, maker: str, critic: str, models: str, warned: bool
) -> None:
    (workspace / "config" / "models.yaml").write_text(models)
    (workspace / "crews" / "looped.yaml").write_text(LOOP.replace("MAKER", maker).replace("CRITIC", critic))
    done = cli("validate", "looped")
    assert done.code == 0, done.out
    what = 'warning: crews/looped.yaml: tasks.judge.loop: "judge" judges "make" with the same model'
    assert (what in done.out) is warned
    assert bool(json.loads(cli("validate", "looped", "--json").out)["warnings"]) is warned
    (workspace / "crews" / "looped.yaml").write_text(LOOP.replace("agent: critic", "agent: maker"))
    alone = cli("validate", "looped")
    assert alone.code == 2 and 'agent "maker" does "make" and judges it in "judge"' in alone.out


def test_what_a_tool_leaves_unsaid_is_a_warning(cli: Any, workspace: Path) -> None:
    said = '    """Ring the bell of the harbour once.\n\n    Returns:\n        The sound.\n    """\n'
    tool = workspace / "tools" / "bell.py"
    tool.write_text(f"def ring() -> str:\n{said}    return 'ding'\n")
    done = cli("validate")
    assert done.code == 0 and "warning: tools/bell.py:1:1  bell.ring: it does not say when to use it" in done.out
    assert "returns" not in done.out and "words" not in done.out
    assert "bell.ring" not in cli("validate", "hello").out  # nobody there uses it
    tool.write_text(f"def ring() -> str:\n{said.replace('once', 'when a ship comes in')}    return 'ding'\n")
    assert "warning" not in cli("validate").out
    tool.write_text('def ring() -> str:\n    """Ring."""\n    return "ding"\n')
    for part in ("has 1 of at least 5 words", "when to use it", "add `Returns:`"):
        assert part in cli("validate").out


def test_graph_is_mermaid(cli: Any, workspace: Path) -> None:
    out = cli("graph", "hello").out
    assert out.startswith("flowchart TD\n") and "facts --> welcome" in out


def test_a_deprecated_tool_is_a_warning_with_its_date(cli: Any, workspace: Path) -> None:
    tool = workspace / "tools" / "notes.py"
    text = tool.read_text()
    if "@tool(" in text:
        text = text.replace("@tool(", '@tool(deprecated="2027-01-01, use notes.look", ', 1)
    else:
        text = text.replace("\ndef ", '\n@tool(deprecated="2027-01-01, use notes.look")\ndef ', 1)
    tool.write_text(text)
    done = cli("validate")
    warning = "crews/hello.yaml: notes.read is deprecated: 2027-01-01, use notes.look"
    assert done.code == 0 and done.out.startswith(f"warning: {warning}\n")
    assert json.loads(cli("validate", "--json").out)["warnings"] == [warning]


@pytest.mark.parametrize(("profile", "warned"), [("private", True), ("standard", False), ("none", False)])
def test_private_memory_without_a_user_is_told(
    cli: Any, workspace: Path, monkeypatch: pytest.MonkeyPatch, profile: str, warned: bool
) -> None:
    monkeypatch.delenv("QUARTERDECK_USER", raising=False)
    crew = workspace / "crews" / "hello.yaml"
    crew.write_text(f"{crew.read_text().rstrip()}\nmemory: {profile}\n")
    done = cli("validate")
    lines = [line for line in done.out.splitlines() if "QUARTERDECK_USER" in line]
    assert done.code == 0 and len(lines) == warned
    if warned:
        assert lines[0].startswith("warning: crews/hello.yaml: ")
    monkeypatch.setenv("QUARTERDECK_USER", "ann")
    assert "QUARTERDECK_USER" not in cli("validate").out


@pytest.mark.parametrize(("url", "wrong"), [("http://x:swordfish@y", True), ("redis://localhost:6379/0", False)])
def test_a_wrong_address_of_the_session_cache_is_told(
    cli: Any, workspace: Path, monkeypatch: pytest.MonkeyPatch, url: str, wrong: bool
) -> None:
    monkeypatch.setenv("QUARTERDECK_REDIS_URL", url)
    said = cli("validate").out
    assert ("warning: QUARTERDECK_REDIS_URL is no URL of a Redis" in said) is wrong and "swordfish" not in said
