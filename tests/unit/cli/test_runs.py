"""Listing, explaining, resuming, forking and cancelling runs."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from quarterdeck.cli.show import next_step
from quarterdeck.journal.events import ModelCalled, TaskEnded, TaskStarted, ToolCalled
from quarterdeck.testing import answer, call, error, text

FACTS = answer({"facts": ["opens at eight"]})


def _failed_run(cli: Any, script: Callable[..., Any]) -> str:
    """Leave a run whose second task failed, and return its id."""
    script([FACTS, error("refused", "not today")])
    done = cli("run", "hello", "--json")
    assert done.code == 1
    run_id = json.loads(done.out.splitlines()[-1])["run_id"]
    assert isinstance(run_id, str)
    return run_id


def test_no_runs_yet(cli: Any, workspace: Path) -> None:
    assert cli("runs", "list").out.startswith("No runs yet.")
    assert json.loads(cli("runs", "list", "--json").out) == []
    assert not (workspace / "runs").exists()
    done = cli("runs", "show", "abc")
    assert done.code != 0 and "nothing has been run here yet" in done.err


def test_list_filters_by_status(cli: Any, workspace: Path, script: Callable[..., Any]) -> None:
    run_id = _failed_run(cli, script)
    line = cli("runs", "list").out
    assert line.startswith(f"{run_id}  hello  failed (model_refused)") and "2 calls recorded" in line
    assert [run["run_id"] for run in json.loads(cli("runs", "list", "--status", "failed", "--json").out)] == [run_id]
    assert cli("runs", "list", "--status", "interrupted").out == "No run is interrupted.\n"


def test_show_answers_why(cli: Any, workspace: Path, script: Callable[..., Any]) -> None:
    run_id = _failed_run(cli, script)
    out = cli("runs", "show", run_id[:4]).out
    assert "input  reader = a new colleague" in out
    assert 'begin-1  notes.read(name="welcome.md")  ok' in out and "gave # The harbour office" in out
    assert 'says {"facts": ["opens at eight"]}' in out
    assert "attempt 1 failed: not today" in out
    assert "ended failed (model_refused)" in out
    assert out.index("begin-1") < out.index("turn-1") < out.index("welcome  host")
    assert "storm warning" not in out and "storm warning" in cli("runs", "show", run_id, "--full").out
    data = json.loads(cli("runs", "show", run_id, "--json").out)
    assert data["run_id"] == run_id and data["events"][0]["kind"] == "run.started"


def test_resume_replays_and_goes_on(cli: Any, workspace: Path, script: Callable[..., Any]) -> None:
    run_id = _failed_run(cli, script)
    with script([text("Welcome.")]) as model:
        done = cli("runs", "resume", run_id[:5])
    assert done.code == 0 and len(model.requests) == 1
    assert done.out.startswith("2 calls replayed, none repeated. Going on at ")
    assert "Welcome." in done.out
    again = cli("runs", "resume", run_id)
    assert again.code == 4 and f"quarterdeck runs fork {run_id} --at TASK" in again.err


def test_fork_changes_an_input_and_leaves_the_old_run(cli: Any, workspace: Path, script: Callable[..., Any]) -> None:
    run_id = _failed_run(cli, script)
    with script([text("Welcome, Ann.")]) as model:
        done = cli("runs", "fork", run_id, "--at", "welcome", "--set", "reader=Ann", "--json")
    result = json.loads(done.out.splitlines()[-1])
    assert done.code == 0 and result["output"] == "Welcome, Ann." and result["run_id"] != run_id
    assert "note of at most four sentences for Ann" in model.requests[0].messages[1].content
    assert {run["run_id"]: run["status"] for run in json.loads(cli("runs", "list", "--json").out)} == {
        run_id: "failed",
        result["run_id"]: "succeeded",
    }
    unknown = cli("runs", "fork", run_id, "--at", "nowhere")
    assert unknown.code == 4 and "welcome" in unknown.err


def test_cancel_ends_a_run_that_nobody_works_on(cli: Any, workspace: Path, script: Callable[..., Any]) -> None:
    import asyncio

    from quarterdeck.journal.run import RunJournal
    from quarterdeck.journal.store import Store

    async def leave_one() -> str:
        with Store.open(f"sqlite:///{workspace}/runs/journal.db") as store:
            journal = await RunJournal.start(
                store, crew="hello", spec={"crew": {}, "model": ""}, inputs={}, spec_hash="", version="0"
            )
            await journal.close()
            return journal.id

    run_id = asyncio.run(leave_one())
    assert cli("runs", "list", "--status", "interrupted").out.startswith(f"{run_id}  hello  interrupted")
    done = cli("runs", "cancel", run_id)
    assert (done.code, done.out) == (0, f"Run {run_id} is cancelled.\n")
    assert cli("runs", "list").out.startswith(f"{run_id}  hello  cancelled")
    ended = cli("runs", "cancel", run_id)
    assert ended.code == 4 and "has ended already" in ended.err


def _model(path: str, *tools: str) -> ModelCalled:
    reply = {"text": "", "finish": "stop", "tool_calls": [{"name": tool, "arguments": {}} for tool in tools]}
    return ModelCalled(
        path=path, request_hash="", request={}, reply=reply, model="m", prompt_tokens=1, completion_tokens=1,
        cost_usd="0", seconds=0,
    )  # fmt: skip


def _tool(path: str) -> ToolCalled:
    return ToolCalled(path=path, request_hash="", tool="t", arguments={}, status="ok", result=1, seconds=0)


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        ([], "its first task"),
        ([TaskStarted(path="gather", agent="a")], "gather/turn-1"),
        ([_model("gather/turn-3", "a", "b")], "gather/turn-3/tool-1"),
        ([_model("gather/turn-3", "a", "b"), _tool("gather/turn-3/tool-1")], "gather/turn-3/tool-2"),
        ([_model("gather/turn-3", "a"), _tool("gather/turn-3/tool-1")], "gather/turn-4"),
        ([TaskEnded(path="gather", status="succeeded", code="x", output=1)], "what comes after gather"),
    ],
)
def test_where_a_run_goes_on(events: list[Any], expected: str) -> None:
    assert next_step(events) == expected


def test_a_tool_call_is_shown_with_what_the_model_asked(cli: Any, workspace: Path, script: Callable[..., Any]) -> None:
    script([call("notes.read", name="tide.md"), FACTS, text("Welcome.")])
    assert cli("run", "hello").code == 0
    out = cli("runs", "show", cli("runs", "list").out.split()[0]).out
    assert 'asks notes.read(name="tide.md")' in out
    assert "error (tool)" in out and "There is no note 'tide.md'" in out
