"""`quarterdeck tools`, `validate` on tools that are left open, and `run --autonomy`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from quarterdeck.testing import call, text
from quarterdeck.tools.mcp_lock import Described, write_lock

PAYMENTS = '''\
"""Payments."""

from quarterdeck.tools.manifest import tool

raise_on_import = 1 / 0
SINKS = {"to": "recipient", "eur": "amount"}


@tool(effect="irreversible", owner="finance", sinks=SINKS, version="2")
def refund(to: str, eur: float) -> str:
    """Refund money.

    Args:
        to: Whom.
        eur: How much.
    """
    return to


def count() -> int:
    """Count the payments."""
    return 1
'''
BELL = '''\
"""The bell."""

from pathlib import Path

from quarterdeck.tools.manifest import tool


@tool(effect="write", owner="the mate", sinks={})
def ring(times: int) -> str:
    """Ring it.

    Args:
        times: How often.
    """
    Path("rung").write_text(str(times))
    return "ding"
'''


@pytest.fixture
def payments(workspace: Path) -> Path:
    (workspace / "tools" / "payments.py").write_text(PAYMENTS)
    return workspace


def grant(workspace: Path, tools: str) -> None:
    crew = workspace / "crews" / "hello.yaml"
    crew.write_text(crew.read_text().replace("tools: [notes.read]", f"tools: [notes.read, {tools}]"))


def govern(workspace: Path, text: str) -> None:
    (workspace / "config" / "governance.yaml").write_text(text)


def test_the_list_says_effect_tier_sinks_and_owner(cli: Any, payments: Path) -> None:
    lines = [" ".join(line.split()) for line in cli("tools", "list").out.splitlines()]
    assert lines[0] == "autonomy: medium"
    assert "payments.refund irreversible approve to (recipient), eur (amount) finance" in lines
    assert "payments.refund@2 irreversible approve to (recipient), eur (amount) finance" in lines
    assert "payments.count ? forbidden ? ?" in lines and "notes.read read autonomous none you" in lines
    assert "output.write write autonomous none the run" in lines


def test_tiers_are_those_of_the_present_dial(cli: Any, payments: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QUARTERDECK_AUTONOMY", "low")
    tiers = {tool["tool"]: tool["tier"] for tool in json.loads(cli("tools", "list", "--json").out)}
    assert (tiers["payments.refund"], tiers["notes.read"]) == ("forbidden", "autonomous")
    monkeypatch.setenv("QUARTERDECK_AUTONOMY", "shadow")
    tiers = {tool["tool"]: tool["tier"] for tool in json.loads(cli("tools", "list", "--json").out)}
    assert (tiers["output.write"], tiers["notes.read"], tiers["payments.count"]) == (
        "shadow",
        "autonomous",
        "forbidden",
    )


def test_one_tool_is_shown_with_the_rule_that_decides(cli: Any, payments: Path) -> None:
    govern(
        payments,
        "rules:\n  - {tools: [other], tier: forbidden}\n  - {tools: [payments.*], when: eur > 5, tier: forbidden}\n",
    )
    out = cli("tools", "show", "payments.refund").out
    assert "forbidden  (config/governance.yaml:3)" in out and "tools/payments.py:9" in out
    shown = json.loads(cli("tools", "show", "payments.refund", "--json").out)
    assert shown["runs_in"] == "process" and "runs in" in out
    govern(payments, "tools:\n  payments.*: {isolated: false}\n")
    assert "thread: cannot be killed" in cli("tools", "show", "payments.refund").out
    assert "nobody has said its effect, owner and sinks" in cli("tools", "show", "payments.count").out
    wrong = cli("tools", "show", "payments.refnd")
    assert wrong.code == 2 and 'did you mean "payments.refund' in wrong.err


def test_check_finds_what_is_left_open_or_wrong(cli: Any, payments: Path) -> None:
    (payments / "tools" / "desk.py").write_text(
        BELL.replace('effect="write"', 'effect="wirte", efect=1').replace(
            "sinks={}", 'sinks={"time": "amount", "times": "x"}'
        )
    )
    done = cli("tools", "check")
    assert done.code == 2
    lines = done.out.splitlines()
    assert [line.split()[0] for line in lines] == ["tools/desk.py:8:2"] * 5 + ["tools/payments.py:20:1"]
    assert json.loads(cli("tools", "check", "--json").out)["warnings"] == []  # first what is wrong in a file
    for part in (
        "must be one of read, write, external, irreversible, not 'wirte'",
        '@tool has no efect; did you mean "effect"?',
        "it has no parameter 'time'; did you mean \"times\"?",
        "times must be one of recipient, url, path, amount, command, other",
        'payments.count: nobody has said its effect, owner and sinks; write, such as, @tool(effect="read",',
    ):
        assert part in done.out
    (payments / "tools" / "desk.py").unlink()
    govern(payments, "tools:\n  payments.count: {effect: read, owner: finance, sinks: {}}\n")
    done = cli("tools", "check")
    assert done.code == 0 and done.out.splitlines()[-1] == "4 tools: all fine."
    warned = done.out.splitlines()[:-1]
    assert [line.split("  ")[0] for line in warned] == [
        "warning: tools/payments.py:9:2",
        "warning: tools/payments.py:20:1",
    ]
    assert all("does not say when to use it" in line and "add `Returns:`" in line for line in warned)


def test_validate_fails_for_an_open_tool_only_when_it_is_granted(cli: Any, payments: Path) -> None:
    assert cli("validate").code == 0
    grant(payments, "payments.count")
    done = cli("validate")
    (told,) = [line for line in done.out.splitlines() if not line.startswith("warning: ")][:-1]
    assert done.code == 2 and told.startswith("tools/payments.py:20:1")
    assert "nobody has said its effect, owner and sinks" in done.out and "1 problem in 1 file" in done.out
    assert cli("validate", "hello").code == 2
    govern(payments, "tools:\n  payments.*: {effect: read, owner: finance}\n")
    assert "nobody has said its sinks; write, such as, @tool(sinks={})" in cli("validate").out
    govern(payments, "tools:\n  payments.*: {effect: read, owner: finance, sinks: {}}\n")
    assert cli("validate").code == 0


@pytest.mark.parametrize(
    ("file", "place", "what"),
    [
        ("autonomy: medum\n", "1:1", 'did you mean "medium"?'),
        ("tools:\n  a.b: {efect: read}\n", "2:9", 'did you mean "effect"?'),
        ("tools:\n  a.b: {sinks: {to: person}}\n", "2:17", "must be one of recipient"),
        ("rules:\n  - {tier: approve, when: eur >}\n", "2:21", "not a condition"),
        ("rules:\n  - {tools: [a.*]}\n", "2:5", "missing"),
        ("rules:\n  - {tier: approve}\n  - {tools: [a.*], tier: forbidden}\n", "3:5", "never reached"),
        ("levels: {shadow: {write: notify}}\n", "1:1", ""),
        ("trial: {verified_calls: -1}\n", "1:9", "at least 0"),
    ],
)
def test_mistakes_in_the_file_are_told_where_they_stand(
    cli: Any, workspace: Path, file: str, place: str, what: str
) -> None:
    govern(workspace, file)
    done = cli("validate")
    assert done.code == 2 and f"config/governance.yaml:{place}" in done.out and what in done.out
    assert cli("run", "hello").code == 2  # and nothing runs by half of a file


def test_a_run_can_be_made_in_shadow(cli: Any, workspace: Path, script: Any) -> None:
    (workspace / "tools" / "bell.py").write_text(BELL)
    grant(workspace, "bell.ring")
    steps = [call("bell.ring", times=3), text('{"facts": ["a", "b", "c"]}'), text("Welcome!")]
    script(steps)
    done = cli("run", "hello", "--autonomy", "shadow", "--json")
    result = json.loads(done.out.splitlines()[-1])
    assert (done.code, result["status"], result["output"], result["files"]) == (0, "succeeded", "Welcome!", [])
    assert not (workspace / "rung").exists()
    govern(workspace, "trial: {verified_calls: 3}\n")
    script(steps)
    assert cli("run", "hello").code == 0 and not (workspace / "rung").exists()  # it is new
    govern(workspace, "autonomy: medium\n")
    script(steps)
    assert cli("run", "hello").code == 0 and (workspace / "rung").read_text() == "3"


def test_the_dial_is_not_raised_by_who_runs(cli: Any, workspace: Path, script: Any) -> None:
    script([])
    done = cli("run", "hello", "--autonomy", "high")
    assert done.code == 2 and "not raise it to high" in done.err and "Nothing was run" in done.err
    assert json.loads(cli("runs", "list", "--json").out or "[]") == []


def test_trials_end_when_a_person_has_agreed(cli: Any, workspace: Path, script: Any) -> None:
    (workspace / "tools" / "bell.py").write_text(BELL)
    grant(workspace, "bell.ring")
    govern(workspace, "autonomy: high\ntrial: {verified_calls: 1}\n")
    nothing = cli("tools", "agree", "bell.ring")
    assert nothing.code == 0 and "no call of bell.ring@1" in nothing.out
    assert cli("tools", "agree", "bell.ring", "--yes").code == 0
    steps = [call("bell.ring", times=3), text('{"facts": ["a", "b", "c"]}'), text("Welcome!")]
    script(steps)
    assert cli("run", "hello").code == 0 and not (workspace / "rung").exists()
    shown = cli("tools", "agree", "bell.ring")
    assert "bell.ring@1 would have done" in shown.out and "times  3" in shown.out and "--yes" in shown.out
    trials = {row["tool"]: row for row in json.loads(cli("tools", "trials", "--json").out)}
    assert trials["bell.ring@1"] == {"tool": "bell.ring@1", "agreed": 0, "wanted": 1, "in_trial": True}
    assert "notes.read@1" not in trials
    assert "Agreed: 1 of 1." in cli("tools", "agree", "bell.ring", "--yes").out
    assert any(
        line.split() == ["bell.ring@1", "1", "of", "1", "acts"] for line in cli("tools", "trials").out.splitlines()
    )
    script(steps)
    assert cli("run", "hello").code == 0 and (workspace / "rung").read_text() == "3"
    assert cli("tools", "agree", "notes.read").code == 2


API = """\
openapi: 3.0.3
info: {title: t, version: "1"}
paths:
  /ships:
    get: {operationId: ships, summary: List the ships., responses: {"200": {description: ok}}}
    post: {operationId: berth, summary: Give a ship a berth., responses: {"200": {description: ok}}}
"""


@pytest.fixture
def harbour(workspace: Path) -> Path:
    """A workspace with an accepted MCP server that nobody can start, one without any tool, an API and a database."""
    config = workspace / "config"
    (config / "mcp.yaml").write_text(
        "servers:\n  tides: {command: /nonexistent/tides}\n  buoys: {url: 'http://127.0.0.1:9/mcp'}\n"
    )
    tide = Described("next-tide", "Say when the next tide is.", {"type": "object", "properties": {"port": {}}})
    write_lock(config / "mcp.lock", {"tides": {tide.short_name: tide}})
    (workspace / "ships.yaml").write_text(API)
    (config / "services.yaml").write_text(
        "apis:\n  ships: {spec: ships.yaml, base_url: 'https://ships.example', owner: the port}\n"
        "databases:\n  log:\n    url_env: LOG_URL\n    owner: the port\n    queries:\n"
        "      last: {description: The last entry., sql: SELECT 1}\n"
    )
    return workspace


def test_tools_of_servers_and_services_are_listed_with_where_they_come_from(cli: Any, harbour: Path) -> None:
    done = cli("tools", "list")
    lines = [" ".join(line.split()) for line in done.out.splitlines()]
    assert done.code == 0
    assert "mcp_tides.next-tide external approve ? mcp:tides MCP server tides" in lines
    assert "ships.ships read autonomous none the port API ships" in lines
    assert any(line.startswith("ships.berth external approve") and line.endswith("API ships") for line in lines)
    assert any(line.startswith("log.last read autonomous") and line.endswith("database log") for line in lines)
    assert done.err == "MCP server buoys: no tool of it is accepted; see: quarterdeck mcp pin buoys\n"
    found = {tool["tool"]: tool for tool in json.loads(cli("tools", "list", "--json").out)}
    assert found["mcp_tides.next-tide"]["from"] == "MCP server tides" and found["notes.read"]["from"] == "file"
    shown = " ".join(cli("tools", "show", "mcp_tides.next-tide").out.split())
    assert cli("tools", "show", "notes.read").err == ""
    missing = cli("tools", "show", "mcp_buoys.ring")
    assert missing.code == 2 and "MCP server buoys: no tool of it is accepted" in missing.err
    assert "from MCP server tides" in shown and "declared config/mcp.yaml:2" in shown
    assert "mcp_tides.next-tide: {sinks: {}} under tools in config/governance.yaml" in shown
    shown = " ".join(cli("tools", "show", "log.last").out.split())
    assert "from database log" in shown and "declared config/services.yaml:8" in shown
    trials = {row["tool"] for row in json.loads(cli("tools", "trials", "--json").out)}
    assert {"mcp_tides.next-tide@1", "ships.berth@1"} <= trials and "ships.ships@1" not in trials


def test_what_a_server_leaves_open_is_a_warning_until_the_operator_says_it(cli: Any, harbour: Path) -> None:
    done = cli("tools", "check")
    assert done.code == 0 and "5 tools: all fine." in done.out
    assert "warning: config/mcp.yaml:2:" in done.out and "nobody has said its sinks" in done.out
    govern(harbour, "tools:\n  mcp_tides.*: {effect: read, sinks: {}}\n")
    assert cli("tools", "check").out == "5 tools: all fine.\n"
    assert json.loads(cli("tools", "show", "mcp_tides.next-tide", "--json").out)["effect"] == "read"


@pytest.mark.parametrize("file", ["mcp.yaml", "mcp.lock", "services.yaml"])
def test_a_broken_file_leaves_only_its_own_tools_out(cli: Any, harbour: Path, file: str) -> None:
    (harbour / "config" / file).write_text("servers: [\n")
    done = cli("tools", "list")
    assert done.code == 0 and "notes.read" in done.out
    assert ("ships.ships" in done.out) is (file != "services.yaml")
    assert ("mcp_tides" in done.out) is (file == "services.yaml")
    (line,) = [line for line in done.err.splitlines() if "left out" in line]
    assert f"config/{file}:" in line
