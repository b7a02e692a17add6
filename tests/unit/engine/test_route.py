"""Routing: `auto` starts at the first rung and goes up on what was measured, never on a hunch."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from pydantic import BaseModel
from tests.unit.engine.conftest import AGENT, MakeCrew

from quarterdeck.engine.crew import Crew
from quarterdeck.engine.output import OutputType
from quarterdeck.engine.route import confidence_of
from quarterdeck.errors import Rejected
from quarterdeck.journal.events import Decision, ModelCalled
from quarterdeck.models.catalog import ResolvedModel
from quarterdeck.spec.models import RoutingSpec
from quarterdeck.testing import ScriptedModel, answer, call, error, text
from quarterdeck.testing.catalog import ScriptedCatalog

AUTO = {"clerk": {**AGENT, "model": "auto"}}


class Verdict(BaseModel):
    good: bool


class Sure(BaseModel):
    good: bool
    confidence: float


class Sized(ScriptedCatalog):
    """Rungs of different sizes."""

    def __init__(self, model: ScriptedModel, sizes: dict[str, int]) -> None:
        super().__init__(model, routing=RoutingSpec(ladder=tuple(sizes)))
        self.sizes = sizes

    def resolve(self, wanted: str = "") -> ResolvedModel:
        model = super().resolve(wanted)
        return replace(model, context=self.sizes[model.name])


def asked(model: ScriptedModel) -> list[str]:
    return [request.model for request in model.requests]


def events(crew: Crew, run_id: str) -> list[Any]:
    rows, _, _ = crew.store.chain(run_id)
    return [row.event for row in rows]


def routes(crew: Crew, run_id: str) -> list[tuple[str, str, str]]:
    decisions = [event for event in events(crew, run_id) if isinstance(event, Decision) and event.what == "route"]
    assert all(decision.alternatives for decision in decisions)
    return [(decision.path, decision.chosen, decision.why) for decision in decisions]


def test_auto_starts_with_the_first_rung_and_says_so(make_crew: MakeCrew) -> None:
    with ScriptedModel([text("Yes.")]) as model:
        crew = make_crew(model, {"ask": {}}, agents=AUTO)
        result = crew.kickoff()
    assert result.status == "succeeded"
    assert asked(model) == ["cheap"]
    assert routes(crew, result.run_id) == [("ask/turn-1/route", "cheap", "the ladder starts with it")]
    decision = next(event for event in events(crew, result.run_id) if isinstance(event, Decision))
    assert decision.alternatives == ("cheap", "expensive")


def test_a_named_model_is_no_decision(make_crew: MakeCrew) -> None:
    with ScriptedModel([text("Yes.")]) as model:
        crew = make_crew(model, {"ask": {}}, agents={"clerk": {**AGENT, "model": "expensive"}})
        result = crew.kickoff()
    assert asked(model) == ["expensive"]
    assert routes(crew, result.run_id) == []


def test_a_shape_that_does_not_fit_goes_up_after_one_repair(make_crew: MakeCrew) -> None:
    with ScriptedModel([text("no"), text("still no"), answer({"good": True})]) as model:
        crew = make_crew(model, {"ask": {}}, agents=AUTO, parts={"outputs": {"ask": OutputType(Verdict)}})
        result = crew.kickoff()
    assert result.status == "succeeded"
    assert asked(model) == ["cheap", "cheap", "expensive"]
    path, chosen, why = routes(crew, result.run_id)[1]
    assert (path, chosen) == ("ask/turn-3/route", "expensive")
    assert why.startswith("the answer did not fit after 1 repair: ")
    assert "still no" in model.requests[2].messages[-2].content


def test_repairs_start_afresh_on_the_last_rung_and_end(make_crew: MakeCrew) -> None:
    with ScriptedModel([text("no")] * 5) as model:
        crew = make_crew(model, {"ask": {}}, agents=AUTO, parts={"outputs": {"ask": OutputType(Verdict)}})
        result = crew.kickoff()
    assert (result.status, result.code) == ("failed", "output_rejected")
    assert asked(model) == ["cheap"] * 2 + ["expensive"] * 3


def test_a_verifier_that_rejects_sends_it_up_at_once(make_crew: MakeCrew) -> None:
    def no_guesses(output: str, evidence: Any) -> str:
        if "guess" in output:
            raise Rejected("No guesses.")
        return output

    with ScriptedModel([text("A guess."), text("Known.")]) as model:
        crew = make_crew(model, {"ask": {}}, agents=AUTO, parts={"guardrails": {"ask": (no_guesses,)}})
        result = crew.kickoff()
    assert asked(model) == ["cheap", "expensive"]
    assert "no_guesses rejected the answer" in routes(crew, result.run_id)[1][2]


@pytest.mark.parametrize(("confidence", "models"), [(0.59, ["cheap", "expensive"]), (0.6, ["cheap"])])
def test_confidence_below_the_threshold_goes_up(make_crew: MakeCrew, confidence: float, models: list[str]) -> None:
    steps = [answer({"good": True, "confidence": confidence}), answer({"good": False, "confidence": 0.1})]
    with ScriptedModel(steps[: len(models)]) as model:
        crew = make_crew(model, {"ask": {}}, agents=AUTO, parts={"outputs": {"ask": OutputType(Sure)}})
        result = crew.kickoff()
    assert result.status == "succeeded", "the last rung's answer stands, whatever it thinks of it"
    assert asked(model) == models
    if len(models) > 1:
        assert routes(crew, result.run_id)[1][2] == "confidence 0.59 is below 0.6"
        assert "0.59" in model.requests[1].messages[-1].content


def test_an_unsure_answer_stands_when_no_turn_is_left(make_crew: MakeCrew) -> None:
    with ScriptedModel([answer({"good": True, "confidence": 0.1})]) as model:
        crew = make_crew(model, {"ask": {"max_turns": 1}}, agents=AUTO, parts={"outputs": {"ask": OutputType(Sure)}})
        result = crew.kickoff()
    assert (result.status, result.code) == ("succeeded", "goal_met")


def test_an_unsure_answer_is_not_lost_when_the_next_rung_is_down(make_crew: MakeCrew) -> None:
    with ScriptedModel([answer({"good": True, "confidence": 0.1}), error("refused")]) as model:
        crew = make_crew(model, {"ask": {}}, agents=AUTO, parts={"outputs": {"ask": OutputType(Sure)}})
        result = crew.kickoff()
    assert (result.status, result.code) == ("partial", "model_refused")
    assert result.output == Sure(good=True, confidence=0.1)


def test_a_prompt_that_does_not_fit_skips_rungs_beforehand(make_crew: MakeCrew) -> None:
    with ScriptedModel([text("Read.")]) as model:
        crew = make_crew(model, {"ask": {"description": "word " * 3000}}, agents=AUTO)
        crew._catalog = Sized(model, {"small": 4096, "middle": 5000, "large": 32_768})
        result = crew.kickoff()
    assert asked(model) == ["large"]
    [(path, chosen, why)] = routes(crew, result.run_id)
    assert (path, chosen) == ("ask/turn-1/route", "large")
    assert "more than small can take" in why


def test_a_result_that_grows_too_long_goes_up_in_the_middle(make_crew: MakeCrew) -> None:
    def read() -> str:
        """Read a book."""
        return "word " * 3000

    steps = [call("books.read"), text("Read.")]
    with ScriptedModel(steps) as model:
        tools = {"books.read": read}
        agents = {"clerk": {**AUTO["clerk"], "tools": ("books.read",)}}
        crew = make_crew(model, {"ask": {}}, agents=agents, tools=tools)
        crew._catalog = Sized(model, {"small": 4096, "large": 32_768})
        result = crew.kickoff()
    assert asked(model) == ["small", "large"]
    assert routes(crew, result.run_id)[1][:2] == ("ask/turn-2/route", "large")


def test_a_provider_that_says_too_long_is_believed_within_the_turn(make_crew: MakeCrew) -> None:
    with ScriptedModel([error("too_long", "8,193 tokens"), text("Done.")]) as model:
        crew = make_crew(model, {"ask": {"max_turns": 1}}, agents=AUTO)
        result = crew.kickoff()
    assert result.status == "succeeded"
    assert asked(model) == ["cheap", "expensive"]
    path, chosen, why = routes(crew, result.run_id)[1]
    assert (path, chosen) == ("ask/turn-1/route/1", "expensive")
    assert "8,193 tokens" in why


def test_nobody_above_means_the_error_stands(make_crew: MakeCrew) -> None:
    with ScriptedModel([error("too_long"), error("too_long")]) as model:
        result = make_crew(model, {"ask": {}}, agents=AUTO).kickoff()
    assert (result.status, result.code) == ("failed", "model_too_long")


def test_it_never_goes_down_again(make_crew: MakeCrew) -> None:
    def reject_twice(output: str, evidence: Any) -> str:
        if output != "fine":
            raise Rejected("Not yet.")
        return output

    with ScriptedModel([text("a"), text("b"), text("fine")]) as model:
        crew = make_crew(model, {"ask": {}}, agents=AUTO, parts={"guardrails": {"ask": (reject_twice,)}})
        result = crew.kickoff()
    assert result.status == "succeeded"
    assert asked(model) == ["cheap", "expensive", "expensive"]


def test_a_forced_map_pins_what_auto_chooses(make_crew: MakeCrew) -> None:
    routing = RoutingSpec(forced={"hard": "expensive"})
    with ScriptedModel([text("a"), text("b")]) as model:
        crew = make_crew(model, {"easy": {}, "hard": {}}, agents=AUTO, catalog={"routing": routing})
        result = crew.kickoff()
    assert asked(model) == ["cheap", "expensive"]
    assert routes(crew, result.run_id)[1] == (
        "hard/turn-1/route", "expensive", "routing.forced names it for the task hard"
    )  # fmt: skip


def test_the_model_of_a_task_comes_before_its_agents(make_crew: MakeCrew) -> None:
    tasks = {"a": {"model": "auto"}, "b": {}, "c": {"model": "expensive"}}
    agents = {"clerk": {**AGENT, "model": "local"}}
    with ScriptedModel([text("a"), text("b"), text("c")]) as model:
        make_crew(model, tasks, agents=agents).kickoff()
    assert asked(model) == ["cheap", "local", "expensive"]


def test_auto_for_a_whole_run(make_crew: MakeCrew) -> None:
    with ScriptedModel([text("a")]) as model:
        make_crew(model, {"a": {"model": "expensive"}}).kickoff(model="auto")
    assert asked(model) == ["cheap"]


@pytest.mark.parametrize("first", ["too_long", "shape"])
def test_a_run_that_is_taken_up_goes_the_same_way(make_crew: MakeCrew, first: str) -> None:
    """The first process dies after two calls; the second asks nobody again and records no choice twice."""
    start = [error("too_long")] if first == "too_long" else [text("no"), text("still no")]
    output = {"outputs": {"ask": OutputType(Verdict)}}

    def add() -> str:
        """Return a number."""
        return "5"

    agents = {"clerk": {**AUTO["clerk"], "tools": ("math.add",)}}
    settings: dict[str, Any] = {"agents": agents, "tools": {"math.add": add}, "parts": output}

    async def die() -> str:
        model = ScriptedModel([*start, call("math.add"), error("server")])
        crew = make_crew(model, {"ask": {}}, **settings)
        heard: list[Any] = []
        working = asyncio.ensure_future(crew.akickoff(listener=heard.append))
        while len([request for request in model.requests if request.model == "expensive"]) < 2:
            await asyncio.sleep(0.005)
        working.cancel()
        with pytest.raises(asyncio.CancelledError):
            await working
        run_id = next(event.run_id for event in heard if event.kind == "run.opened")
        await crew.aclose()
        return str(run_id)

    run_id = asyncio.run(die())
    with ScriptedModel([answer({"good": True})]) as second:
        crew = make_crew(second, {"ask": {}}, **settings)
        result = crew.resume(run_id)
    assert result.status == "succeeded"
    assert asked(second) == ["expensive"]
    paths = [path for path, _, _ in routes(crew, run_id)]
    assert len(paths) == len(set(paths)) == 2
    called = [event for event in events(crew, run_id) if isinstance(event, ModelCalled)]
    assert len({event.path for event in called}) == len(called)


def test_the_group_of_the_model_reaches_the_stages(make_crew: MakeCrew) -> None:
    groups: list[str] = []

    class Grouped(ScriptedCatalog):
        def resolve(self, wanted: str = "") -> ResolvedModel:
            return replace(super().resolve(wanted), group="a-group")

        def cache_of(self, group: str) -> None:
            groups.append(group)

        def chain(self, name: str, group: str) -> tuple[ResolvedModel, ...]:
            groups.append(group)
            return super().chain(name, group)

    with ScriptedModel([text("x")]) as model:
        crew = make_crew(model, {"ask": {}})
        crew._catalog = Grouped(model)
        crew.kickoff()
    assert set(groups) == {"a-group"}


@pytest.mark.parametrize(
    ("value", "number"),
    [({"confidence": 0.5}, 0.5), ({"confidence": 1}, 1.0), ({"confidence": True}, None), ({"confidence": "0.1"}, None),
     ("confidence 0.1", None), (None, None), (Sure(good=True, confidence=0.2), 0.2), ([], None)],
)  # fmt: skip
def test_only_a_number_is_a_confidence(value: Any, number: float | None) -> None:
    assert confidence_of(value) == number


def test_a_request_shows_the_schema_to_a_rung_that_cannot_be_held_to_it(make_crew: MakeCrew) -> None:
    class Mixed(ScriptedCatalog):
        def resolve(self, wanted: str = "") -> ResolvedModel:
            model = super().resolve(wanted)
            return replace(model, supports_schema=model.name == "cheap")

    with ScriptedModel([text("no"), text("no"), answer({"good": True})]) as model:
        crew = make_crew(model, {"ask": {}}, agents=AUTO, parts={"outputs": {"ask": OutputType(Verdict)}})
        crew._catalog = Mixed(model)
        assert crew.kickoff().status == "succeeded"
    shown = ["JSON alone" in request.messages[1].content for request in model.requests]
    assert shown == [False, False, True]
    assert [request.schema is None for request in model.requests] == [False, False, True]
