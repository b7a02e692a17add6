"""A plan that has failed is not made again: what was tried is told, and a step that failed twice is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.unit.engine.conftest import MakeCrew
from tests.unit.engine.test_planned import Desk, of_kind, plan, planning, recorded, step

from quarterdeck.engine.plan import Plan
from quarterdeck.engine.tried import Tried
from quarterdeck.journal.events import Decision, PlanMade
from quarterdeck.testing import ScriptedModel, answer


def look(word: str, id: str = "one", does: str = "Do it.") -> dict[str, Any]:
    return step(id, does, tool="desk.look", inputs={"word": word})


ADD = plan(step("sum", tool="desk.add", inputs={"left": 1, "right": 2}), answer="sum")


async def test_the_third_plan_differs(make_crew: MakeCrew, tmp_path: Path) -> None:
    desk = Desk()
    desk.broken.add("look")
    same = [plan(look("sea")), plan(look(" Sea. ", "other", "Once more.")), plan(look("SEA", "third"))]
    with ScriptedModel([*map(answer, same), answer(ADD)]) as model:
        crew = make_crew(model, {"ask": {}}, agents=planning(), tools=desk.tools())
        result = await crew.akickoff()
        await crew.aclose()
    assert (result.status, result.text) == ("succeeded", "3")
    assert [tool for tool, _ in desk.calls] == ["look", "look", "add"]
    second, third, mended = (request.messages[-1].content for request in model.requests[1:])
    whole = ["\n".join(message.content for message in request.messages) for request in model.requests]
    assert "Tried in vain" not in whole[1] and "Tried in vain: desk.look" in whole[2], (second, third)
    assert "has failed 2 times or more" in mended and "do without desk.look" in mended
    assert len(of_kind(recorded(tmp_path, result.run_id), PlanMade)) == 3


async def test_who_does_not_leave_the_path_ends_and_says_so(make_crew: MakeCrew, tmp_path: Path) -> None:
    desk = Desk()
    desk.broken.add("look")
    model = ScriptedModel([answer(plan(look("sea"))) for _ in range(5)])
    crew = make_crew(model, {"ask": {}}, agents=planning(max_replans=5), tools=desk.tools())
    result = await crew.akickoff()
    await crew.aclose()
    assert (result.status, result.code) == ("failed", "plan_failed") and "has failed 2 times" in result.evidence
    assert len(desk.calls) == 2 and len(model.requests) == 5  # two plans, and the third with its two repairs
    [stuck] = [one for one in of_kind(recorded(tmp_path, result.run_id), Decision) if one.chosen == "escalate"]
    assert stuck.path == "ask/plan-3/turn-3/escalated" and "has failed 2 times" in stuck.why


def of(*steps: dict[str, Any]) -> Plan:
    return Plan.model_validate(plan(*steps))


def test_what_is_to_be_left_out_is_drawn_and_the_same_for_the_same_seed() -> None:
    tried = Tried()
    failing = of(look("sea"), step("sum", tool="desk.add", inputs={"left": 1, "right": 2}))
    tried.add(failing, {"one": "gone", "sum": "gone"})
    assert tried.advice("run/plan-2") == "" and tried.objection(failing, "run/plan-2") == ""
    tried.add(failing, {"one": "gone", "sum": "gone"})
    drawn = {seed: tried.advice(str(seed)).split("do without ")[1].split(";")[0] for seed in range(30)}
    assert set(drawn.values()) == {"desk.look", "desk.add"}
    assert all(f"do without {name};" in tried.advice(str(seed)) for seed, name in drawn.items())


def test_other_inputs_are_another_step() -> None:
    tried = Tried()
    for _ in range(2):
        tried.add(
            of(look("sea"), step("two", tool="desk.look", inputs={"word": {"from": "one.word"}})), {"two": "gone"}
        )
    assert tried.objection(of(look("sea")), "s") == ""
    changed = of(look("wind"), step("two", tool="desk.look", inputs={"word": {"from": "one.word"}}))
    assert tried.objection(changed, "s") == ""
    renamed = of(look("sea", "a"), step("b", tool="desk.look", inputs={"word": {"from": "a.word"}}))
    assert tried.objection(renamed, "s").startswith("steps.b: ")
