"""Plan, then execute: who is asked, what runs, what a person may change, and what is never done twice."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel
from tests.unit.engine.conftest import AGENT, MakeCrew

from quarterdeck.engine.output import OutputType
from quarterdeck.errors import Rejected
from quarterdeck.governance.gate import Gate
from quarterdeck.journal.answer import answer as give_answer
from quarterdeck.journal.events import Event, LimitsRaised, ModelCalled, PlanMade, PlanReviewed, StepEnded, ToolCalled
from quarterdeck.journal.store import Store
from quarterdeck.testing import ScriptedModel, answer, error, text
from quarterdeck.tools.evidence import Evidence

PLAN = {"planner": "expensive", "executor": "cheap"}
PLANNERS = "Write a plan for the task below."


def step(id: str, does: str = "Do it.", **more: Any) -> dict[str, Any]:
    return {"id": id, "does": does, **more}


def plan(*steps: dict[str, Any], answer: str = "") -> dict[str, Any]:
    return {"steps": list(steps), "answer": answer}


class Desk:
    """The tools of these tests, and what they were called with."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, Any]] = []
        self.broken: set[str] = set()

    def tools(self) -> dict[str, Callable[..., Any]]:
        def look(word: str) -> dict[str, Any]:
            """Look a word up.

            Args:
                word: The word.
            """
            self._called("look", word)
            return {"word": word, "found": len(word)}

        def add(left: int, right: int) -> int:
            """Add two numbers.

            Args:
                left: One.
                right: The other.
            """
            self._called("add", (left, right))
            return left + right

        return {"desk.look": look, "desk.add": add}

    def _called(self, tool: str, what: Any) -> None:
        self.calls.append((tool, what))
        if tool in self.broken:
            raise RuntimeError(f"{tool} is broken")


@pytest.fixture
def desk() -> Desk:
    return Desk()


def planning(**more: Any) -> dict[str, Any]:
    return {"clerk": {**AGENT, "tools": ("desk.look", "desk.add"), "plan": {**PLAN, **more}}}


def recorded(tmp_path: Path, run_id: str) -> list[Event]:
    with Store.open(f"sqlite:///{tmp_path}/journal.db") as store:
        return [stored.event for stored in store.events(run_id)]


def of_kind(events: list[Event], kind: type[Any]) -> list[Any]:
    return [event for event in events if isinstance(event, kind)]


TWO_LOOKS = plan(
    step("one", tool="desk.look", inputs={"word": "sea"}),
    step("two", tool="desk.look", inputs={"word": "harbour"}),
    step(
        "sum",
        tool="desk.add",
        inputs={"left": {"from": "one.found"}, "right": {"from": "two.found"}},
        check="output == 10",
    ),
    answer="sum",
)


async def test_the_planner_plans_and_the_executor_carries_out(make_crew: MakeCrew, desk: Desk, tmp_path: Path) -> None:
    written = plan(
        step("find", tool="desk.look", inputs={"word": "sea"}),
        step("say", "Say it nicely.", worker="clerk", inputs={"found": {"from": "find"}}),
        answer="say",
    )
    with ScriptedModel([answer(written), text("The sea is found.")]) as model:
        crew = make_crew(model, {"ask": {}}, agents=planning(), tools=desk.tools())
        result = await crew.akickoff()
        await crew.aclose()
    assert (result.status, result.output) == ("succeeded", "The sea is found.")
    called = of_kind(recorded(tmp_path, result.run_id), ModelCalled)
    assert [(call.model, call.path) for call in called] == [
        ("expensive", "ask/plan-1/turn-1"),
        ("cheap", "ask/plan-1/say/turn-1"),
    ]
    seen = called[1].request["messages"]
    assert '{"word": "sea", "found": 3}' in seen[1]["content"] and "Say it nicely." in seen[1]["content"]
    assert PLANNERS not in str(seen)


async def test_tool_steps_ask_no_model(make_crew: MakeCrew, desk: Desk, tmp_path: Path) -> None:
    with ScriptedModel([answer(TWO_LOOKS)]) as model:
        crew = make_crew(model, {"ask": {}}, agents=planning(), tools=desk.tools())
        result = await crew.akickoff()
        await crew.aclose()
    assert (result.status, result.output, result.model_calls, result.tool_calls) == ("succeeded", 10, 1, 3)
    events = recorded(tmp_path, result.run_id)
    assert [event.output for event in of_kind(events, StepEnded)][-1] == 10
    assert of_kind(events, PlanMade)[0].plan["steps"][2]["check"] == "output == 10"


async def test_a_crew_plans_for_its_agents(make_crew: MakeCrew, desk: Desk) -> None:
    with ScriptedModel([answer(TWO_LOOKS)]) as model:
        crew = make_crew(model, {"ask": {}}, tools=desk.tools(), plan=PLAN)
        result = await crew.akickoff()
        await crew.aclose()
    assert result.output == 10 and model.requests[0].model == "expensive"


async def test_independent_steps_run_at_once(make_crew: MakeCrew) -> None:
    both = asyncio.Barrier(2)

    async def meet(name: str) -> str:
        """Wait for the other.

        Args:
            name: Who waits.
        """
        async with asyncio.timeout(5):
            await both.wait()
        return name

    written = plan(
        step("a", tool="desk.meet", inputs={"name": "a"}), step("b", tool="desk.meet", inputs={"name": "b"}), answer="b"
    )
    agents = {"clerk": {**AGENT, "tools": ("desk.meet",), "plan": PLAN}}
    with ScriptedModel([answer(written)]) as model:
        crew = make_crew(model, {"ask": {}}, agents=agents, tools={"desk.meet": meet})
        result = await crew.akickoff()
        await crew.aclose()
    assert (result.status, result.output) == ("succeeded", "b")


async def test_after_orders_steps_without_passing_data(make_crew: MakeCrew, desk: Desk) -> None:
    written = plan(
        step("first", "Wait.", worker="clerk"),
        step("then", tool="desk.look", inputs={"word": "sea"}, after=["first"]),
        answer="then",
    )

    def nothing_called_yet(request: Any) -> Any:
        assert desk.calls == []
        return text("Waited.")

    with ScriptedModel([answer(written), nothing_called_yet]) as model:
        crew = make_crew(model, {"ask": {}}, agents=planning(), tools=desk.tools())
        result = await crew.akickoff()
        await crew.aclose()
    assert result.status == "succeeded" and desk.calls == [("look", "sea")]


async def test_a_bad_plan_is_mended_with_all_its_problems_told(make_crew: MakeCrew, desk: Desk) -> None:
    bad = plan(
        step("a", tool="desk.lok", inputs={"word": {"from": "b"}}),
        step("b", tool="desk.add", inputs={"left": "x", "right": {"from": "a"}}),
    )
    with ScriptedModel([answer(bad), answer(TWO_LOOKS)]) as model:
        crew = make_crew(model, {"ask": {}}, agents=planning(), tools=desk.tools())
        result = await crew.akickoff()
        await crew.aclose()
    assert result.output == 10
    told = model.requests[1].messages[-1].content
    assert 'did you mean "desk.look"?' in told and '"b" comes later' in told and '"left"' in told


async def test_a_plan_is_mended_at_most_twice(make_crew: MakeCrew, desk: Desk) -> None:
    bad = answer(plan(step("a", tool="files.remove")))
    with ScriptedModel([bad, bad, bad]) as model:
        crew = make_crew(model, {"ask": {}}, agents=planning(), tools=desk.tools())
        result = await crew.akickoff()
        await crew.aclose()
    assert (result.status, result.code) == ("failed", "plan_failed")
    assert "files.remove" in result.evidence and desk.calls == []


async def test_a_failed_step_replans_and_what_is_done_stays(make_crew: MakeCrew, desk: Desk, tmp_path: Path) -> None:
    first = plan(
        step("one", tool="desk.look", inputs={"word": "sea"}),
        step("bad", tool="desk.add", inputs={"left": 1, "right": {"from": "one.found"}}, check="output == 5"),
        step("never", tool="desk.look", inputs={"word": {"from": "bad"}}),
    )
    second = plan(
        step("one", tool="desk.look", inputs={"word": "sea"}),  # repeated word by word: not done again
        step("good", tool="desk.add", inputs={"left": 2, "right": {"from": "one.found"}}, check="output == 5"),
        answer="good",
    )
    with ScriptedModel([answer(first), answer(second)]) as model:
        crew = make_crew(model, {"ask": {}}, agents=planning(), tools=desk.tools())
        result = await crew.akickoff()
        await crew.aclose()
    assert (result.status, result.output) == ("succeeded", 5)
    assert desk.calls == [("look", "sea"), ("add", (1, 3)), ("add", (2, 3))]
    asked = model.requests[1].messages[1].content
    assert "## Done: one (Do it.)" in asked and '"found": 3' in asked
    assert "## Failed: bad" in asked and "output == 5" in asked
    made = of_kind(recorded(tmp_path, result.run_id), PlanMade)
    assert [(event.number, [s["id"] for s in event.plan["steps"]]) for event in made] == [
        (1, ["one", "bad", "never"]),
        (2, ["good"]),
    ]
    assert made[1].why.startswith("bad: ")


@pytest.mark.parametrize("max_replans", [0, 2])
async def test_replans_are_bounded(make_crew: MakeCrew, desk: Desk, max_replans: int) -> None:
    desk.broken.add("add")
    plans = [
        answer(plan(step(f"try{number}", tool="desk.add", inputs={"left": number, "right": 1})))
        for number in range(max_replans + 1)
    ]
    with ScriptedModel(plans) as model:
        crew = make_crew(model, {"ask": {}}, agents=planning(max_replans=max_replans), tools=desk.tools())
        result = await crew.akickoff()
        await crew.aclose()
    assert (result.status, result.code) == ("failed", "plan_failed")
    assert f'"try{max_replans}"' in result.evidence and "add is broken" in result.evidence
    assert len(desk.calls) == max_replans + 1


async def test_a_usable_output_makes_the_end_partial(make_crew: MakeCrew, desk: Desk) -> None:
    desk.broken.add("add")
    written = plan(
        step("found", tool="desk.look", inputs={"word": "sea"}),
        step("broken", tool="desk.add", inputs={"left": 1, "right": 1}),
        answer="found",
    )
    with ScriptedModel([answer(written)]) as model:
        crew = make_crew(model, {"ask": {}}, agents=planning(max_replans=0), tools=desk.tools())
        result = await crew.akickoff()
        await crew.aclose()
    assert (result.status, result.code, result.output["found"]) == ("partial", "plan_failed", 3)


async def test_a_worker_that_fails_is_a_failed_step(make_crew: MakeCrew, desk: Desk) -> None:
    first = plan(step("say", worker="clerk"))
    with ScriptedModel([answer(first), error("refused", "not that"), answer(TWO_LOOKS)]) as model:
        crew = make_crew(model, {"ask": {}}, agents=planning(), tools=desk.tools())
        result = await crew.akickoff()
        await crew.aclose()
    assert result.output == 10 and "not that" in model.requests[2].messages[1].content


class Finding(BaseModel):
    word: str
    found: int


async def test_an_output_that_fits_needs_no_model(make_crew: MakeCrew, desk: Desk) -> None:
    written = plan(step("find", tool="desk.look", inputs={"word": "sea"}), answer="find")
    with ScriptedModel([answer(written)]) as model:
        parts = {"outputs": {"ask": OutputType(Finding)}}
        crew = make_crew(model, {"ask": {}}, agents=planning(), tools=desk.tools(), parts=parts)
        result = await crew.akickoff()
        await crew.aclose()
    assert result.output == Finding(word="sea", found=3)


async def test_else_the_executor_writes_it_and_the_guardrails_see_it(make_crew: MakeCrew, desk: Desk) -> None:
    def at_least_three(output: Finding, evidence: Evidence) -> Finding:
        assert [receipt.tool for receipt in evidence.receipts] == ["desk.look"]
        if output.found < 3:
            raise Rejected("found must be at least 3")
        return output

    written = plan(step("find", tool="desk.look", inputs={"word": "sea"}), answer="find")
    script = [answer(written), answer({"word": "sea", "found": 1}), answer({"word": "sea", "found": 3})]
    with ScriptedModel(script) as model:
        parts = {"outputs": {"ask": OutputType(Finding)}, "guardrails": {"ask": (at_least_three,)}}
        crew = make_crew(model, {"ask": {}}, agents=planning(), tools=desk.tools(), parts=parts)
        result = await crew.akickoff()
        await crew.aclose()
    assert result.output == Finding(word="sea", found=3)
    assert [request.model for request in model.requests] == ["expensive", "cheap", "cheap"]
    assert "## find (Do it.)" in model.requests[1].messages[1].content and not model.requests[1].tools


async def test_a_step_may_use_no_more_than_its_agent_in_its_task(make_crew: MakeCrew, desk: Desk) -> None:
    """The gate decides, not the plan: even a plan that slipped past the checks cannot widen a grant."""
    written = answer(plan(step("a", tool="desk.add", inputs={"left": 1, "right": 1})))
    with ScriptedModel([written, written, written]) as model:
        crew = make_crew(model, {"ask": {"tools": ("desk.look",)}}, agents=planning(), tools=desk.tools())
        result = await crew.akickoff()
        await crew.aclose()
    assert result.code == "plan_failed" and desk.calls == []
    assert 'no tool "desk.add" is granted here' in result.evidence


async def test_zero_tool_calls_before_a_person_approves(make_crew: MakeCrew, desk: Desk, tmp_path: Path) -> None:
    with ScriptedModel([answer(TWO_LOOKS)]) as model:
        crew = make_crew(model, {"ask": {}}, agents=planning(review=True), tools=desk.tools())
        waiting = await crew.akickoff()
        assert (waiting.status, waiting.code) == ("waiting", "plan_review")
        assert f"quarterdeck plans show {waiting.run_id}" in waiting.evidence
        assert f"quarterdeck plans approve {waiting.run_id}" in waiting.evidence
        assert desk.calls == []
        again = await crew.aresume(waiting.run_id)  # nobody has answered yet
        assert (again.status, desk.calls) == ("waiting", [])
        await give_answer(crew.store, waiting.run_id, PlanReviewed(path="ask/plan-1", task="ask", approved=True))
        result = await crew.aresume(waiting.run_id)
        await crew.aclose()
    assert (result.status, result.output, len(desk.calls)) == ("succeeded", 10, 3)
    assert len(of_kind(recorded(tmp_path, waiting.run_id), PlanMade)) == 1


async def test_an_edited_plan_is_what_runs(make_crew: MakeCrew, desk: Desk) -> None:
    edited = plan(step("other", tool="desk.look", inputs={"word": "quay"}), answer="other")
    with ScriptedModel([answer(TWO_LOOKS)]) as model:
        crew = make_crew(model, {"ask": {}}, agents=planning(review=True), tools=desk.tools())
        waiting = await crew.akickoff()
        review = PlanReviewed(path="ask/plan-1", task="ask", approved=True, plan=edited)
        await give_answer(crew.store, waiting.run_id, review)
        result = await crew.aresume(waiting.run_id)
        await crew.aclose()
    assert desk.calls == [("look", "quay")] and result.output["word"] == "quay"


async def test_a_rejected_plan_ends_the_task(make_crew: MakeCrew, desk: Desk) -> None:
    with ScriptedModel([answer(TWO_LOOKS)]) as model:
        crew = make_crew(model, {"ask": {}}, agents=planning(review=True), tools=desk.tools())
        waiting = await crew.akickoff()
        review = PlanReviewed(path="ask/plan-1", task="ask", approved=False, by="ada", reason="too dear")
        await give_answer(crew.store, waiting.run_id, review)
        result = await crew.aresume(waiting.run_id)
        await crew.aclose()
    assert (result.status, result.code) == ("failed", "plan_rejected")
    assert "ada rejected the plan: too dear" in result.evidence and desk.calls == []


async def test_a_replan_is_reviewed_again(make_crew: MakeCrew, desk: Desk) -> None:
    first = plan(step("bad", tool="desk.add", inputs={"left": 1, "right": 1}, check="output == 3"))
    second = plan(step("good", tool="desk.add", inputs={"left": 1, "right": 2}), answer="good")
    with ScriptedModel([answer(first), answer(second)]) as model:
        crew = make_crew(model, {"ask": {}}, agents=planning(review=True), tools=desk.tools())
        result = await crew.akickoff()
        for number, calls in ((1, 0), (2, 1)):
            assert (result.code, len(desk.calls)) == ("plan_review", calls)
            review = PlanReviewed(path=f"ask/plan-{number}", task="ask", approved=True)
            await give_answer(crew.store, result.run_id, review)
            result = await crew.aresume(result.run_id)
        await crew.aclose()
    assert (result.output, desk.calls) == (3, [("add", (1, 1)), ("add", (1, 2))])


@pytest.mark.parametrize("at", [2, 3])
async def test_after_a_crash_finished_steps_are_not_done_again(
    make_crew: MakeCrew, desk: Desk, tmp_path: Path, at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = plan(
        step("one", tool="desk.look", inputs={"word": "sea"}),
        step("bad", tool="desk.add", inputs={"left": 1, "right": 1}, check="output == 3"),
        step("two", tool="desk.look", inputs={"word": "quay"}, after=["one"]),
    )
    again = plan(step("three", tool="desk.add", inputs={"left": {"from": "two.found"}, "right": 1}), answer="three")
    with ScriptedModel([answer(written), answer(again)]) as model:
        crew = make_crew(model, {"ask": {}}, agents=planning(), tools=desk.tools(), concurrency=1)
        real, calls = Gate.call, 0

        async def dies(self: Gate, *given: Any, **named: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == at + 1:
                raise asyncio.CancelledError
            return await real(self, *given, **named)

        monkeypatch.setattr(Gate, "call", dies)
        with pytest.raises(asyncio.CancelledError):
            await crew.akickoff()
        await crew.aclose()
        before = list(desk.calls)
        assert len(before) == at
        monkeypatch.setattr(Gate, "call", real)
        run_id = crew.store.runs(1)[0].id
        result = await crew.aresume(run_id)
        await crew.aclose()
    assert result.status == "succeeded", result.evidence
    assert len(desk.calls) == len(set(desk.calls)) == 4, "a step was done twice"
    ends = [(event.step, event.status) for event in of_kind(recorded(tmp_path, run_id), StepEnded)]
    assert sorted(ends) == [("bad", "failed"), ("one", "succeeded"), ("three", "succeeded"), ("two", "succeeded")]
    assert [call.tool for call in of_kind(recorded(tmp_path, run_id), ToolCalled)].count("desk.look") == 2


async def test_steps_beside_a_waiting_one_are_let_finish(make_crew: MakeCrew, desk: Desk) -> None:
    """A worker that runs out of budget stops the run as waiting; with more to spend nothing is done twice."""
    written = plan(
        step("say", "Say it.", worker="clerk"),
        step("one", tool="desk.look", inputs={"word": "sea"}),
        step("two", tool="desk.look", inputs={"word": {"from": "one.word"}}),
        answer="say",
    )
    with ScriptedModel([answer(written), text("Said.")]) as model:
        limits = {"tokens": 7000}
        agents = planning()
        agents["clerk"]["max_tokens"] = 6000
        crew = make_crew(model, {"ask": {}}, agents=agents, tools=desk.tools(), limits=limits)
        waiting = await crew.akickoff()
        assert (waiting.status, waiting.code) == ("waiting", "limit_tokens"), waiting.evidence
        assert desk.calls == [] or len(desk.calls) == 2
        await give_answer(crew.store, waiting.run_id, LimitsRaised(tokens=100_000))
        result = await crew.aresume(waiting.run_id)
        await crew.aclose()
    assert (result.status, result.output, len(desk.calls)) == ("succeeded", "Said.", 2)


async def test_items_plan_each_for_itself(make_crew: MakeCrew, desk: Desk) -> None:
    def words(evidence: Evidence) -> Any:
        return {"words": ["sea", "quay"]}

    def look_it_up(request: Any) -> Any:
        word = "quay" if "of quay" in request.messages[1].content else "sea"
        return answer(plan(step("find", tool="desk.look", inputs={"word": word}), answer="find"))

    with ScriptedModel([look_it_up, look_it_up]) as model:
        crew = make_crew(
            model,
            {
                "list": {"run": "tools/x.py:words"},
                "each": {"for_each": "list.words", "description": "Think of {item}."},
            },
            agents=planning(),
            tools=desk.tools(),
            parts={"functions": {"list": words}, "guardrails": {"list": (), "each": ()}},
        )
        result = await crew.akickoff()
        await crew.aclose()
    assert result.status == "succeeded", result.evidence
    assert [entry["output"]["found"] for entry in result.output] == [3, 4]


async def test_a_manager_may_plan_its_delegations(make_crew: MakeCrew, desk: Desk) -> None:
    written = plan(
        step("ask", tool="delegate", inputs={"worker": "clerk", "work": "Look the sea up."}, check="len(output) > 0"),
        step("word", "Say what was found.", worker="boss", inputs={"said": {"from": "ask.result"}}),
        answer="word",
    )
    agents = {
        "boss": {**AGENT, "role": "Boss", "plan": PLAN},
        "clerk": {**AGENT, "tools": ("desk.look", "desk.add")},
    }
    with ScriptedModel({"boss": [answer(written), text("All is said.")], "clerk": [text("It is wide.")]}) as model:
        crew = make_crew(
            model, {"ask": {}}, agents=agents, tools=desk.tools(), process="hierarchical",
            hierarchical={"manager": "boss"},
        )  # fmt: skip
        result = await crew.akickoff()
        await crew.aclose()
    assert (result.status, result.output) == ("succeeded", "All is said."), result.evidence
    assert "It is wide." in model.requests[2].messages[1].content


async def test_a_planner_of_the_ladder_gets_its_repairs_at_the_top_too(make_crew: MakeCrew, desk: Desk) -> None:
    bad = answer(plan(step("a", tool="files.remove")))
    with ScriptedModel([bad, bad, bad, answer(TWO_LOOKS)]) as model:
        crew = make_crew(model, {"ask": {}}, agents=planning(planner="auto"), tools=desk.tools())
        result = await crew.akickoff()
        await crew.aclose()
    assert (result.status, result.output) == ("succeeded", 10), result.evidence
    assert [request.model for request in model.requests] == ["cheap", "expensive", "expensive", "expensive"]
