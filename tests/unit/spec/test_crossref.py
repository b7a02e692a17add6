from __future__ import annotations

from collections.abc import Callable

import pytest

from quarterdeck.spec.crew import AgentSpec, CrewSpec, TaskSpec
from quarterdeck.spec.graph import ancestors, dependencies, find_cycle

Problems = Callable[..., list[str]]

CREW = """\
crew: x
process: {process}
inputs: {{topic: {{}}, depth: {{type: integer, default: 3}}}}
agents:
  lead: {{role: r, goal: g, backstory: b, tools: [documents.list]}}
  hand: {{role: r, goal: g, backstory: b, tools: [documents.read]}}
{more}
tasks:
  plan:
    agent: hand
    description: Plan {{topic}}.
    expected_output: e
    output: {{questions: [string], score: number, part: {{ok: boolean}}}}
  gather:
    agent: hand
    description: d
    expected_output: e
{gather}
  review:
    agent: lead
    description: d
    expected_output: e
    output: {{all_answered: boolean, open: [string]}}
{review}
"""


def crew(gather: str = "", review: str = "", more: str = "", process: str = "sequential", agents: str = "hand") -> str:
    lines = ["\n".join(f"    {line}" for line in part.splitlines()) for part in (gather, review)]
    whole = CREW.format(gather=lines[0], review=lines[1], more=more, process=process)
    return whole.replace("agent: hand", f"agent: {agents}")


@pytest.mark.parametrize(
    "parts",
    [
        {},
        {"gather": "for_each: plan.questions\nwhen: plan.score > 0.5 and inputs.depth == 3 and depth"},
        {"gather": "context: [plan]\nneeds: [plan]\ntools: [documents.read]\nbegin: [{tool: documents.list}]"},
        {"gather": "output: tools/checks.py:Facts\nguardrails: [tools/checks.py:verbatim]"},
        {
            "gather": "for_each: plan.questions",
            "review": "loop: {back_to: gather, until: all_answered and round > 1, only: open}",
        },
        {"review": "loop: {back_to: plan, until: plan.part.ok or output.all_answered}"},
        {"review": "loop: {back_to: gather, until: round > 2 or depth > 2}", "agents": "lead"},  # nobody judges
        {"process": "graph", "gather": "needs: [review]", "review": "when: plan.score > 1"},
        {"process": "hierarchical", "more": "hierarchical: {manager: lead, workers: [hand]}"},
    ],
)
def test_sound_crews(problems: Problems, parts: dict[str, str]) -> None:
    assert problems(crew(**parts), ["documents.list", "documents.read"]) == []


@pytest.mark.parametrize(
    ("parts", "what"),
    [
        ({"gather": "run: tools/checks.py:verbatim"}, "an agent or a function to run, not both"),
        ({"gather": "context: [plam]"}, 'context.0: no task "plam" in this crew; did you mean "plan"?'),
        ({"gather": "needs: [gather]"}, "needs.0: a task cannot wait for itself"),
        ({"gather": "tools: [documents.list]"}, 'is not granted to agent "hand"; add it to agents.hand.tools'),
        ({"gather": "begin: [{tool: documents.lst}]"}, 'no tool "documents.lst"; did you mean "documents.list"?'),
        ({"gather": "begin: [{tool: documents.list, arguments: {q: '{topc}'}}]"}, "{topc} names no input or earlier"),
        ({"gather": "guardrails: [verbatim]"}, "write tools/FILE.py:NAME"),
        ({"gather": "guardrails: [tools/nope.py:f]"}, "no file tools/nope.py in this workspace"),
        ({"gather": "guardrails: [tools/checks.py:verbatm]"}, 'no "verbatm" in tools/checks.py; did you mean'),
        ({"gather": "output: {a: strng}"}, 'output: a: "strng" is no kind'),
        ({"gather": "when: plan.score >"}, "when: not a condition"),
        ({"gather": "when: plan.scor > 1"}, 'names no field of the output of "plan"; did you mean "score"?'),
        ({"gather": "when: plan.score.x"}, '"plan.score" is no mapping'),
        ({"gather": "when: plam.score"}, '"plam.score" names no input or earlier task; did you mean "plan"?'),
        ({"gather": "when: review.open"}, 'names task "review", which comes later'),
        ({"gather": "when: inputs.dept > 1"}, 'names no input; did you mean "depth"?'),
        ({"gather": "for_each: plan.score"}, '"plan.score" is not a list'),
        ({"gather": "for_each: review.open"}, "names no earlier task"),
        ({"gather": "begin: [{tool: documents.list, arguments: {q: '{item}'}}]"}, "only in a task with for_each"),
        ({"gather": "for_each: plan.questions", "review": "when: gather.fact"}, '"gather" is a list'),
        ({"review": "loop: {back_to: review, until: all_answered}"}, "is not an earlier task"),
        ({"review": "loop: {back_to: gather, until: output.all_answered}", "agents": "lead"}, "let another agent or a"),
        (
            {"gather": "output: {ok: boolean}", "review": "loop: {back_to: plan, until: gather.ok and round > 1}"},
            'tasks.review.loop.back_to: agent "hand" does "plan" and judges it in "gather"',
        ),
        ({"review": "loop: {back_to: gater, until: all_answered}"}, 'no task "gater"'),
        ({"review": "loop: {back_to: gather, until: all_anwered}"}, 'did you mean "all_answered"?'),
        ({"review": "loop: {back_to: gather, until: all_answered, only: opn}"}, "has no for_each whose items"),
        ({"gather": "save_as: a.md", "review": "save_as: a.md"}, 'task "gather" writes a.md already'),
        ({"more": "report: revue"}, 'report: no task "revue"'),
        ({"process": "hierarchical"}, "hierarchical: missing; a hierarchical crew names its manager"),
        ({"more": "hierarchical: {manager: lead}"}, "only a crew with process: hierarchical"),
        (
            {"process": "hierarchical", "more": "hierarchical: {manager: led, workers: [hand]}"},
            'hierarchical.manager: no agent "led" in this crew; did you mean "lead"?',
        ),
        (
            {"process": "hierarchical", "more": "hierarchical: {manager: lead, workers: [lead]}"},
            "the manager cannot delegate to itself",
        ),
        (
            {"process": "hierarchical", "more": "hierarchical: {manager: lead, guardrails: [x], begin: [{tool: y}]}"},
            'hierarchical.begin.0.tool: no tool "y"',
        ),
        (
            {"process": "graph", "gather": "needs: [review]", "review": "needs: [gather]"},
            "waits for itself: gather > review > gather; remove one of these needs",
        ),
    ],
)
def test_mistakes(problems: Problems, parts: dict[str, str], what: str) -> None:
    assert any(what in found for found in problems(crew(**parts), ["documents.list", "documents.read"]))


def test_an_output_is_text_or_a_mapping(problems: Problems) -> None:
    assert problems(crew(gather="output: 5")) == ["18:5  tasks.gather.output: must be text or a mapping, not 5"]


def test_reserved_and_doubled_names(problems: Problems) -> None:
    text = crew().replace("topic: {}", "topic: {}, item: {}, plan: {}")
    assert [found.split("  ")[1][:40] for found in problems(text)] == [
        'inputs.item: "item" has a meaning of its',
        'inputs.plan: a task is named "plan" too;',
    ]


@pytest.mark.parametrize(
    ("declared", "right"),
    [
        ("type: integer, default: 3", True),
        ("type: integer, default: true", False),
        ("type: boolean, default: true", True),
        ("type: boolean, default: 'yes'", False),
        ("type: number, default: 1.5", True),
        ("type: folder, default: docs", True),
        ("type: folder, default: 5", False),
    ],
)
def test_defaults_have_their_inputs_type(problems: Problems, declared: str, right: bool) -> None:
    found = problems(crew().replace("topic: {}", f"topic: {{}}, i: {{{declared}}}"))
    assert (found == []) is right


def make(process: str, **needs: tuple[str, ...]) -> CrewSpec:
    tasks = {name: TaskSpec(agent="a", needs=others) for name, others in needs.items()}
    return CrewSpec(crew="x", process=process, agents={"a": AgentSpec()}, tasks=tasks)


def test_dependencies_of_a_graph_are_all_that_a_task_names() -> None:
    spec = make("graph", a=(), b=(), c=(), d=("a",))
    task = TaskSpec(agent="a", context=("a",), when="b.ok", description="{c.text} {d}")
    spec = spec.model_copy(update={"tasks": {**spec.tasks, "e": task}})
    assert dependencies(spec) == {"a": (), "b": (), "c": (), "d": ("a",), "e": ("a", "b", "c", "d")}
    assert dependencies(make("sequential", a=(), b=(), c=())) == {"a": (), "b": ("a",), "c": ("a", "b")}


def test_cycles_are_found_whatever_leads_to_them() -> None:
    assert find_cycle({"a": ("b",), "b": ("c",), "c": ("b",)}) == ["b", "c", "b"]
    assert find_cycle({"a": ("b", "c"), "b": ("d",), "c": ("d",), "d": ()}) == []
    assert find_cycle({f"t{i}": (f"t{i + 1}",) for i in range(3000)} | {"t3000": ()}) == []
    assert ancestors({"a": ("b",), "b": ("a", "c"), "c": ()}, "a") == {"a", "b", "c"}
