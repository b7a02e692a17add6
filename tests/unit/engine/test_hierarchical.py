"""A manager delegates through one tool, to listed workers, within caps."""

from __future__ import annotations

from typing import Any

from tests.unit.engine.conftest import MakeCrew

from quarterdeck.testing import ScriptedModel, call, text

AGENTS = {
    "boss": {"role": "Boss", "goal": "Get it done.", "backstory": "You delegate."},
    "ann": {"role": "Ann", "goal": "Count.", "backstory": "You count."},
    "bob": {"role": "Bob", "goal": "Draw.", "backstory": "You draw."},
}


def crew_of(make_crew: MakeCrew, model: ScriptedModel, **caps: Any) -> Any:
    return make_crew(
        model, {"job": {}}, agents=AGENTS, process="hierarchical", hierarchical={"manager": "boss", **caps}
    )


def test_work_goes_to_the_worker_and_its_result_comes_back(make_crew: MakeCrew) -> None:
    script = {"Boss": [call("delegate", worker="ann", work="Count the ships."), text("Seven ships.")],
              "Ann": [text("7")]}  # fmt: skip
    with ScriptedModel(script) as model:
        result = crew_of(make_crew, model).kickoff()
    assert result.output == "Seven ships." and result.tool_calls == 1
    assert model.requests[2].messages[-1].content == '{"worker": "ann", "result": "7"}'


def test_an_unknown_worker_is_corrected(make_crew: MakeCrew) -> None:
    script = {"Boss": [call("delegate", worker="an", work="Count."), text("I give up.")]}
    with ScriptedModel(script) as model:
        crew_of(make_crew, model).kickoff()
    assert model.requests[1].messages[-1].content.startswith("Error")
    assert "ann" in model.requests[1].messages[-1].content


def test_nearly_the_same_work_is_not_given_twice(make_crew: MakeCrew) -> None:
    script = {
        "Boss": [
            call("delegate", worker="ann", work="Count the ships in the harbour."),
            call("delegate", worker="ann", work="Count the ships in the harbour!"),
            text("Seven."),
        ],
        "Ann": [text("7")],
    }
    with ScriptedModel(script) as model:
        crew_of(make_crew, model).kickoff()
    assert "nearly the same work" in model.requests[3].messages[-1].content


def test_delegations_are_capped(make_crew: MakeCrew) -> None:
    works = ["Count ships.", "Weigh the anchors at dawn."]
    script = {"Boss": [*(call("delegate", worker="ann", work=work) for work in works), text("End.")],
              "Ann": [text("7")]}  # fmt: skip
    with ScriptedModel(script) as model:
        crew_of(make_crew, model, max_delegations=1).kickoff()
    assert "delegations are used" in model.requests[-1].messages[-1].content


def test_a_worker_may_not_pass_work_on(make_crew: MakeCrew) -> None:
    script = {
        "Boss": [call("delegate", worker="ann", work="Count."), text("End.")],
        "Ann": [call("delegate", worker="bob", work="Count for me."), text("7")],
    }
    with ScriptedModel(script) as model:
        crew_of(make_crew, model).kickoff()
    assert "may not use" in model.requests[2].messages[-1].content


def test_everyone_must_have_been_asked(make_crew: MakeCrew) -> None:
    script = {
        "Boss": [
            text("All good."),
            call("delegate", worker="ann", work="Count."),
            call("delegate", worker="bob", work="Draw."),
            text("Now it is."),
        ],
        "Ann": [text("7")],
        "Bob": [text("o")],
    }
    with ScriptedModel(script) as model:
        result = crew_of(make_crew, model, ask_everyone=True).kickoff()
    assert result.output == "Now it is."
    assert "ann, bob must be asked first" in model.requests[1].messages[-1].content


def test_a_manager_that_only_delegates_is_stopped(make_crew: MakeCrew) -> None:
    works = [f"{word} it" for word in ("Count", "Weigh", "Paint", "Scrub")]
    script = {"Boss": [*(call("delegate", worker="ann", work=work) for work in works), text("End.")],
              "Ann": [text("ok")] * 4}  # fmt: skip
    agents = {**AGENTS, "boss": {**AGENTS["boss"], "max_turns": 4}}
    with ScriptedModel(script) as model:
        result = make_crew(
            model, {"job": {}}, agents=agents, process="hierarchical", hierarchical={"manager": "boss"}
        ).kickoff()
    assert (result.status, result.code) == ("partial", "limit_turns")


async def test_caps_hold_over_a_resume(make_crew: MakeCrew) -> None:
    from quarterdeck.testing import error

    script = {"Boss": [call("delegate", worker="ann", work="Count."), error("refused"),
                       call("delegate", worker="bob", work="Draw."), text("End.")],
              "Ann": [text("7")]}  # fmt: skip
    with ScriptedModel(script) as model:
        crew = crew_of(make_crew, model, max_delegations=1)
        failed = await crew.akickoff()
        resumed = await crew.aresume(failed.run_id)
        await crew.aclose()
    assert resumed.output == "End." and "delegations are used" in model.requests[-1].messages[-1].content
