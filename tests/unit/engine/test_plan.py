"""The checks of a plan: what may be named, what may be referred to, and that no plan has a circle."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quarterdeck.engine.plan import Means, Plan, Step, check_plan, plan_spec, remaining
from quarterdeck.spec.crew import AgentSpec, CrewSpec, PlanSpec
from quarterdeck.tools.signature import tool_from_function


def search(query: str, limit: int = 3) -> str:
    """Search.

    Args:
        query: For what.
        limit: At most.
    """
    return query * limit


SEARCH = tool_from_function(search, "documents.search")
MEANS = Means({"documents.search": SEARCH, "elsewhere.made": None}, ("writer", "critic"), 5)
BARE = Means({"t": None}, ("w",), 50)


def problems(*steps: dict[str, Any], answer: str = "", means: Means = MEANS) -> str:
    plan = Plan.model_validate({"steps": [{"does": "It.", **step} for step in steps], "answer": answer})
    return "\n".join(f"{'.'.join(map(str, found.place))}: {found.what}" for found in check_plan(plan, means))


FIND = {"id": "find", "tool": "documents.search", "inputs": {"query": "sea"}}
SAY = {"id": "say", "worker": "writer", "inputs": {"facts": {"from": "find"}}}


def test_a_good_plan_has_no_problems() -> None:
    assert problems(FIND, {**SAY, "check": "len(output) > 10"}, answer="say") == ""


def test_a_step_that_is_to_come_after_itself_comes_after_nothing() -> None:
    assert Step.model_validate({**FIND, "does": "Find.", "after": ["find"]}).after == ()


@pytest.mark.parametrize(
    ("steps", "said"),
    [
        ([], "steps: a plan has at least one step"),
        ([{"id": "a"}], "exactly one of them"),
        ([{**FIND, "worker": "writer"}], "exactly one of them"),
        ([{**FIND, "tool": "documents.serch"}], 'did you mean "documents.search"?'),
        ([FIND, {**SAY, "worker": "writr"}], 'did you mean "writer"?'),
        ([FIND, FIND], 'steps.1.id: two steps are named "find"'),
        ([SAY, FIND], '"find" comes later'),
        ([FIND, {**SAY, "inputs": {"facts": {"from": "fid"}}}], 'no step "fid"; did you mean "find"?'),
        ([{**SAY, "inputs": {"facts": {"from": "say"}}}], "cannot wait for itself"),
        ([FIND, SAY, {**FIND, "id": "more", "inputs": {"query": {"from": "say.text"}}}], "gives text, which has no"),
        ([{**FIND, "inputs": {}}], '"query" is missing'),
        ([{**FIND, "inputs": {"query": "sea", "limit": "many"}}], '"limit"'),
        ([{**FIND, "inputs": {"qery": "sea"}}], 'unknown argument "qery"; did you mean "query"'),
        ([FIND, {**FIND, "id": "b", "inputs": {"query": "x", "limt": {"from": "find"}}}], 'unknown argument "limt"'),
        ([{**FIND, "check": "open('x')"}], "the only function in a condition is len()"),
        ([{**FIND, "check": "find.ok"}], '"find.ok" cannot be known here'),
        ([{**SAY, "inputs": {"facts": float("nan")}}], "not finite"),
        ([{**SAY, "id": f"s{n}", "inputs": {}} for n in range(6)], "6 steps, more than the 5 allowed"),
    ],
)
def test_each_mistake_is_told(steps: list[dict[str, Any]], said: str) -> None:
    assert said in problems(*steps)


def test_the_answer_is_a_step() -> None:
    assert 'answer: no step "sy"; did you mean "say"?' in problems(FIND, SAY, answer="sy")


def test_an_argument_that_is_known_later_is_only_checked_by_name() -> None:
    assert problems(FIND, {**FIND, "id": "b", "inputs": {"query": {"from": "find"}, "limit": {"from": "find"}}}) == ""
    assert '"limit"' in problems(FIND, {**FIND, "id": "b", "inputs": {"query": {"from": "find"}, "limit": "x"}})


def test_finished_steps_may_be_referred_to_and_not_done_again() -> None:
    done = Step.model_validate({"does": "It.", **FIND})
    means = Means(MEANS.tools, MEANS.workers, 5, {"find": done})
    assert problems(SAY, answer="find", means=means) == ""
    assert problems(answer="find", means=means) == ""
    assert "is a finished step" in problems({**FIND, "inputs": {"query": "other"}}, means=means)
    plan = Plan.model_validate({"steps": [{"does": "It.", **FIND}, {"does": "It.", **SAY}]})
    assert [step.id for step in remaining(plan, means.finished).steps] == ["say"]


def test_an_agent_plans_as_it_declares_else_as_its_crew() -> None:
    own, shared = PlanSpec(max_steps=3), PlanSpec(max_steps=4)
    who = {"role": "R", "goal": "G", "backstory": "B"}
    agents = {"one": AgentSpec(**who, plan=own), "two": AgentSpec(**who)}
    crew = CrewSpec(crew="c", agents=agents, tasks={}, plan=shared)
    assert plan_spec(crew.agents["one"], crew) == own
    assert plan_spec(crew.agents["two"], crew) == shared
    assert plan_spec(agents["two"], crew.model_copy(update={"plan": None})) is None
    assert crew.plan_models == ("expensive", "cheap")


IDS = [f"s{number}" for number in range(8)]


@st.composite
def graphs(draw: st.DrawFn) -> list[dict[str, Any]]:
    steps = []
    for step in draw(st.permutations(IDS))[: draw(st.integers(1, 8))]:
        refers = draw(st.lists(st.sampled_from(IDS), max_size=3, unique=True))
        after = draw(st.lists(st.sampled_from(IDS), max_size=2, unique=True))
        steps.append(
            {
                "id": step,
                "tool": "t",
                "inputs": {f"i{number}": {"from": f"{other}.x" if number else other} for number, other in
                           enumerate(refers)},
                "after": after,
            }
        )  # fmt: skip
    return steps


@given(graphs())
def test_a_plan_passes_just_when_every_step_waits_for_earlier_ones_alone(steps: list[dict[str, Any]]) -> None:
    seen: set[str] = set()
    good = True
    for step in steps:
        refers = {value["from"].split(".")[0] for value in step["inputs"].values()}
        waits = refers | set(step["after"]) - {step["id"]}
        good &= waits <= seen
        seen.add(step["id"])
    assert (problems(*steps, means=BARE) == "") == good


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=10,
)


@given(st.dictionaries(st.text(max_size=8), JSON, max_size=5), st.text(max_size=40))
def test_whatever_a_model_writes_the_checks_answer(inputs: dict[str, Any], check: str) -> None:
    step = {"id": "a", "does": "It.", "tool": "documents.search", "inputs": inputs, "check": check}
    for finding in check_plan(Plan.model_validate({"steps": [step]}), MEANS):
        assert finding.what and finding.place[0] == "steps"
