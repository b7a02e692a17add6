"""Budgets at the command line: a run that waits, a person who gives it more, and whose budget it is."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from quarterdeck.models.prices import Price
from quarterdeck.testing import answer, text

PRICE = Price.per_million(1, 1)
FACTS = answer({"facts": ["opens at eight"]})


def waiting(cli: Any, script: Callable[..., Any], *options: str) -> tuple[str, Any]:
    """Leave a run that waits for money at its first call; return its id and what was said."""
    script([], price=PRICE)
    said = cli("run", "hello", "--set", "limits.usd=0.0001", *options)
    assert said.code == 11, said
    return json.loads(cli("runs", "list", "--json").out)[0]["run_id"], said


def test_a_waiting_run_ends_with_the_command_that_goes_on(
    cli: Any, workspace: Path, script: Callable[..., Any]
) -> None:
    run_id, said = waiting(cli, script)
    last = said.out.splitlines()[-1]
    assert last.startswith("Waiting: ") and last.endswith("(limit_usd)")
    assert f"quarterdeck runs resume {run_id} --usd AMOUNT" in last
    listed = cli("runs", "list", "--status", "waiting").out
    assert listed.startswith(f"{run_id}  hello  waiting (limit_usd)")


def test_resume_gives_it_more(cli: Any, workspace: Path, script: Callable[..., Any]) -> None:
    run_id, _ = waiting(cli, script)
    script([FACTS, text("Welcome. It opens at eight.")], price=PRICE)
    assert cli("runs", "resume", run_id, "--usd", "0").code == 2
    done = cli("runs", "resume", run_id, "--usd", "2.00", "--reason", "worth it")
    assert done.code == 0, done.err
    events = json.loads(cli("runs", "show", run_id, "--json").out)["events"]
    raised = next(event for event in events if event["kind"] == "limits.raised")
    assert (raised["usd"], raised["tokens"], raised["reason"]) == (2.0, None, "worth it")


def test_a_shared_budget_of_a_tenant(cli: Any, workspace: Path, script: Callable[..., Any]) -> None:
    (workspace / "config").mkdir(exist_ok=True)
    (workspace / "config" / "limits.yaml").write_text("budgets:\n  - {tenant: acme, usd: 0}\n")
    script([], price=PRICE)
    said = cli("run", "hello", "--tenant", "acme")
    assert said.code == 11 and "config/limits.yaml:2" in said.out.splitlines()[-1]
    refused = cli("run", "hello", "--tenant", "a/b")
    assert refused.code == 2 and "no name of a tenant" in refused.err


def test_validate_reads_the_limits(cli: Any, workspace: Path) -> None:
    (workspace / "config").mkdir(exist_ok=True)
    (workspace / "config" / "limits.yaml").write_text("budgets:\n  - {usd: many}\n")
    found = cli("validate")
    assert found.code == 2 and "config/limits.yaml:2:" in found.out and "budgets.0.usd" in found.out
