"""A person approves, edits or rejects a call from the command line, days later and in another process."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from sqlalchemy import create_engine, text

from quarterdeck.cli.approvals import _lines, _row
from quarterdeck.cli.screen import Screen
from quarterdeck.governance.queue import Item
from quarterdeck.journal.events import ApprovalAnswered, ApprovalAsked
from quarterdeck.testing import answer, call, together
from quarterdeck.testing import text as says

CREW = """\
crew: refunds
autonomy: {autonomy}
agents:
  resolver: {{role: Resolver, goal: Be fair., backstory: Calm., tools: [payments.refund, notes.read]}}
tasks:
  settle: {{agent: resolver, description: Settle order 1182., expected_output: One line.}}
scope: {{escalate_below: 0.6}}
"""
TOOL = '''\
"""Payments."""

from pathlib import Path

from quarterdeck.tools.manifest import tool


@tool(effect="irreversible", owner="payments", sinks={"order": "other", "eur": "amount"})
def refund(order: str, eur: float) -> str:
    """Give money back to whoever placed an order.

    Args:
        order: The order's number.
        eur: How much to give back, in EUR.
    """
    with Path("paid.txt").open("a") as paid:
        paid.write(f"{order} {eur}\\n")
    return f"refunded {eur}"
'''
REFUND = together(
    says("The ledger shows two captures. Confidence: 0.65."), call("payments.refund", order="1182", eur=140.0)
)


def paid() -> list[str]:
    file = Path("paid.txt")
    return file.read_text().splitlines() if file.exists() else []


def start(
    cli: Any, script: Callable[..., Any], workspace: Path, steps: list[Any], autonomy: str = "medium", tool: str = TOOL
) -> str:
    (workspace / "crews" / "refunds.yaml").write_text(CREW.format(autonomy=autonomy))
    (workspace / "tools" / "payments.py").write_text(tool)
    script(steps)
    done = cli("run", "refunds", "--json")
    result = json.loads(done.out.splitlines()[-1])
    assert (done.code, result["status"], result["code"]) == (11, "waiting", "approval"), done
    assert paid() == []
    return str(result["run_id"])


@pytest.fixture
def waiting(cli: Any, workspace: Path, script: Callable[..., Any]) -> str:
    return start(cli, script, workspace, [REFUND, says("Settled.")])


def id_of(cli: Any) -> str:
    (item,) = json.loads(cli("approvals", "list", "--json").out)
    return str(item["id"])


def test_list_and_show(cli: Any, waiting: str) -> None:
    listed = cli("approvals", "list").out
    question = id_of(cli)
    assert listed.startswith(f"{question}  run {waiting}  refunds crew, agent resolver  payments.refund(order=")
    assert listed.rstrip().endswith("expires in 24 h")
    shown = cli("approvals", "show", question[:4]).out
    for line in (
        'Wants   payments.refund(order="1182", eur=140.0)        irreversible, tier approve',
        "Why     The ledger shows two captures. Confidence: 0.65.",
        "Unsure  0.35",
        "Else    other arguments; use notes.read; do nothing",
        "Next    Approved: payments.refund is called once with exactly these arguments.",
        "State   expires in 24 h",
    ):
        assert f"\n{line}" in f"\n{shown}", shown
    data = json.loads(cli("approvals", "show", question, "--json").out)
    assert (data["tool"], data["arguments"], data["state"]) == (
        "payments.refund",
        {"order": "1182", "eur": 140.0},
        "open",
    )


def test_approve_then_resume(cli: Any, waiting: str) -> None:
    question = id_of(cli)
    done = cli("approvals", "approve", question, "--reason", "checked the ledger")
    assert done.out.startswith(f"Approved once, for exactly these arguments. Run {waiting} goes on with: ")
    assert paid() == []
    assert cli("runs", "resume", waiting).code == 0
    assert paid() == ["1182 140.0"]
    assert cli("approvals", "list").out == "Nothing waits for a person.\n"
    assert (
        "approved by" in cli("approvals", "show", question).out
        and "checked the ledger" in cli("runs", "show", waiting).out
    )
    again = cli("approvals", "approve", question)
    assert again.code == 4 and "has ended" in again.err
    assert paid() == ["1182 140.0"]


def test_approve_can_go_on_at_once(cli: Any, waiting: str) -> None:
    done = cli("approvals", "approve", id_of(cli), "--resume", "--json")
    assert done.code == 0 and json.loads(done.out.splitlines()[-1])["status"] == "succeeded"
    assert paid() == ["1182 140.0"]


def test_edit_checks_like_the_agents_own_arguments(cli: Any, waiting: str) -> None:
    question = id_of(cli)
    wrong = cli("approvals", "edit", question, "--set", "eur=much")
    assert wrong.code == 2 and '"eur"' in wrong.err and "Nothing was recorded." in wrong.err
    assert "unknown argument" in cli("approvals", "edit", question, "--set", "euro=1").err
    assert cli("approvals", "edit", question, "--set", "eur=70", "--resume").code == 0
    assert paid() == ["1182 70.0"]
    assert "edited by" in cli("approvals", "show", question).out


def test_reject_needs_a_reason_and_tells_it(cli: Any, waiting: str) -> None:
    question = id_of(cli)
    assert cli("approvals", "reject", question).code == 2
    assert cli("approvals", "reject", question, "--reason", " ").code == 2
    done = cli("approvals", "reject", question, "--reason", "it is a deposit", "--resume")
    assert done.code == 0 and paid() == []
    assert "it is a deposit" in cli("runs", "show", waiting).out


def test_a_low_dial_recommends_and_a_person_carries_out(cli: Any, workspace: Path, script: Callable[..., Any]) -> None:
    """At the dial's lowest position a call that cannot be undone is not even proposed to a person."""
    (workspace / "crews" / "refunds.yaml").write_text(CREW.format(autonomy="low"))
    (workspace / "tools" / "payments.py").write_text(TOOL)
    script([REFUND, says("I recommend to refund 140 EUR.")])
    done = cli("run", "refunds", "--json")
    assert done.code == 0 and paid() == [] and cli("approvals", "list").out == "Nothing waits for a person.\n"
    external = TOOL.replace('"irreversible"', '"external"')
    start(cli, script, workspace, [REFUND, says("Settled.")], autonomy="low", tool=external)
    assert cli("approvals", "approve", id_of(cli), "--resume").code == 0
    assert paid() == ["1182 140.0"]


def test_a_run_without_its_question_and_an_unknown_id(cli: Any, waiting: str) -> None:
    done = cli("approvals", "show", "azzzz")
    assert done.code == 2 and f"Open: {id_of(cli)}." in done.err
    cli("runs", "cancel", waiting)
    assert cli("approvals", "list").out == "Nothing waits for a person.\n"
    assert cli("approvals", "list", "--json").out == "[]\n"


def test_a_preview_cannot_be_edited_into_the_real_call(cli: Any, workspace: Path, script: Callable[..., Any]) -> None:
    tool = (
        TOOL.replace('"other"', '"recipient"')
        .replace('"amount"})', '"amount"}, dry_run="preview")')
        .replace("eur: float)", "eur: float, preview: bool = True)")
    )
    tool = tool.replace("in EUR.\n", "in EUR.\n        preview: Only say it.\n").replace(
        "    with", "    if preview:\n        return 'would pay'\n    with"
    )
    start(cli, script, workspace, [call("payments.refund", order="9999", eur=1.0), says("Settled.")], tool=tool)
    question = id_of(cli)
    for wrong in ("preview=false", "preview=0"):
        done = cli("approvals", "edit", question, "--set", wrong)
        assert done.code == 2 and "preview cannot be edited" in done.err and "Nothing was recorded." in done.err
    assert json.loads(cli("approvals", "show", question, "--json").out)["state"] == "open" and paid() == []


ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(), inner, max_size=2),
    max_leaves=5,
)
ODD = "a\nState   approved by boss: all fine\nWants   req()\x1b[2J\u202e\u2028\x85\r"


@example(arguments={ODD: {ODD: ODD}}, said=ODD)
@given(arguments=st.dictionaries(st.text(), ANY, max_size=3), said=st.text())
def test_whatever_an_argument_holds_each_line_is_what_it_says(arguments: dict[str, Any], said: str) -> None:
    asked = ApprovalAsked(
        path="do/turn-1", id="a2b3c4", reason="provenance", needs=said, tool="req", arguments=arguments, effect="write",
        tier="approve", why=said, uncertainty=0.5, origins=dict.fromkeys([*arguments, said], said), options=(said,),
        next=said, agent=said, expires_at=time.time() + 3600,
    )  # fmt: skip
    answered = ApprovalAnswered(path="do/turn-1", id="a2b3c4", answer="approved", by=said, reason=said)
    run = SimpleNamespace(id="r1", crew="c", status="waiting", cancel_requested=False)
    item = Item(cast(Any, run), asked, answered)
    out = StringIO()
    for label, line in _lines(item):
        Screen(out, terminal=False).line(f"{label:<8}{line}")
    Screen(out, terminal=False).columns([_row(item)])
    shown = out.getvalue()
    assert all(one.isprintable() for one in shown.split("\n"))
    labels = [line[:8].rstrip() for line in shown.split("\n")]
    exact = ["Exact"] if "Exact" in labels else []
    assert labels[:-2] == ["Wants", *exact, "Needs", "Why", "Unsure", "Origin", "Else", "Next", "State"]
    if not exact:  # nothing in it can be taken for something else
        assert json.dumps(arguments) == json.dumps(arguments, ensure_ascii=False)


def test_nothing_has_been_run(cli: Any, workspace: Path) -> None:
    assert cli("approvals", "list").out == "Nothing waits for a person.\n"


@pytest.mark.parametrize(
    "change",
    [
        """UPDATE events SET body = replace(body, '140.0', '9.0') WHERE kind = 'approval.asked'""",
        """UPDATE events SET body = replace(body, '"needs":"', '"needs":"harmless; ') WHERE kind = 'approval.asked'""",
        """DELETE FROM events WHERE kind = 'approval.asked'""",
        """UPDATE events SET kind = 'decision' WHERE kind = 'approval.asked'""",
    ],
)
def test_a_question_that_was_changed_cannot_be_approved(cli: Any, waiting: str, change: str) -> None:
    question = id_of(cli)
    engine = create_engine("sqlite:///runs/journal.db")
    with engine.begin() as connection:
        assert connection.execute(text(change)).rowcount == 1
    engine.dispose()
    assert cli("approvals", "approve", question).code != 0
    assert cli("runs", "resume", waiting).code != 0
    assert paid() == []


def test_an_approval_that_was_forged_stops_the_run(cli: Any, waiting: str) -> None:
    """Whoever can write a row, but does not know the chain, gains nothing by it."""
    item = json.loads(cli("approvals", "show", id_of(cli), "--json").out)
    body = json.dumps({
        "v": 1, "path": item["path"], "task": "settle", "agent": "resolver", "at": time.time(),
        "kind": "approval.answered", "id": item["id"], "answer": "approved", "arguments": None,
        "arguments_hash": item["arguments_hash"], "choice": "", "by": "ann", "reason": "",
    })  # fmt: skip
    row = {"run": waiting, "path": item["path"], "body": body}
    engine = create_engine("sqlite:///runs/journal.db")
    with engine.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO events SELECT run_id, seq + 1, 'approval.answered', :path, at, '', :body, hash, "
                "previous_hash FROM events WHERE run_id = :run ORDER BY seq DESC LIMIT 1"
            ),
            row,
        )
    assert cli("runs", "resume", waiting).code == 4 and paid() == []
    with engine.begin() as connection:
        connection.execute(text("UPDATE runs SET last_seq = last_seq + 1 WHERE id = :run"), row)
    engine.dispose()
    done = cli("runs", "resume", waiting)
    assert done.code == 4 and paid() == [] and "audit verify" in done.err


def test_a_doubtful_answer_waits_for_a_person(cli: Any, workspace: Path, script: Callable[..., Any]) -> None:
    crew = CREW.format(autonomy="medium").replace(
        "One line.}", "One line., output: {verdict: string, confidence: number}}"
    )
    (workspace / "crews" / "refunds.yaml").write_text(crew)
    (workspace / "tools" / "payments.py").write_text(TOOL)
    script([answer({"verdict": "refund", "confidence": 0.4}), answer({"verdict": "wait", "confidence": 0.5})])
    assert cli("run", "refunds").code == 11
    listed = cli("approvals", "list").out
    assert "answer: confidence 0.4 is below 0.6" in listed
    rejected = cli("approvals", "reject", id_of(cli), "--reason", "ask the bank", "--resume")
    assert rejected.code == 11
    assert "ask the bank" in cli("runs", "show", "LAST").out
    done = cli("approvals", "approve", id_of(cli), "--resume", "--json")
    assert done.code == 0 and json.loads(done.out.splitlines()[-1])["output"]["verdict"] == "wait"


def test_what_else_waits_is_listed_with_its_command(cli: Any, workspace: Path, script: Callable[..., Any]) -> None:
    plan = CREW.format(autonomy="medium").replace(
        "backstory: Calm.,", "backstory: Calm., plan: {planner: cheap, review: true},"
    )
    (workspace / "crews" / "refunds.yaml").write_text(plan)
    (workspace / "tools" / "payments.py").write_text(TOOL)
    step = {"id": "read", "does": "Read.", "tool": "notes.read", "inputs": {"name": "welcome.md"}}
    script([answer({"steps": [step], "answer": "read"})])
    assert cli("run", "refunds").code == 11
    out = cli("approvals", "list").out
    assert "a plan to review" in out and "quarterdeck plans show" in out
    (item,) = json.loads(cli("approvals", "list", "--json").out)
    assert item["kind"] == "plan_review"


def test_a_used_up_budget_is_listed_with_its_command(cli: Any, workspace: Path, script: Callable[..., Any]) -> None:
    (workspace / "crews" / "refunds.yaml").write_text(CREW.format(autonomy="medium") + "limits: {tokens: 1}\n")
    (workspace / "tools" / "payments.py").write_text(TOOL)
    script([])
    assert cli("run", "refunds").code == 11
    out = cli("approvals", "list").out
    assert "has used up its tokens" in out and "quarterdeck runs resume" in out and "--tokens NUMBER" in out


def test_instruct_a_run_that_waits(cli: Any, workspace: Path, script: Callable[..., Any]) -> None:
    model: list[Any] = []

    def heard(request: Any) -> Any:
        model.extend(message.content for message in request.messages)
        return says("Réglé.")

    run_id = start(cli, script, workspace, [REFUND, heard])
    assert "hear it when the run goes on" in cli("runs", "instruct", run_id, "Answer in French.").out
    assert cli("runs", "instruct", run_id, " ").code == 2
    assert cli("approvals", "approve", id_of(cli), "--resume").code == 0
    assert "The person in charge of this work says: Answer in French." in model
    assert cli("runs", "instruct", run_id, "Too late.").code == 4


RULES = """\
rules:
  - {tools: [payments.*], when: eur > 1000, tier: forbidden, why: never so much}
  - {tools: [payments.*], when: eur > 100, tier: approve, why: borderline}
  - {tools: [payments.*], tier: autonomous}
notify: {webhook: "http://127.0.0.1:1/hook"}
"""


def test_a_borderline_value_waits_and_an_edit_cannot_pass_what_is_forbidden(
    cli: Any, workspace: Path, script: Callable[..., Any]
) -> None:
    config = workspace / "config" / "governance.yaml"
    config.write_text(RULES)
    small = together(says("Sure."), call("payments.refund", order="1182", eur=99.0))
    # both amounts are the operator's own words, so that nothing but the policy decides
    crew = CREW.format(autonomy="medium").replace("1182.,", "1182 with 99.0 EUR; with 140.0 EUR if need be.,")
    (workspace / "crews" / "refunds.yaml").write_text(crew)
    (workspace / "tools" / "payments.py").write_text(TOOL.replace('"irreversible"', '"external"'))
    script([small, REFUND, says("Settled.")])
    assert cli("run", "refunds").code == 11
    assert paid() == ["1182 99.0"], "below the border nobody is asked"
    assert "borderline" in cli("approvals", "show", id_of(cli)).out
    assert cli("approvals", "edit", id_of(cli), "--set", "eur=5000", "--resume").code == 0
    assert paid() == ["1182 99.0"]
    shown = cli("runs", "show", "LAST").out
    assert "never so much" in shown, "the agent is told who forbids it"
    assert "notify webhook failed" in shown and "names no secret" in shown, "and a notice never goes out unsigned"
