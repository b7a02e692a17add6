"""Compaction: one call at four fifths of the context, none before, and the window stays bounded."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest
from tests.unit.engine.conftest import AGENT, MakeCrew
from tests.unit.memory.real_tokens import cut, real_of

from quarterdeck.engine import prompts
from quarterdeck.engine.crew import Crew
from quarterdeck.journal.events import Decision, ModelCalled
from quarterdeck.memory.window import OMITTED, SUMMARY, Window
from quarterdeck.models.catalog import ResolvedModel
from quarterdeck.models.port import ModelReply, ModelRequest, OnText, Usage
from quarterdeck.testing import ScriptedModel, call, cut_off, error, hang, text
from quarterdeck.testing.catalog import ScriptedCatalog
from quarterdeck.testing.steps import Step

CONTEXT = 10_000
BIG = "openai/gpt-4o-mini-2024-07-18"
"""Has a tokenizer on this machine."""
RANDOM = Random(5)
KINDS = {
    "words": " sea" * 4000,
    "numbers": "\n".join(",".join(f"{RANDOM.uniform(-1000, 1000):.6f}" for _ in range(8)) for _ in range(400)),
    "codes": RANDOM.randbytes(6000).hex(),
}


def read(number: int, tokens: int, kind: str = "words") -> str:
    """Read a page.

    Args:
        number: Of the page.
        tokens: How long it is.
        kind: Of text.
    """
    return f"page {number} {cut(KINDS[kind], tokens)}"


def is_summary(request: ModelRequest) -> bool:
    return request.messages[0].content.startswith(prompts.SUMMARISE)


def reader(make_crew: MakeCrew, model: ScriptedModel, asked: str = BIG, **more: Any) -> Crew:
    agents = {"clerk": {**AGENT, "model": asked, "tools": ("pages.read",), "max_turns": 200, "max_tokens": 100}}
    return make_crew(
        model, {"ask": {}}, agents=agents, tools={"pages.read": read}, catalog={"context": CONTEXT},
        limits={"model_calls": 1500, "tool_calls": 1000}, **more,
    )  # fmt: skip


def tokens(request: ModelRequest) -> int:
    """Count a prompt with tiktoken, tools included."""
    return real_of(request.messages, request.tools)


def events(crew: Crew, run_id: str) -> list[Any]:
    rows, _, _ = crew.store.chain(run_id)
    return [row.event for row in rows]


def full_to(
    share: float, model: ScriptedModel, make_crew: MakeCrew, kind: str = "words", **more: Any
) -> tuple[Crew, str]:
    """Run an agent whose fourth prompt would fill this share of the context."""
    with ScriptedModel([*(call("pages.read", number=n, tokens=1000, kind=kind) for n in (1, 2, 3)), text(".")]) as dry:
        reader(make_crew, dry).kickoff()
    page = 1000 + int(share * CONTEXT - tokens(dry.requests[-1])) // 3
    assert page > 2000
    summary = [text("Pages 1 and 2 say x.")] if share >= 0.8 and not more else []
    pages = [call("pages.read", number=number, tokens=page, kind=kind) for number in (1, 2, 3)]
    model._queues[""].extend([*pages, *summary, text("Done.")])
    crew = reader(make_crew, model, **more)
    result = crew.kickoff()
    assert result.status == "succeeded", result.evidence
    return crew, result.run_id


@pytest.mark.parametrize("kind", KINDS)
def test_at_79_percent_there_is_no_call(make_crew: MakeCrew, kind: str) -> None:
    with ScriptedModel() as model:
        crew, run_id = full_to(0.79, model, make_crew, kind)
    assert not any(map(is_summary, model.requests))
    share = tokens(model.requests[-1]) / CONTEXT
    assert 0.785 < share < 0.8
    called = [event for event in events(crew, run_id) if isinstance(event, ModelCalled)]
    assert abs(called[-1].window_share - share) < 0.01, "the event says what is so"


@pytest.mark.parametrize("kind", KINDS)
def test_at_81_percent_there_is_exactly_one_call_to_the_cheap_model(make_crew: MakeCrew, kind: str) -> None:
    with ScriptedModel() as model:
        crew, run_id = full_to(0.81, model, make_crew, kind)
    assert [request.model for request in model.requests] == [BIG] * 3 + ["cheap", BIG]
    assert [is_summary(request) for request in model.requests] == [False] * 3 + [True, False]
    assert max(map(tokens, model.requests)) < 0.8 * CONTEXT
    called = [event for event in events(crew, run_id) if isinstance(event, ModelCalled)]
    assert [event.path for event in called][3:] == ["ask/turn-4/compact", "ask/turn-4"]


@pytest.mark.parametrize(("share", "gone"), [(0.79, False), (0.81, True)])
def test_truncate_leaves_out_at_four_fifths_and_asks_nobody(
    make_crew: MakeCrew, tmp_path: Path, share: float, gone: bool
) -> None:
    (tmp_path / "memory").mkdir()
    (tmp_path / "memory" / "trial.yaml").write_text("window: {strategy: truncate}\n")
    with ScriptedModel() as model:
        full_to(share, model, make_crew, memory="trial")
    assert [request.model for request in model.requests] == [BIG] * 4
    last = model.requests[-1]
    assert [message.content == OMITTED for message in last.messages].count(True) == int(gone)
    assert last.messages[:2] == model.requests[0].messages[:2] and last.messages[-1].content.startswith("page 3 ")
    assert (tokens(last) < 0.5 * CONTEXT) == gone and max(map(tokens, model.requests)) < 0.8 * CONTEXT


class Counting(ScriptedModel):
    """Makes three tokens of each of tiktoken's."""

    async def answer(self, request: ModelRequest, on_text: OnText | None = None) -> ModelReply:
        reply = await super().answer(request, on_text)
        return replace(reply, usage=Usage(3 * tokens(request), 1))


def test_what_the_provider_counts_decides_where_it_is_more(make_crew: MakeCrew) -> None:
    pages = [call("pages.read", number=number, tokens=400) for number in range(1, 8)]
    with Counting([*pages, text("Pages say x."), text("Done.")]) as model:
        crew = reader(make_crew, model)
        result = crew.kickoff()
    assert result.status == "succeeded"
    summaries = [number for number, request in enumerate(model.requests) if is_summary(request)]
    assert len(summaries) == 1, "of a prompt that is 28 % by our count"
    assert 3 * max(map(tokens, model.requests)) < 0.9 * CONTEXT


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
    pages = [call("pages.read", number=number, tokens=2700) for number in range(1, 7)]
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
    pages: list[Any] = [call("pages.read", number=number, tokens=2700) for number in range(1, 4)]
    with ScriptedModel([*pages, text("Best.")]) as model:
        crew = reader(make_crew, model)
        crew.spec = crew.spec.model_copy(update={"limits": crew.spec.limits.model_copy(update={"model_calls": 3})})
        result = crew.kickoff()
    assert (result.status, result.code) == ("partial", "limit_model_calls")


@pytest.mark.parametrize("kind", KINDS)
def test_200_turns_stay_within_the_context_with_few_summaries(make_crew: MakeCrew, kind: str) -> None:
    turn = 0

    def say(request: ModelRequest) -> Step:
        nonlocal turn
        turn += 1
        return call("pages.read", number=turn, tokens=300, kind=kind) if turn < 200 else text("Done.")

    long = f"So far: {KINDS['numbers'][:9000]}"  # more than it was asked for
    with ScriptedModel.rules([(is_summary, text(long)), (lambda _: True, say)]) as model:
        result = reader(make_crew, model).kickoff()
    assert result.status == "succeeded" and turn == 200
    assert max(map(tokens, model.requests)) < 0.8 * CONTEXT
    summaries = sum(map(is_summary, model.requests))
    assert 6 <= summaries <= 200 * 340 // (CONTEXT // 5), "each makes room for many turns"


def test_a_model_on_this_machine_keeps_its_window_to_itself(make_crew: MakeCrew) -> None:
    class Here(ScriptedCatalog):
        def resolve(self, wanted: str = "") -> ResolvedModel:
            return replace(super().resolve(wanted), kind="embedded" if wanted == BIG else "litellm")

    pages = [call("pages.read", number=number, tokens=2850) for number in (1, 2, 3)]
    with ScriptedModel([*pages, text("A summary."), text("Done.")]) as model:
        crew = reader(make_crew, model)
        crew._catalog = Here(model, context=CONTEXT)
        assert crew.kickoff().status == "succeeded"
    assert {request.model for request in model.requests} == {BIG}
    pages = [call("pages.read", number=number, tokens=1800) for number in (1, 2, 3)]  # nobody knows how it counts
    with ScriptedModel([*pages, text("A summary."), text("Done.")]) as model:
        assert reader(make_crew, model).kickoff(model="the-only-one").status == "succeeded"
    assert {request.model for request in model.requests} == {"the-only-one"}


def test_a_summariser_that_is_too_small_is_not_asked(make_crew: MakeCrew) -> None:
    class Small(ScriptedCatalog):
        def resolve(self, wanted: str = "") -> ResolvedModel:
            model = super().resolve(wanted)
            return replace(model, context=1000) if wanted == "cheap" else model

    pages = [call("pages.read", number=number, tokens=2850) for number in (1, 2, 3)]
    with ScriptedModel([*pages, text("Done.")]) as model:
        crew = reader(make_crew, model)
        crew._catalog = Small(model, context=CONTEXT)
        result = crew.kickoff()
    assert result.status == "succeeded"
    assert any(isinstance(event, Decision) and "too small" in event.why for event in events(crew, result.run_id))


def test_a_window_without_a_mark_never_asks_for_a_summary() -> None:
    window = Window((), 300)
    for _ in range(50):
        window.add_note("wind " * 20)
    assert window.middle() == ()
    assert real_of(window.messages()) <= 300


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_summary_is_made_of_fits_the_model_that_makes_it(make_crew: MakeCrew, kind: str) -> None:
    class Small(ScriptedCatalog):
        def resolve(self, wanted: str = "") -> ResolvedModel:
            model = super().resolve(wanted)
            return replace(model, context=5000) if wanted == "cheap" else model

    with ScriptedModel() as model:
        pages = [call("pages.read", number=number, tokens=2000, kind=kind) for number in (1, 2, 3, 4)]
        model._queues[""].extend([*pages, text("Pages say x."), text("Done.")])
        crew = reader(make_crew, model)
        crew._catalog = Small(model, context=CONTEXT)
        assert crew.kickoff().status == "succeeded"
    [asked] = [request for request in model.requests if is_summary(request)]
    assert tokens(asked) + asked.max_tokens < 1.1 * 5000, "nine tenths of what is true is the least that is estimated"
    assert "page 1" in asked.messages[1].content


async def die(make_crew: MakeCrew, model: ScriptedModel, at: int) -> str:
    """Run until so many calls were begun, the last of which hangs; return the run."""
    crew = reader(make_crew, model)
    heard: list[Any] = []
    working = asyncio.ensure_future(crew.akickoff(listener=heard.append))
    while len(model.requests) < at and not working.done():
        await asyncio.sleep(0.005)
    working.cancel()
    with pytest.raises(asyncio.CancelledError):
        await working
    await crew.aclose()
    return str(next(event.run_id for event in heard if event.kind == "run.opened"))


def test_a_run_that_is_taken_up_counts_as_before(make_crew: MakeCrew) -> None:
    """Where it condensed the window, and by how much, follows from what the provider counted then."""
    pages = [call("pages.read", number=number, tokens=400) for number in range(1, 8)]
    with Counting([*pages, text("Pages say x."), hang()]) as model:
        run_id = asyncio.run(die(make_crew, model, 9))
    assert [number for number, request in enumerate(model.requests) if is_summary(request)] == [7]
    with Counting([text("Done.")]) as again:
        result = reader(make_crew, again).resume(run_id)
    assert result.status == "succeeded"
    assert [one.messages for one in again.requests] == [model.requests[-1].messages]


def test_a_run_that_is_taken_up_does_not_try_a_failed_summary_again(make_crew: MakeCrew) -> None:
    """What came after rests on the steps that were left out."""
    pages: list[Any] = [call("pages.read", number=number, tokens=2850) for number in (1, 2, 3)]
    script = [*pages, error("refused"), call("pages.read", number=4, tokens=10), hang()]
    run_id = asyncio.run(die(make_crew, ScriptedModel(script), 6))
    with ScriptedModel([text("Done.")]) as model:
        result = reader(make_crew, model).resume(run_id)
    assert result.status == "succeeded"
    assert not any(map(is_summary, model.requests))
