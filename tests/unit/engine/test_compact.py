"""Compaction: one call at four fifths of the context, none before, and the window stays bounded."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from tests.unit.engine.conftest import AGENT, MakeCrew

from quarterdeck.engine import prompts
from quarterdeck.engine.crew import Crew
from quarterdeck.journal.events import Decision, ModelCalled
from quarterdeck.memory.window import BYTES_A_TOKEN, OMITTED, SUMMARY, Window, size
from quarterdeck.models.catalog import ResolvedModel
from quarterdeck.models.port import ModelRequest
from quarterdeck.testing import ScriptedModel, call, cut_off, error, hang, text
from quarterdeck.testing.catalog import ScriptedCatalog
from quarterdeck.testing.steps import Step

CONTEXT = 10_000


def read(number: int, bytes: int) -> str:
    """Read a page.

    Args:
        number: Of the page.
        bytes: How long it is.
    """
    return f"page {number} ".ljust(bytes, "x")


def is_summary(request: ModelRequest) -> bool:
    return request.messages[0].content.startswith(prompts.SUMMARISE)


def reader(make_crew: MakeCrew, model: ScriptedModel, **more: Any) -> Crew:
    agents = {"clerk": {**AGENT, "model": "expensive", "tools": ("pages.read",), "max_turns": 200, "max_tokens": 100}}
    return make_crew(
        model, {"ask": {}}, agents=agents, tools={"pages.read": read}, catalog={"context": CONTEXT},
        limits={"model_calls": 1000, "tool_calls": 1000}, **more,
    )  # fmt: skip


def tokens(request: ModelRequest) -> float:
    """Count a prompt as the window does, tools included."""
    tools = sum(len(tool.name) + len(tool.description) + len(str(tool.parameters)) for tool in request.tools)
    return (sum(map(size, request.messages)) + tools) / BYTES_A_TOKEN


def events(crew: Crew, run_id: str) -> list[Any]:
    rows, _, _ = crew.store.chain(run_id)
    return [row.event for row in rows]


def full_to(share: float, model: ScriptedModel, make_crew: MakeCrew) -> tuple[Crew, str]:
    """Run an agent whose fourth prompt would fill this share of the context."""
    crew = reader(make_crew, model)
    first = tokens(ModelRequest("", (), tools=(crew._parts.tools["pages.read"].offer(),)))  # type: ignore[union-attr]
    opening = 2 * 16 + len("You are Clerk. You are careful.\nYour goal: Be right.") + len(f"\n{prompts.DATA_RULE}")
    opening += len("ask\n\nExpected output: Text.")
    steps = 3 * (2 * 16 + len("pages.read") + len('{"number": 1, "bytes": 7000}'))
    page = int(share * CONTEXT * BYTES_A_TOKEN - first * BYTES_A_TOKEN - opening - steps) // 3
    assert page > 5000
    pages = [call("pages.read", number=number, bytes=page) for number in (1, 2, 3)]
    summary = [text("Pages 1 and 2 say x.")] if share >= 0.8 else []
    model._queues[""].extend([*pages, *summary, text("Done.")])
    result = crew.kickoff()
    assert result.status == "succeeded", result.evidence
    return crew, result.run_id


def test_at_79_percent_there_is_no_call(make_crew: MakeCrew) -> None:
    with ScriptedModel() as model:
        full_to(0.79, model, make_crew)
    assert not any(map(is_summary, model.requests))
    assert 0.785 < tokens(model.requests[-1]) / CONTEXT < 0.8


def test_at_81_percent_there_is_exactly_one_call_to_the_cheap_model(make_crew: MakeCrew) -> None:
    with ScriptedModel() as model:
        crew, run_id = full_to(0.81, model, make_crew)
    assert [request.model for request in model.requests] == ["expensive"] * 3 + ["cheap", "expensive"]
    assert [is_summary(request) for request in model.requests] == [False] * 3 + [True, False]
    called = [event for event in events(crew, run_id) if isinstance(event, ModelCalled)]
    assert [event.path for event in called][3:] == ["ask/turn-4/compact", "ask/turn-4"]


def test_opening_and_last_steps_stay_whole_and_calls_keep_their_results(make_crew: MakeCrew) -> None:
    with ScriptedModel() as model:
        full_to(0.81, model, make_crew)
    before, asked, after = (model.requests[at].messages for at in (2, 3, 4))
    assert after[:2] == before[:2], "the opening is the same, byte for byte"
    assert after[2].content == f"{SUMMARY}\nPages 1 and 2 say x."
    assert after[-1].content.startswith("page 3 "), "the last step is whole"
    assert "page 1" in asked[1].content and "page 3" not in asked[1].content
    assert "ask" in asked[1].content
    proposed = [one.id for message in after for one in message.tool_calls]
    assert proposed == [message.tool_call_id for message in after if message.role == "tool"]


@pytest.mark.parametrize("failure", [error("refused"), cut_off("")], ids=["error", "empty"])
def test_when_the_summary_fails_steps_are_left_out_and_it_is_said(make_crew: MakeCrew, failure: Step) -> None:
    pages = [call("pages.read", number=number, bytes=8000) for number in range(1, 7)]
    rules: list[Any] = [(is_summary, failure)]
    with ScriptedModel.rules(
        [*rules, (lambda request: True, lambda request: (pages or [text("Done.")]).pop(0))]
    ) as model:
        crew = reader(make_crew, model)
        result = crew.kickoff()
    assert result.status == "succeeded"
    assert sum(map(is_summary, model.requests)) == 1, "it is not tried at each turn"
    assert any(message.content == OMITTED for message in model.requests[-1].messages)
    [decision] = [event for event in events(crew, result.run_id) if isinstance(event, Decision)]
    assert (decision.what, decision.chosen) == ("compaction", "leave out")
    assert "at least 80%" in decision.why and "could not be summarised" in decision.why


def test_a_limit_of_the_run_leaves_steps_out_too(make_crew: MakeCrew) -> None:
    pages: list[Any] = [call("pages.read", number=number, bytes=8000) for number in range(1, 4)]
    with ScriptedModel([*pages, text("Best.")]) as model:
        crew = reader(make_crew, model)
        crew.spec = crew.spec.model_copy(update={"limits": crew.spec.limits.model_copy(update={"model_calls": 3})})
        result = crew.kickoff()
    assert (result.status, result.code) == ("partial", "limit_model_calls")


def test_200_turns_stay_within_the_context_with_few_summaries(make_crew: MakeCrew) -> None:
    turn = 0

    def say(request: ModelRequest) -> Step:
        nonlocal turn
        turn += 1
        return call("pages.read", number=turn, bytes=900) if turn < 190 else text("Done.")

    with ScriptedModel.rules([(is_summary, text("So far: " + "y" * 9000)), (lambda _: True, say)]) as model:
        result = reader(make_crew, model).kickoff()
    assert result.status == "succeeded"
    assert max(map(tokens, model.requests)) <= CONTEXT - 100
    summaries = sum(map(is_summary, model.requests))
    assert 5 <= summaries <= 190 * 400 // (CONTEXT // 5), "each makes room for many turns"


def test_a_model_on_this_machine_keeps_its_window_to_itself(make_crew: MakeCrew) -> None:
    class Here(ScriptedCatalog):
        def resolve(self, wanted: str = "") -> ResolvedModel:
            return replace(super().resolve(wanted), kind="embedded" if wanted == "expensive" else "litellm")

    pages = [call("pages.read", number=number, bytes=8500) for number in (1, 2, 3)]
    with ScriptedModel([*pages, text("A summary."), text("Done.")]) as model:
        crew = reader(make_crew, model)
        crew._catalog = Here(model, context=CONTEXT)
        assert crew.kickoff().status == "succeeded"
    assert {request.model for request in model.requests} == {"expensive"}
    with ScriptedModel([*pages, text("A summary."), text("Done.")]) as model:
        assert reader(make_crew, model).kickoff(model="the-only-one").status == "succeeded"
    assert {request.model for request in model.requests} == {"the-only-one"}


def test_a_summariser_that_is_too_small_is_not_asked(make_crew: MakeCrew) -> None:
    class Small(ScriptedCatalog):
        def resolve(self, wanted: str = "") -> ResolvedModel:
            model = super().resolve(wanted)
            return replace(model, context=1000) if wanted == "cheap" else model

    pages = [call("pages.read", number=number, bytes=8500) for number in (1, 2, 3)]
    with ScriptedModel([*pages, text("Done.")]) as model:
        crew = reader(make_crew, model)
        crew._catalog = Small(model, context=CONTEXT)
        result = crew.kickoff()
    assert result.status == "succeeded"
    assert any(isinstance(event, Decision) and "too small" in event.why for event in events(crew, result.run_id))


def test_a_window_without_a_mark_never_asks_for_a_summary() -> None:
    window = Window((), 300)
    for _ in range(50):
        window.add_note("x" * 100)
    assert window.middle() == ()
    assert sum(map(size, window.messages())) <= 300 * BYTES_A_TOKEN + 100


def test_a_run_that_is_taken_up_does_not_try_a_failed_summary_again(make_crew: MakeCrew) -> None:
    """What came after rests on the steps that were left out."""

    async def die() -> str:
        pages: list[Any] = [call("pages.read", number=number, bytes=8500) for number in (1, 2, 3)]
        model = ScriptedModel([*pages, error("refused"), call("pages.read", number=4, bytes=10), hang()])
        crew = reader(make_crew, model)
        heard: list[Any] = []
        working = asyncio.ensure_future(crew.akickoff(listener=heard.append))
        while len(model.requests) < 6:
            await asyncio.sleep(0.005)
        working.cancel()
        with pytest.raises(asyncio.CancelledError):
            await working
        await crew.aclose()
        return str(next(event.run_id for event in heard if event.kind == "run.opened"))

    run_id = asyncio.run(die())
    with ScriptedModel([text("Done.")]) as model:
        result = reader(make_crew, model).resume(run_id)
    assert result.status == "succeeded"
    assert not any(map(is_summary, model.requests))
