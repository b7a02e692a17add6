"""A person reviews a plan: sees it, approves it, puts another in its place, or rejects it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from quarterdeck.testing import answer, error, text

CREW = """\
crew: berth
agents:
  pilot:
    {role: Pilot, goal: Bring her in., backstory: Calm., tools: [notes.read], plan: {planner: cheap, review: true}}
tasks:
  plan: {agent: pilot, description: Find a berth., expected_output: One line.}
"""
READ = {"id": "read", "does": "Read the note.", "tool": "notes.read", "inputs": {"name": "welcome.md"}}
TELL = {"id": "tell", "does": "Say it in one line.", "worker": "pilot", "inputs": {"note": {"from": "read"}}}
PLAN = {"steps": [READ, TELL], "answer": "tell"}


@pytest.fixture
def waiting(cli: Any, workspace: Path, script: Callable[..., Any]) -> str:
    """Leave a run whose plan waits, and return its id; the script then answers one more question."""
    (workspace / "crews" / "berth.yaml").write_text(CREW)
    script([answer(PLAN), text("Berth three.")])
    done = cli("run", "berth", "--json")
    result = json.loads(done.out.splitlines()[-1])
    assert (done.code, result["code"], result["tool_calls"]) == (11, "plan_review", 0)
    return str(result["run_id"])


def test_show_writes_what_edit_reads(cli: Any, waiting: str) -> None:
    out = cli("plans", "show", waiting).out
    assert out.startswith(f"# Plan 1 of plan (pilot), run {waiting}, at plan/plan-1: waits for a person\n")
    assert yaml.safe_load(out) == PLAN
    data = json.loads(cli("plans", "show", waiting, "--json").out)
    assert data["plans"] == [{"path": "plan/plan-1", "state": "waits for a person", "plan": PLAN}]


def test_approve_then_resume(cli: Any, waiting: str) -> None:
    done = cli("plans", "approve", waiting, "--reason", "looks right")
    assert done.out == f"Approved. Let the run go on: quarterdeck runs resume {waiting}\n"
    assert cli("runs", "resume", waiting).code == 0
    shown = cli("runs", "show", waiting).out
    assert "plan-1  read, tell" in shown and "looks right" in shown and "= succeeded  Berth three." in shown
    assert "approved" in cli("plans", "show", waiting).out.splitlines()[0]


def test_approve_can_let_the_run_go_on_at_once(cli: Any, waiting: str) -> None:
    done = cli("plans", "approve", waiting, "--resume", "--json")
    assert done.code == 0 and json.loads(done.out.splitlines()[-1])["output"] == "Berth three."


def test_an_edited_file_is_what_runs(cli: Any, waiting: str, workspace: Path) -> None:
    (workspace / "mine.yaml").write_text(yaml.safe_dump({"steps": [READ], "answer": "read"}))
    assert cli("plans", "edit", waiting, "--file", "mine.yaml").code == 0
    assert cli("plans", "approve", waiting).code == 0  # approves what was edited, not what it was before
    done = cli("runs", "resume", waiting, "--json")
    result = json.loads(done.out.splitlines()[-1])
    assert result["status"] == "succeeded" and "harbour office" in result["output"]
    assert result["model_calls"] == 1, "the worker's step was edited away"


def test_a_bad_edit_is_refused_with_all_its_problems(cli: Any, waiting: str, workspace: Path) -> None:
    bad = {"steps": [{**TELL, "worker": "pylot"}, {**READ, "inputs": {"nme": "x"}}], "answer": "tel"}
    (workspace / "bad.yaml").write_text(yaml.safe_dump(bad, sort_keys=False))
    done = cli("plans", "edit", waiting, "--file", "bad.yaml")
    assert done.code == 2
    for said in ('did you mean "pilot"?', '"read" comes later', 'unknown argument "nme"', 'did you mean "tell"?'):
        assert said in done.err
    assert re.search(r"^bad\.yaml:\d+:\d+  steps\.0\.worker: ", done.err, re.MULTILINE)
    (workspace / "bad.yaml").write_text("steps: [{id: a-b, does: x, tool: notes.read}]\n")
    assert "a step's id" in cli("plans", "edit", waiting, "--file", "bad.yaml").err
    assert "waits for a person" in cli("plans", "show", waiting).out, "nothing was recorded"


def test_the_editor_and_what_it_leaves(cli: Any, waiting: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr("click.edit", lambda text, **_: text.replace("notes.read", "notes.reed"))
    done = cli("plans", "edit", waiting)
    assert done.code == 2 and 'did you mean "notes.read"?' in done.err
    kept = Path(done.err.split("--file ")[1].strip())
    assert "notes.reed" in kept.read_text()
    monkeypatch.setattr("click.edit", lambda text, **_: None)
    assert "Nothing was changed" in cli("plans", "edit", waiting).err
    monkeypatch.setattr("click.edit", lambda text, **_: text.replace("one line", "few words"))
    assert cli("plans", "edit", waiting).code == 0
    assert "Say it in few words." in cli("plans", "show", waiting).out


def test_reject(cli: Any, waiting: str) -> None:
    assert cli("plans", "reject", waiting, "--reason", "wrong harbour").out.startswith("Rejected. ")
    done = cli("runs", "resume", waiting)
    assert done.code == 1 and "rejected the plan: wrong harbour (plan_rejected)" in done.out


def test_an_answer_needs_a_run_that_waits_for_it(cli: Any, waiting: str, script: Callable[..., Any]) -> None:
    assert "has no plan at 'x'. It has: plan/plan-1." in cli("plans", "approve", waiting, "--at", "x").err
    cli("plans", "approve", waiting, "--resume")
    done = cli("plans", "reject", waiting)
    assert done.code == 4 and "does not wait for the review of a plan: it is recorded as succeeded" in done.err
    script([error("refused")])
    cli("run", "hello")
    assert "has made no plan" in cli("plans", "show", "LAST").err


def test_the_prompt_of_an_agent_that_plans_is_the_planners(cli: Any, waiting: str) -> None:
    out = cli("prompts", "show", "berth").out
    assert "Write a plan for the task below." in out and "The task: Find a berth." in out and "notes.read" in out
