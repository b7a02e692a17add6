"""What reaches a person by itself: an answer outside its range, and work done to look done."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import pytest
from pydantic import BaseModel, Field
from tests.unit.engine.conftest import AGENT, MakeCrew

from quarterdeck.engine.output import OutputType
from quarterdeck.errors import Rejected
from quarterdeck.governance.queue import answer as answer_question
from quarterdeck.governance.queue import questions
from quarterdeck.journal.events import Decision
from quarterdeck.journal.store import Store
from quarterdeck.spec.governance import GovernanceConfig
from quarterdeck.testing import ScriptedModel, answer, call, text
from quarterdeck.tools.manifest import tool


class Rating(BaseModel):
    score: Annotated[int, Field(ge=1, le=10)]


def escalations(folder: Path, run_id: str) -> list[Decision]:
    with Store.open(f"sqlite:///{folder}/journal.db", read_only=True) as store:
        events = [row.event for row in store.events(run_id)]
    return [event for event in events if isinstance(event, Decision) and event.chosen == "escalate"]


async def test_a_score_out_of_its_range_is_escalated(make_crew: MakeCrew, tmp_path: Path) -> None:
    model = ScriptedModel([answer({"score": 11}) for _ in range(3)])
    crew = make_crew(model, {"rate": {}}, parts={"outputs": {"rate": OutputType(Rating)}})
    result = await crew.akickoff()
    await crew.aclose()
    assert (result.status, result.code, result.output) == ("failed", "output_rejected", None)
    [told] = escalations(tmp_path, result.run_id)
    assert (told.path, told.agent) == ("rate/turn-3/escalated", "clerk")
    assert told.what == "no answer was accepted" and "less than or equal to 10" in told.why


async def test_a_score_that_is_mended_is_not(make_crew: MakeCrew, tmp_path: Path) -> None:
    model = ScriptedModel([answer({"score": 11}), answer({"score": 10})])
    crew = make_crew(model, {"rate": {}}, parts={"outputs": {"rate": OutputType(Rating)}})
    result = await crew.akickoff()
    await crew.aclose()
    assert (result.status, result.output) == ("succeeded", Rating(score=10))
    assert escalations(tmp_path, result.run_id) == []


class Tickets:
    """Twelve open tickets, and a way to get rid of them that solves none."""

    def __init__(self) -> None:
        self.open = set(range(100, 112))
        self.solved: set[int] = set()

    def tools(self) -> dict[str, Any]:
        @tool(effect="write", owner="support", sinks={})
        def close_all(reason: str) -> str:
            """Close all tickets.

            Args:
                reason: Why.
            """
            self.open.clear()
            return "closed"

        @tool(effect="write", owner="support", sinks={})
        def close(count: int, reason: str) -> str:
            """Close the oldest tickets.

            Args:
                count: How many.
                reason: Why.
            """
            for number in sorted(self.open)[:count]:
                self.open.discard(number)
            return f"closed {count}"

        return {"desk.close_all": close_all, "desk.close": close}

    def each_is_solved(self, output: Any, evidence: Any) -> Any:
        closed = set(range(100, 112)) - self.open
        if closed - self.solved:
            raise Rejected(f"{len(closed - self.solved)} tickets were closed and not solved.")
        if "12" in str(output) and len(self.solved) < 12:
            raise Rejected("It says that 12 tickets are solved, and none is.")
        return output


RULES = [
    {"tools": ["desk.close_all"], "tier": "forbidden", "why": "A ticket is closed when it is solved."},
    {"tools": ["desk.close"], "when": "count > 3", "tier": "approve", "why": "So many at once are seldom solved."},
]


@pytest.mark.parametrize("dial", ["low", "medium", "high"])
async def test_close_all_tickets_is_blocked_by_the_constraint(make_crew: MakeCrew, tmp_path: Path, dial: str) -> None:
    """The goal rewards few open tickets: a rule blocks the short cut, a check its claim, a person decides the rest."""
    desk = Tickets()
    agents = {"clerk": {**AGENT, "goal": "As few open tickets as there can be.", "tools": tuple(desk.tools())}}
    cheat = [call("desk.close_all", reason="to be done"), *(text("All 12 tickets are solved.") for _ in range(3))]
    crew = make_crew(
        ScriptedModel(cheat), {"work": {}}, agents=agents, tools=desk.tools(),
        parts={"guardrails": {"work": (desk.each_is_solved,)}},
        governance=GovernanceConfig.model_validate({"autonomy": dial, "rules": RULES}),
    )  # fmt: skip
    result = await crew.akickoff()
    await crew.aclose()
    assert (result.status, result.code, len(desk.open)) == ("failed", "output_rejected", 12)
    [told] = escalations(tmp_path, result.run_id)
    assert "each_is_solved" in told.what and "none is" in told.why


async def test_nor_do_many_at_once_go_through_without_a_person(make_crew: MakeCrew, tmp_path: Path) -> None:
    desk = Tickets()
    agents = {"clerk": {**AGENT, "tools": tuple(desk.tools())}}
    script = [call("desk.close", count=12, reason="to be done"), text("Nothing was closed.")]
    crew = make_crew(
        ScriptedModel(script), {"work": {}}, agents=agents, tools=desk.tools(),
        governance=GovernanceConfig.model_validate({"autonomy": "high", "rules": RULES}),
    )  # fmt: skip
    waits = await crew.akickoff()
    assert (waits.status, len(desk.open)) == ("waiting", 12)
    [item] = questions(crew.store)
    await answer_question(crew.store, item, "rejected", by="ann", reason="Solve them first.")
    result = await crew.aresume(waits.run_id)
    await crew.aclose()
    assert (result.status, len(desk.open)) == ("succeeded", 12)
