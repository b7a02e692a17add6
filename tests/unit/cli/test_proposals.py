"""What a run in shadow proposed is carried out by a person, once, through the gate; before that nothing is done."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from quarterdeck import Gate, tool
from quarterdeck.engine.proposed import carry_out
from quarterdeck.errors import JournalError
from quarterdeck.governance.proposals import find_proposal, refuse
from quarterdeck.journal.store import Store
from quarterdeck.spec.governance import GovernanceConfig, TrialSpec
from quarterdeck.spec.workspace import Workspace
from quarterdeck.testing import call, together
from quarterdeck.testing import text as says

CREW = """\
crew: desk
autonomy: shadow
agents:
  clerk: {role: Clerk, goal: Be fair., backstory: Calm., tools: [crm.note, crm.read]}
tasks:
  settle: {agent: clerk, description: Settle order 1182., expected_output: One line.}
"""
TOOL = '''\
"""Notes on customers."""

import os
from pathlib import Path

from quarterdeck.tools.manifest import tool


@tool(effect="write", owner="desk", sinks={})
def note(text: str, stars: int = 1) -> str:
    """Write a note.

    Args:
        text: What to write.
        stars: How important it is.
    """
    with Path("notes.txt").open("a") as notes:
        notes.write(f"{text} {stars}\\n")
    if text == "die":
        os._exit(9)
    return "noted"


@tool(effect="read", owner="desk", sinks={})
def read() -> str:
    """Read the notes."""
    return "none"
'''


def noted() -> list[str]:
    file = Path("notes.txt")
    return file.read_text().splitlines() if file.exists() else []


def shadow(cli: Any, script: Callable[..., Any], workspace: Path, **arguments: Any) -> tuple[str, str]:
    """Run the crew in shadow; return its run and the id of what it proposed."""
    (workspace / "crews" / "desk.yaml").write_text(CREW)
    (workspace / "tools" / "crm.py").write_text(TOOL)
    arguments = arguments or {"text": "Captured twice."}
    script([together(says("Two captures. Confidence: 0.7."), call("crm.note", **arguments)), says("I would note it.")])
    ran = cli("run", "desk", "--json")
    assert ran.code == 0, ran
    done = json.loads(ran.out.splitlines()[-1])
    assert done["status"] == "succeeded" and noted() == []
    [one] = json.loads(cli("approvals", "list", "--shadowed", "--json").out)
    return str(done["run_id"]), str(one["id"])


@pytest.fixture
def made(cli: Any, workspace: Path, script: Callable[..., Any]) -> tuple[str, str]:
    return shadow(cli, script, workspace)


def test_it_is_shown_with_its_evidence_and_nothing_is_done(cli: Any, made: tuple[str, str]) -> None:
    run, proposal = made
    assert cli("approvals", "list").out == "Nothing waits for a person.\n"
    assert cli("approvals", "list", "--shadowed").out.startswith(
        f"{proposal}  run {run}  desk crew, agent clerk  crm.note("
    )
    shown = cli("approvals", "show", proposal[:5]).out
    for part in ('Wants   crm.note(text="Captured twice.")', "Two captures.", "Unsure  0.3", "shadow: this deployment"):
        assert part in shown, shown
    assert f"proposes, not done ({proposal})" in cli("runs", "show", run).out
    assert noted() == []


def test_it_is_carried_out_once_in_a_run_of_its_own(cli: Any, made: tuple[str, str]) -> None:
    run, proposal = made
    done = cli("approvals", "approve", proposal, "--reason", "looked it up")
    assert done.code == 0 and "crm.note: ok" in done.out, done
    assert noted() == ["Captured twice. 1"]
    again = cli("approvals", "approve", proposal)
    assert again.code == 4 and "answered already: succeeded" in again.err
    assert cli("approvals", "reject", proposal, "--reason", "no").code == 4
    assert noted() == ["Captured twice. 1"]
    assert cli("approvals", "list", "--shadowed").out == "No call was proposed in shadow.\n"
    own = json.loads(cli("runs", "show", proposal, "--json").out)
    kinds = [event["kind"] for event in own["events"]]
    assert kinds == [
        "run.started", "approval.asked", "approval.answered", "effect.started", "tool.called", "run.ended",
    ]  # fmt: skip
    called = own["events"][4]
    assert (called["approval"], called["status"], called["tier"]) == (proposal, "ok", "approve")
    assert own["events"][2]["reason"] == "looked it up" and own["events"][2]["by"]
    assert cli("audit", "verify", proposal).code == cli("audit", "verify", run).code == 0
    assert (
        "approvals approve" in cli("runs", "resume", proposal).err or "has ended" in cli("runs", "resume", proposal).err
    )


def test_of_two_who_approve_at_once_one_carries_it_out(workspace: Path, made: tuple[str, str]) -> None:
    url = f"sqlite:///{workspace}/runs/journal.db"

    async def both() -> list[Any]:
        with Store.open(url) as one, Store.open(url) as other:
            work = (carry_out(find_proposal(store, made[1]), store, Workspace(workspace)) for store in (one, other))
            return await asyncio.gather(*work, return_exceptions=True)

    said = asyncio.run(both())
    assert sorted(isinstance(one, JournalError) for one in said) == [False, True], said
    assert [one.status for one in said if not isinstance(one, JournalError)] == ["ok"]
    assert noted() == ["Captured twice. 1"]


@pytest.mark.parametrize("dial", ["shadow", "low"])
def test_what_cannot_be_undone_is_proposed_where_the_dial_behind_it_would_ask(
    cli: Any, workspace: Path, script: Callable[..., Any], dial: str
) -> None:
    (workspace / "crews" / "desk.yaml").write_text(CREW.replace("autonomy: shadow", f"autonomy: {dial}"))
    tool = TOOL.replace('"write"', '"irreversible"').replace("sinks={})", 'sinks={}, dry_run="preview")', 1)
    tool = tool.replace("stars: int = 1", "preview: bool = True").replace(
        "stars: How important it is", "preview: Only say"
    )
    tool = tool.replace(" {stars}", "").replace("    with", "    if preview:\n        return 'would note'\n    with", 1)
    (workspace / "tools" / "crm.py").write_text(tool)
    real = call("crm.note", text="Captured twice.", preview=False)
    script([call("crm.note", text="Captured twice."), real, says("I would note it.")])
    assert cli("run", "desk", "--autonomy", "shadow").code == 0
    proposed = json.loads(cli("approvals", "list", "--shadowed", "--json").out)
    assert noted() == [] and len(proposed) == (dial == "shadow")
    for one in proposed:
        assert (one["tier"], one["effect"], one["arguments"]["preview"]) == ("approve", "irreversible", False)
        assert cli("approvals", "approve", one["id"]).code == 0
        assert noted() == ["Captured twice."]


def test_what_is_rejected_is_never_done(cli: Any, made: tuple[str, str]) -> None:
    _, proposal = made
    assert cli("approvals", "edit", proposal, "--set", "stars=2").code == 2
    assert cli("approvals", "reject", proposal, "--reason", "a deposit").code == 0
    assert cli("approvals", "approve", proposal).code == 4
    assert noted() == [] and cli("approvals", "list", "--shadowed").out == "No call was proposed in shadow.\n"


def test_what_the_operator_forbids_meanwhile_is_not_done(cli: Any, workspace: Path, made: tuple[str, str]) -> None:
    (workspace / "config" / "governance.yaml").write_text("rules:\n  - {tools: [crm.note], tier: forbidden}\n")
    done = cli("approvals", "approve", made[1])
    assert done.code == 1 and "forbidden" in done.out and noted() == []


def test_other_arguments_than_were_recorded_are_not_done(cli: Any, workspace: Path, made: tuple[str, str]) -> None:
    with sqlite3.connect(workspace / "runs" / "journal.db") as database:
        database.execute(
            "update events set body = replace(body, 'Captured twice.', 'Once.') where kind = 'call.proposed'"
        )
    database.close()
    done = cli("approvals", "approve", made[1])
    assert done.code == 4 and "was changed" in done.err and noted() == []


def test_what_cannot_be_shown_exactly_is_nothing_to_approve(workspace: Path, made: tuple[str, str]) -> None:
    """As where a secret was masked on its way into the journal: then the hash is that of other arguments."""
    with Store.open(f"sqlite:///{workspace}/runs/journal.db", read_only=True) as store:
        proposal = find_proposal(store, made[1])
    refuse(proposal)
    masked = proposal.asked.model_copy(update={"arguments": {"text": "[secret DESK_KEY]"}})
    with pytest.raises(JournalError, match="not exactly what would be done"):
        refuse(replace(proposal, asked=masked))


def test_it_expires_and_waits_for_the_end_of_its_run(
    cli: Any, workspace: Path, made: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run, proposal = made
    file = workspace / "runs" / "journal.db"
    with sqlite3.connect(file) as database:
        database.execute("update runs set status = 'waiting' where id = ?", (run,))
    assert "has not ended" in cli("approvals", "approve", proposal).err
    with sqlite3.connect(file) as database:
        database.execute("update runs set status = 'failed' where id = ?", (run,))
    database.close()
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 25 * 3600)
    assert "has expired" in cli("approvals", "approve", proposal).err
    assert noted() == []


def test_a_process_that_dies_during_it_leaves_a_question_and_no_second_call(
    cli: Any, script: Callable[..., Any], workspace: Path
) -> None:
    _, proposal = shadow(cli, script, workspace, text="die")
    assert cli("approvals", "approve", proposal).code == 11
    assert noted() == ["die 1"]
    waits = cli("approvals", "approve", proposal)
    assert waits.code == 11 and f"Then: quarterdeck approvals approve {proposal}" in waits.out, waits
    [question] = json.loads(cli("approvals", "list", "--json").out)
    said = cli("approvals", "approve", question["id"], "--choose", "happened")
    assert said.code == 0 and f"quarterdeck approvals approve {proposal}" in said.out
    assert cli("approvals", "approve", proposal).code == 0
    assert noted() == ["die 1"]


def test_an_unknown_one_is_named(cli: Any, made: tuple[str, str]) -> None:
    assert "There is no proposal 'szzz'" in cli("approvals", "show", "szzz").err


def test_a_programs_own_functions_are_named_as_such(cli: Any, workspace: Path) -> None:
    """Of a gate in a program the command line knows the calls, and neither the functions nor how to go on."""

    @tool(effect="irreversible", owner="desk", sinks={})
    def pay(eur: int) -> str:
        """Pay.

        Args:
            eur: How much.
        """
        paid.append(eur)
        return "paid"

    paid: list[int] = []
    with Gate([pay]) as gate:
        question = gate.call("pay", {"eur": 7}).approval
        edited = cli("approvals", "edit", question, "--set", "eur=1")
        assert edited.code == 2 and f"a function of the program that opened the gate {gate.run_id}" in edited.err
        said = cli("approvals", "approve", question)
        assert said.code == 0 and "next `gate.call`" in said.out and "runs resume" not in said.out
        assert gate.call("pay", {"eur": 7}).status == "ok" and paid == [7]
    undone = cli("runs", "undo", gate.run_id, "--dry-run")
    assert "it has to undo itself" in undone.out
    with Gate([pay], governance=GovernanceConfig(trial=TrialSpec(verified_calls=1))) as gate:
        assert gate.call("pay", {"eur": 9}).status == "shadowed"
    [one] = json.loads(cli("approvals", "list", "--shadowed", "--json").out)
    done = cli("approvals", "approve", one["id"])
    assert done.code == 4 and "Make the call there" in done.err and paid == [7]
