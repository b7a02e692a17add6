"""Mistakes are explained where they stand, all at once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


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
