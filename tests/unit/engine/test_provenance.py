"""Provenance in whole runs: under a plan the flow is known, and an input that others wrote is not the user's word."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.unit.engine.conftest import AGENT, MakeCrew
from tests.unit.engine.test_planned import PLAN, of_kind, plan, recorded, step
from tests.unit.governance.test_provenance import described

from quarterdeck.journal.events import ApprovalAsked, ToolCalled
from quarterdeck.testing import ScriptedModel, answer, call, text


def tools(done: list[Any]) -> dict[str, Callable[..., Any]]:
    @described(effect="read", owner="t", sinks={}, trusted=True)
    def lookup(order: str) -> dict[str, Any]:
        return {"desk": 3}

    @described(effect="read", owner="t", sinks={})
    def page(name: str) -> dict[str, Any]:
        return {"desk": 3}

    @described(effect="write", owner="t", sinks={"desk": "recipient"})
    def assign(desk: int) -> str:
        done.append(desk)
        return "assigned"

    return {"ledger.lookup": lookup, "web.page": page, "desk.assign": assign}


@pytest.mark.parametrize(("source", "status"), [("ledger.lookup", "succeeded"), ("web.page", "waiting")])
async def test_a_plan_knows_where_a_value_comes_from(
    make_crew: MakeCrew, tmp_path: Path, source: str, status: str
) -> None:
    argument = "order" if source == "ledger.lookup" else "name"
    written = plan(
        step("find", tool=source, inputs={argument: "anything"}),
        step("do", tool="desk.assign", inputs={"desk": {"from": "find.desk"}}),
        answer="do",
    )
    done: list[Any] = []
    agents = {"clerk": {**AGENT, "tools": tuple(tools(done)), "plan": PLAN}}
    with ScriptedModel([answer(written)]) as model:
        crew = make_crew(model, {"ask": {}}, agents=agents, tools=tools(done))
        result = await crew.akickoff()
        await crew.aclose()
    assert result.status == status and done == ([3] if status == "succeeded" else [])
    events = recorded(tmp_path, result.run_id)
    if status == "succeeded":
        assert of_kind(events, ToolCalled)[-1].origins == {"desk": "tool:ledger.lookup"}
    else:
        assert of_kind(events, ApprovalAsked)[0].origins == {"desk": "tool:web.page (not trusted)"}


@pytest.mark.parametrize(("trusted", "status"), [(True, "succeeded"), (False, "waiting")])
async def test_an_input_that_others_wrote_is_not_the_users_word(
    make_crew: MakeCrew, tmp_path: Path, trusted: bool, status: str
) -> None:
    done: list[Any] = []
    steps = [call("desk.assign", desk=41), *([text("Assigned.")] if trusted else [])]
    with ScriptedModel(steps) as model:
        crew = make_crew(
            model, {"ask": {"description": "Assign a desk: {message}"}}, tools=tools(done),
            inputs={"message": {"trusted": trusted}},
        )  # fmt: skip
        result = await crew.akickoff({"message": "I want desk 41 please"})
        await crew.aclose()
    assert result.status == status and done == ([41] if trusted else [])
    if not trusted:
        asked = of_kind(recorded(tmp_path, result.run_id), ApprovalAsked)[0]
        assert asked.reason == "provenance" and asked.origins == {"desk": "input:message (not trusted)"}


async def test_the_crew_file_is_the_operators_word_but_its_settings_are_not(
    make_crew: MakeCrew, tmp_path: Path
) -> None:
    done: list[Any] = []
    with ScriptedModel([call("desk.assign", desk=57), call("desk.assign", desk=777)]) as model:
        crew = make_crew(
            model, {"ask": {"description": "Assign desk 57."}}, tools=tools(done), limits={"seconds": 777}
        )  # fmt: skip
        result = await crew.akickoff()
        await crew.aclose()
    assert (result.status, done) == ("waiting", [57])
