"""prompts diff: what agents were told in an earlier run, and now."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from quarterdeck.testing import text

ROLE = "role: Host\ngoal: Welcome people.\nbackstory: You know everybody.\n"
CREW = (
    "crew: greet\nagents: {host: {use: greeter}}\n"
    "tasks: {hail: {agent: host, description: Say hello., expected_output: One line.}}\n"
)


@pytest.fixture
def greet(workspace: Path) -> Path:
    (workspace / "roles" / "greeter.yaml").write_text(ROLE)
    (workspace / "crews" / "greet.yaml").write_text(CREW)
    return workspace


def _run(cli: Any, script: Callable[..., Any], *more: str) -> str:
    with script([text("Hello.")]):
        done = cli("run", "greet", "--json", *more)
    assert done.code == 0
    run_id: str = json.loads(done.out.splitlines()[-1])["run_id"]
    return run_id


def _edit(path: Path, old: str, new: str) -> None:
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))


def test_a_changed_role_and_task_show_line_by_line(cli: Any, greet: Path, script: Callable[..., Any]) -> None:
    run_id = _run(cli, script)
    _edit(greet / "roles" / "greeter.yaml", "Welcome people.", "Welcome them warmly.")
    _edit(greet / "crews" / "greet.yaml", "Say hello.", "Say good morning.")
    data = json.loads(cli("prompts", "diff", "greet", "--json").out)
    assert (data["crew"], data["run_id"]) == ("greet", run_id)
    (change,) = data["changes"]
    assert (change["task"], change["agent"]) == ("hail", "host")
    assert change["diff"][:2] == [f"--- hail/host run {run_id}", "+++ hail/host now"]
    for line in (
        "-Your goal: Welcome people.",
        "+Your goal: Welcome them warmly.",
        "-Say hello.",
        "+Say good morning.",
    ):
        assert line in change["diff"]
    assert " Expected output: One line." in change["diff"]
    shown = cli("prompts", "diff", "greet", run_id[:8])
    assert shown.code == 0 and "\n".join(change["diff"]) in shown.out and "task hail  agent host" in shown.out


def test_the_last_run_that_was_declared_otherwise_is_taken(cli: Any, greet: Path, script: Callable[..., Any]) -> None:
    oldest = _run(cli, script)
    _edit(greet / "crews" / "greet.yaml", "Say hello.", "Say good day.")
    before = _run(cli, script)
    _edit(greet / "crews" / "greet.yaml", "Say good day.", "Say good night.")
    now = _run(cli, script)
    _run(cli, script, "--set", "limits.seconds=60")  # limits are told to nobody
    data = json.loads(cli("prompts", "diff", "greet", "--json").out)
    assert data["run_id"] == before and "-Say good day." in data["changes"][0]["diff"]
    named = json.loads(cli("prompts", "diff", "greet", oldest, "--json").out)
    assert named["run_id"] == oldest and "-Say hello." in named["changes"][0]["diff"]
    same = cli("prompts", "diff", "greet", now)
    assert (same.code, same.out) == (0, f"No difference: agents are told what they were told in run {now}.\n")


def test_agents_and_tasks_that_came_and_went(cli: Any, greet: Path, script: Callable[..., Any]) -> None:
    _run(cli, script)
    _edit(greet / "crews" / "greet.yaml", "tasks: {hail:", "tasks: {wave:")
    came, went = json.loads(cli("prompts", "diff", "greet", "--json").out)["changes"]
    assert came["task"] == "wave" and all(line[0] in "+@-" for line in came["diff"]) and "+Say hello." in came["diff"]
    assert not any(line.startswith("-") for line in came["diff"][2:])
    assert went["task"] == "hail" and "-Say hello." in went["diff"]
    assert not any(line.startswith("+") for line in went["diff"][2:])


def test_without_another_run_there_is_no_difference(cli: Any, greet: Path, script: Callable[..., Any]) -> None:
    script([])
    for _ in range(2):
        done = cli("prompts", "diff", "greet")
        assert done.code == 0 and done.out.startswith("No difference: no recorded run of greet")
        assert json.loads(cli("prompts", "diff", "greet", "--json").out) == {
            "crew": "greet",
            "run_id": None,
            "changes": [],
            "scores": [],
        }
        _run(cli, script)


def test_secrets_are_masked_on_both_sides(
    cli: Any, greet: Path, script: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PORT_TOKEN", "tok-4711-harbour-9")
    _edit(greet / "crews" / "greet.yaml", "Say hello.", "Say tok-4711-harbour-9.")
    run_id = _run(cli, script)
    assert cli("prompts", "diff", "greet").out.startswith("No difference: no recorded run")
    assert cli("prompts", "diff", "greet", run_id).out.startswith("No difference: agents are told")
    _edit(greet / "crews" / "greet.yaml", "Say tok", "Whisper tok")
    out = cli("prompts", "diff", "greet").out
    assert "-Say [secret PORT_TOKEN]." in out and "+Whisper [secret PORT_TOKEN]." in out and "4711" not in out


def test_a_run_of_another_crew_and_one_that_is_not_there(cli: Any, greet: Path, script: Callable[..., Any]) -> None:
    run_id = _run(cli, script)
    other = cli("prompts", "diff", "hello", run_id)
    assert other.code == 2 and f"Run {run_id} is one of the crew greet, not of hello." in other.err
    assert cli("prompts", "diff", "greet", "nothing-such").code == 2
    assert cli("prompts", "diff", "great").code == 2


def test_what_is_gone_since_the_run_is_named(cli: Any, greet: Path, script: Callable[..., Any]) -> None:
    tool = greet / "tools" / "wind.py"
    tool.write_text(
        "from quarterdeck.tools.manifest import tool\n\n\n"
        '@tool(effect="read", owner="you", sinks={})\n'
        'def now() -> str:\n    """Return the wind."""\n    return "calm"\n'
    )
    _edit(greet / "crews" / "greet.yaml", "{use: greeter}", "{use: greeter, tools: [wind.now]}")
    run_id = _run(cli, script)
    _edit(greet / "crews" / "greet.yaml", ", tools: [wind.now]", "")
    assert "-- tool wind.now" in cli("prompts", "diff", "greet").out
    tool.unlink()
    done = cli("prompts", "diff", "greet")
    assert done.code == 2 and f"run {run_id} cannot be made again" in done.err and '"wind.now"' in done.err
    assert "Traceback" not in done.err


def test_a_crew_that_this_version_cannot_read(cli: Any, greet: Path, script: Callable[..., Any]) -> None:
    import asyncio

    from quarterdeck.journal.run import RunJournal
    from quarterdeck.journal.store import Store

    run_id = _run(cli, script)
    _edit(greet / "crews" / "greet.yaml", "Say hello.", "Say good day.")

    async def leave_one() -> str:
        with Store.open(f"sqlite:///{greet}/runs/journal.db") as store:
            journal = await RunJournal.start(
                store, crew="greet", spec={"crew": {"crew": "greet", "moods": 3}}, inputs={}, spec_hash="x", version="9"
            )
            await journal.close()
            return journal.id

    unread = asyncio.run(leave_one())
    assert json.loads(cli("prompts", "diff", "greet", "--json").out)["run_id"] == run_id
    done = cli("prompts", "diff", "greet", unread)
    assert done.code == 4 and "recorded by Quarterdeck 9" in done.err
