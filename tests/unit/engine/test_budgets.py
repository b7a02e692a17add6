"""A run that comes to the end of its budget: a best answer, or a person who gives it more."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from tests.unit.engine.conftest import MakeCrew

from quarterdeck.engine.crew import Crew
from quarterdeck.errors import InputError
from quarterdeck.journal.events import Decision, LimitsRaised
from quarterdeck.journal.ledger import Amount, Ledger
from quarterdeck.journal.run import RunJournal
from quarterdeck.models.prices import Price
from quarterdeck.testing import ScriptedModel, call, text

PRICE = Price.per_million(1, 1)
PRICED: dict[str, Any] = {"price": PRICE}


def add(a: int, b: int) -> int:
    """Add.

    Args:
        a: One number.
        b: The other.
    """
    return a + b


def spending(*steps: Any) -> ScriptedModel:
    return ScriptedModel(list(steps), price=PRICE)


def share(folder: Path, text: str) -> None:
    (folder / "config").mkdir(exist_ok=True)
    (folder / "config" / "limits.yaml").write_text(text)


def calls(number: int) -> list[Any]:
    return [call("math.add", a=turn, b=0) for turn in range(number)]


def test_room_for_a_last_answer_is_kept_and_used(make_crew: MakeCrew) -> None:
    model = spending(*calls(30), text("never asked"))
    model._rules = [(lambda request: not request.tools, text("best guess"))]
    limits = {"tokens": 14_000, "on_budget": "answer"}
    crew = make_crew(model, {"ask": {"max_turns": 40}}, tools={"math.add": add}, limits=limits, catalog=PRICED)
    result = crew.kickoff()
    assert (result.status, result.code, result.output) == ("partial", "limit_tokens", "best guess")
    assert 1 < len(model.requests) < 30 and model.requests[-1].tools == ()
    assert result.tokens <= 14_000


def test_when_no_answer_can_be_sent_the_best_there_is_stands_for_the_run(make_crew: MakeCrew) -> None:
    model = spending(text("the gathered facts"))
    limits = {"usd": 0.001_9, "on_budget": "answer"}
    big = "x" * 3000
    tasks: dict[str, Any] = {"gather": {"max_tokens": 16}, "write": {"description": big, "max_tokens": 1000}}
    result = make_crew(model, tasks, limits=limits, catalog=PRICED).kickoff()
    assert (result.status, result.code, result.output) == ("partial", "limit_usd", "the gathered facts")
    assert result.text == "the gathered facts" and result.tasks["write"].status == "failed"
    model.verify()


def test_without_any_answer_the_run_fails(make_crew: MakeCrew) -> None:
    limits = {"usd": 0.000_01, "on_budget": "answer"}
    result = make_crew(spending(), {"ask": {}}, limits=limits, catalog=PRICED).kickoff()
    assert (result.status, result.code, result.output) == ("failed", "limit_usd", None)


async def test_a_waiting_run_is_given_more_and_goes_on_where_it_stopped(make_crew: MakeCrew) -> None:
    model = spending(text("facts"), text("report"))
    tasks: dict[str, Any] = {"gather": {"max_tokens": 16}, "write": {"description": "y" * 3000}}
    crew = make_crew(model, tasks, limits={"usd": 0.002}, catalog=PRICED)
    first = await crew.akickoff()
    assert (first.status, first.code) == ("waiting", "limit_usd")
    assert f"quarterdeck runs resume {first.run_id} --usd AMOUNT" in first.evidence
    again = await crew.aresume(first.run_id)
    assert again.status == "waiting" and len(model.requests) == 1
    with pytest.raises(InputError, match=r"new total .* has spent"):
        await crew.aresume(first.run_id, usd=0.000_001)
    done = await crew.aresume(first.run_id, usd=0.05, by="ann", reason="worth it")
    assert (done.status, done.output) == ("succeeded", "report") and len(model.requests) == 2
    raised = [stored.event for stored in crew.store.events(first.run_id) if stored.kind == "limits.raised"]
    assert isinstance(raised[0], LimitsRaised)
    assert (len(raised), raised[0].usd, raised[0].by, raised[0].reason) == (1, 0.05, "ann", "worth it")
    await crew.aclose()


async def test_what_was_given_holds_in_every_later_resume(make_crew: MakeCrew) -> None:
    model = spending(text("a"), text("b"))
    tasks: dict[str, Any] = {"gather": {"max_tokens": 16}, "write": {"description": "y" * 3000}}
    crew = make_crew(model, tasks, limits={"usd": 0.002, "tokens": 2_000}, catalog=PRICED)
    run_id = (await crew.akickoff()).run_id
    assert (await crew.aresume(run_id, usd=0.05)).code == "limit_tokens"  # now only the tokens are missing
    done = await crew.aresume(run_id, tokens=50_000)
    assert done.status == "succeeded"
    fork = await make_crew(spending(), tasks, limits={"usd": 0.002, "tokens": 2_000}, catalog=PRICED).afork(
        run_id, "write"
    )
    assert fork.status == "waiting"  # what was given was given to that run, not to its forks
    await crew.aclose()


def test_a_shared_budget_names_its_line(make_crew: MakeCrew, tmp_path: Path) -> None:
    share(tmp_path, "budgets:\n  - {tokens: 1000000}\n  - {crew: trial, usd: 0.0001, per: month}\n")
    result = make_crew(spending(), {"ask": {}}, catalog=PRICED).kickoff()
    assert (result.status, result.code) == ("waiting", "limit_usd")
    assert "$0.0001 a month of crew trial (config/limits.yaml:3)" in result.evidence
    assert "Raise it at config/limits.yaml:3 or wait until the next one, then go on: quarterdeck runs resume " in (
        result.evidence
    )
    share(tmp_path, "budgets:\n  - {tokens: 1000000}\n  - {crew: trial, usd: 1, per: month}\n")
    crew = make_crew(spending(text("done")), {"ask": {}}, catalog=PRICED)
    assert crew.resume(result.run_id).status == "succeeded"


def test_a_worker_that_waits_lets_its_manager_wait(make_crew: MakeCrew) -> None:
    agent = {"role": "Clerk", "goal": "Be right.", "backstory": "You are careful."}
    agents = {"boss": {**agent, "role": "Boss"}, "clerk": {**agent, "max_tokens": 100_000}}
    model = ScriptedModel({"Boss": [call("delegate", worker="clerk", work="count the ships")]}, price=PRICE)
    crew = make_crew(
        model,
        {"ask": {}},
        agents=agents,
        hierarchical={"manager": "boss", "workers": ["clerk"]},
        process="hierarchical",
        limits={"usd": 0.05},
        catalog=PRICED,
    )
    result = crew.kickoff()
    assert (result.status, result.code) == ("waiting", "limit_usd"), result
    model.verify()


async def test_64_runs_at_once_end_at_or_below_one_budget(make_crew: MakeCrew, tmp_path: Path) -> None:
    share(tmp_path, "budgets: [{usd: 0.002, per: ever}]\n")
    model = ScriptedModel.rules([(lambda _: True, text("done"))], price=PRICE)
    ask = {"description": "Answer {n}.", "max_tokens": 100}
    crew = make_crew(model, {"ask": ask}, inputs={"n": {"type": "integer"}}, catalog=PRICED)
    results = await asyncio.gather(*(crew.akickoff({"n": n}) for n in range(64)))
    await crew.aclose()
    assert {result.status for result in results} == {"succeeded", "waiting"}
    assert sum(result.cost.usd or 0 for result in results) <= 0.002


def test_the_tenant_is_recorded_and_charged(
    make_crew: MakeCrew, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    share(tmp_path, "budgets: [{tenant: acme, usd: 0, per: ever}]\n")
    monkeypatch.setenv("QUARTERDECK_TENANT", "acme")
    crew = make_crew(spending(), {"ask": {}}, catalog=PRICED)
    result = crew.kickoff()
    assert result.status == "waiting" and crew.store.run(result.run_id).tenant == "acme"
    crew.store.close()
    monkeypatch.delenv("QUARTERDECK_TENANT")
    assert make_crew(spending(text("ok")), {"ask": {}}, catalog=PRICED).kickoff().status == "succeeded"
    with pytest.raises(InputError, match="no name of a tenant"):
        Crew(crew.spec, workspace=crew.workspace, tenant="a/b")


async def test_what_a_killed_process_had_set_aside_is_spent_when_the_run_is_resumed(make_crew: MakeCrew) -> None:
    crew = make_crew(spending(text("done")), {"ask": {}}, limits={"usd": 0.000_1}, catalog=PRICED)
    run_id = (await crew.akickoff()).run_id
    async with await RunJournal.resume(crew.store, run_id) as journal:  # as a process that is killed in a call
        await Ledger(journal, crew.spec.limits).reserve(Amount(100_000, 50))
    result = await crew.aresume(run_id)
    assert result.status == "waiting" and "$0.0001 is spent or set aside" in result.evidence
    said = [event for row in crew.store.events(run_id) if isinstance(event := row.event, Decision)]
    assert [(event.what, event.why.startswith("$0.0001 and 50 tokens")) for event in said] == [
        ("counted as spent", True)
    ]
    assert (await crew.aresume(run_id, usd=1.0)).status == "succeeded"
    assert sum(row.kind == "decision" for row in crew.store.events(run_id)) == 1
    await crew.aclose()
