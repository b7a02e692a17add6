"""One agent's turns: each way in which they can end."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel
from tests.unit.engine.conftest import AGENT, MakeCrew

from quarterdeck.engine.output import OutputType
from quarterdeck.errors import Rejected
from quarterdeck.models.prices import Price
from quarterdeck.testing import ScriptedModel, answer, call, cut_off, error, hang, malformed_call, text, together


class Verdict(BaseModel):
    good: bool


def add(a: int, b: int) -> int:
    """Add two numbers and return the sum.

    Args:
        a: One number.
        b: The other.
    """
    return a + b


def test_a_text_answer_succeeds_and_is_counted(make_crew: MakeCrew) -> None:
    with ScriptedModel([text("Forty-two.")]) as model:
        result = make_crew(model, {"ask": {}}).kickoff()
    assert (result.status, result.code, result.output) == ("succeeded", "goal_met", "Forty-two.")
    assert result.model_calls == 1 and result.tokens > 0 and result.cost.usd == 0
    assert result.tasks["ask"].text == "Forty-two."


def test_the_prompt_is_role_goal_backstory_and_task_and_nothing_else(make_crew: MakeCrew) -> None:
    with ScriptedModel([text("x")]) as model:
        make_crew(model, {"ask": {}}).kickoff()
    system, user = model.requests[0].messages
    assert system.content == "You are Clerk. You are careful.\nYour goal: Be right."
    assert user.content == "ask\n\nExpected output: Text."


def test_tool_results_come_back_to_the_model(make_crew: MakeCrew) -> None:
    with ScriptedModel([call("math.add", a=2, b=3), text("5")]) as model:
        result = make_crew(model, {"ask": {}}, tools={"math.add": add}).kickoff()
    assert result.tool_calls == 1
    last = model.requests[1].messages[-1]
    assert (last.role, last.content) == ("tool", "5")


def test_calls_of_one_turn_run_side_by_side_and_stay_in_order(make_crew: MakeCrew) -> None:
    step = together(call("math.add", a=1, b=1), call("math.add", a=2, b=2))
    with ScriptedModel([step, text("done")]) as model:
        make_crew(model, {"ask": {}}, tools={"math.add": add}).kickoff()
    assert [message.content for message in model.requests[1].messages[-2:]] == ["2", "4"]


@pytest.mark.parametrize(
    ("step", "said"),
    [
        (call("math.ad", a=1, b=1), 'did you mean "math.add"?'),
        (call("math.add", a="one", b=1), "a"),
        (call("math.add", a=1), "b"),
        (malformed_call("math.add", '{"a": 1,'), "one JSON object"),
    ],
)
def test_a_wrong_call_never_runs_and_is_explained(make_crew: MakeCrew, step: Any, said: str) -> None:
    ran: list[int] = []

    def counted(a: int, b: int) -> int:
        """Add two numbers and return the sum.

        Args:
            a: One number.
            b: The other.
        """
        ran.append(a)
        return a + b

    with ScriptedModel([step, text("sorry")]) as model:
        result = make_crew(model, {"ask": {}}, tools={"math.add": counted}).kickoff()
    assert ran == [] and result.status == "succeeded"
    assert model.requests[1].messages[-1].content.startswith("Error:")
    assert said in model.requests[1].messages[-1].content


def test_a_tool_of_another_agent_is_denied(make_crew: MakeCrew) -> None:
    agents = {"clerk": AGENT, "other": {**AGENT, "tools": ("math.add",)}}
    with ScriptedModel([call("math.add", a=1, b=1), text("sorry")]) as model:
        make_crew(model, {"ask": {}}, tools={"math.add": add}, agents=agents).kickoff()
    assert 'You may not use "math.add" here' in model.requests[1].messages[-1].content
    assert model.requests[0].tools == ()


def test_the_turn_limit_ends_with_one_tool_less_answer_that_is_partial(make_crew: MakeCrew) -> None:
    steps = [call("math.add", a=turn, b=0) for turn in range(3)]
    with ScriptedModel([*steps, text("best guess")]) as model:
        crew = make_crew(model, {"ask": {"max_turns": 3}}, tools={"math.add": add})
        result = crew.kickoff()
    assert (result.status, result.code, result.output) == ("partial", "limit_turns", "best guess")
    assert len(model.requests) == 4 and model.requests[-1].tools == ()


def test_the_call_limit_of_the_run_leaves_room_for_the_answer(make_crew: MakeCrew) -> None:
    steps = [call("math.add", a=turn, b=0) for turn in range(2)]
    with ScriptedModel([*steps, text("best guess")]) as model:
        result = make_crew(model, {"ask": {}}, tools={"math.add": add}, limits={"model_calls": 2}).kickoff()
    assert (result.status, result.code) == ("partial", "limit_model_calls")
    assert len(model.requests) == 3


def test_a_budget_in_money_is_never_passed(make_crew: MakeCrew) -> None:
    price = Price.per_million(1000, 1000)
    with ScriptedModel([], price=price) as model:
        result = make_crew(model, {"ask": {}}, limits={"usd": 0.01}, catalog={"price": price}).kickoff()
    assert (result.status, result.code) == ("waiting", "limit_usd")
    assert model.requests == [] and result.cost.usd == 0


def test_an_unknown_price_is_refused_under_a_budget_in_money(make_crew: MakeCrew) -> None:
    with ScriptedModel([], price=None) as model:
        result = make_crew(model, {"ask": {}}, limits={"usd": 1.0}, catalog={"price": None}).kickoff()
    assert (result.status, result.code) == ("failed", "model_unknown_price")


def test_an_unknown_price_is_unknown_and_not_zero(make_crew: MakeCrew) -> None:
    with ScriptedModel([text("x")], price=None) as model:
        result = make_crew(model, {"ask": {}}, catalog={"price": None}).kickoff()
    assert result.status == "succeeded" and result.cost.usd is None


def test_a_hanging_model_ends_at_the_deadline(make_crew: MakeCrew) -> None:
    with ScriptedModel([hang()]) as model:
        result = make_crew(model, {"ask": {}}, limits={"seconds": 0.2}).kickoff()
    assert (result.status, result.code) == ("failed", "limit_seconds")
    assert result.seconds < 1.5


def test_going_round_in_circles_ends_the_turns(make_crew: MakeCrew) -> None:
    same = call("math.add", a=1, b=1)
    with ScriptedModel([same, same, same, same, text("stuck")]) as model:
        result = make_crew(model, {"ask": {}}, tools={"math.add": add}).kickoff()
    assert (result.status, result.code) == ("partial", "oscillation")


def test_output_is_read_into_the_declared_model(make_crew: MakeCrew) -> None:
    parts = {"outputs": {"ask": OutputType(Verdict)}}
    with ScriptedModel([answer({"good": True})]) as model:
        result = make_crew(model, {"ask": {}}, parts=parts).kickoff()
    assert result.output == Verdict(good=True)
    assert model.requests[0].schema is not None


def test_output_in_a_fence_is_read_too(make_crew: MakeCrew) -> None:
    parts = {"outputs": {"ask": OutputType(Verdict)}}
    with ScriptedModel([text('Here:\n```json\n{"good": false}\n```')]) as model:
        assert make_crew(model, {"ask": {}}, parts=parts).kickoff().output == Verdict(good=False)


def test_output_is_repaired_twice_at_most(make_crew: MakeCrew) -> None:
    parts = {"outputs": {"ask": OutputType(Verdict)}}
    with ScriptedModel([text("no"), text('{"good": 1.5}'), text("{")]) as model:
        result = make_crew(model, {"ask": {}}, parts=parts).kickoff()
    assert (result.status, result.code, result.output) == ("failed", "output_rejected", None)
    assert "cannot be accepted" in model.requests[1].messages[-1].content


def test_a_model_that_cannot_be_constrained_is_shown_the_schema(make_crew: MakeCrew) -> None:
    parts = {"outputs": {"ask": OutputType(Verdict)}}
    with ScriptedModel([answer({"good": True})]) as model:
        make_crew(model, {"ask": {}}, parts=parts, catalog={"supports_schema": False}).kickoff()
    assert model.requests[0].schema is None
    assert '"good":' in model.requests[0].messages[1].content


@pytest.mark.parametrize("bad", [text(""), text("   "), cut_off("It was a dark and")])
def test_empty_and_cut_off_answers_are_asked_for_again(make_crew: MakeCrew, bad: Any) -> None:
    with ScriptedModel([bad, text("good")]) as model:
        result = make_crew(model, {"ask": {}}).kickoff()
    assert result.output == "good" and len(model.requests) == 2


def test_a_guardrail_mends_or_sends_back(make_crew: MakeCrew) -> None:
    def no_swearing(output: str, evidence: Any) -> str:
        if "damn" in output:
            raise Rejected("Mind your language.")
        evidence.notes.append("language checked")
        return output.upper()

    parts = {"guardrails": {"ask": (no_swearing,)}}
    with ScriptedModel([text("damn"), text("fine")]) as model:
        result = make_crew(model, {"ask": {}}, parts=parts).kickoff()
    assert result.output == "FINE" and result.tasks["ask"].notes == ("language checked",)
    assert "Mind your language." in model.requests[1].messages[-1].content


def test_a_guardrail_that_breaks_fails_the_task_and_says_so(make_crew: MakeCrew) -> None:
    def broken(output: str, evidence: Any) -> str:
        raise KeyError("oops")

    with ScriptedModel([text("x")]) as model:
        result = make_crew(model, {"ask": {}}, parts={"guardrails": {"ask": (broken,)}}).kickoff()
    assert (result.status, result.code) == ("failed", "guardrail_failed")
    assert "broken" in result.evidence


def test_a_passing_failure_is_tried_again_and_another_is_not(make_crew: MakeCrew) -> None:
    with ScriptedModel([error("rate_limited", retry_after=0.0), text("ok")]) as model:
        assert make_crew(model, {"ask": {}}).kickoff().status == "succeeded"
    with ScriptedModel([error("refused", "Your key was refused.")]) as model:
        result = make_crew(model, {"ask": {}}).kickoff()
    assert (result.status, result.code) == ("failed", "model_refused")
    assert "Your key was refused." in result.evidence
