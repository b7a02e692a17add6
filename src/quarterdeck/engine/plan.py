"""A plan as data: its steps, what they refer to, and the checks that it has to pass before anything is carried out."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, cast

from pydantic import Field, model_validator

from quarterdeck.engine.grants import grants_of
from quarterdeck.journal.call import CallContext
from quarterdeck.spec.conditions import Condition
from quarterdeck.spec.crew import Declared
from quarterdeck.spec.problem import did_you_mean
from quarterdeck.spec.sentences import Finding
from quarterdeck.tools.arguments import mistakes

if TYPE_CHECKING:
    from quarterdeck.spec.crew import AgentSpec, CrewSpec, PlanSpec
    from quarterdeck.tools.tool import Tool

StepId = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_]{0,39}$")]


class Step(Declared):
    """One step: a tool with its arguments, or a worker with what it sees. An input is a literal or a reference."""

    id: StepId
    does: Annotated[str, Field(min_length=1, max_length=500)]
    tool: Annotated[str, Field(max_length=128)] = ""
    worker: Annotated[str, Field(max_length=64)] = ""
    inputs: Annotated[dict[str, Any], Field(max_length=20)] = Field(default_factory=dict)
    after: Annotated[tuple[StepId, ...], Field(max_length=50)] = ()
    check: Annotated[str, Field(max_length=500)] = ""

    @model_validator(mode="before")
    @classmethod
    def _never_itself(cls, data: Any) -> Any:
        """Let a step not wait for itself: small models write that, and it can mean nothing else."""
        if isinstance(data, dict) and isinstance(data.get("after"), (list, tuple)):
            return {**data, "after": [other for other in data["after"] if other != data.get("id")]}
        return data

    @property
    def waits_for(self) -> tuple[str, ...]:
        """The steps that must have succeeded before this one: those it refers to, and those it comes after."""
        referred = (target.split(".")[0] for _, target in self.references)
        return tuple(dict.fromkeys((*referred, *self.after)))

    @property
    def references(self) -> tuple[tuple[str, str], ...]:
        """The inputs that refer to earlier outputs, each with `step` or `step.field`."""
        targets = ((name, reference(value)) for name, value in self.inputs.items())
        return tuple((name, target) for name, target in targets if target is not None)


class Plan(Declared):
    """What a planner writes: steps, of which those that do not wait for one another run at once."""

    steps: Annotated[tuple[Step, ...], Field(max_length=50)]
    answer: Annotated[str, Field(max_length=40)] = ""

    def as_data(self) -> dict[str, Any]:
        """Return the plan as people read and edit it: without what is left empty."""
        return self.model_dump(mode="json", exclude_defaults=True) | {"answer": self.answer}


@dataclass(frozen=True, slots=True)
class Means:
    """What a plan may use.

    Attributes:
        tools: Those granted to the agent; None for one whose arguments cannot be checked here.
        workers: The agents of the crew.
        max_steps: Steps at most.
        finished: Steps of earlier plans of the same work, by id: they stay and may be referred to.
    """

    tools: Mapping[str, Tool | None]
    workers: tuple[str, ...]
    max_steps: int
    finished: Mapping[str, Step] = field(default_factory=dict)


def plan_spec(agent: AgentSpec, crew: CrewSpec) -> PlanSpec | None:
    """Return how an agent plans: as it declares itself, else as its crew does; None when it does not."""
    return agent.plan or crew.plan


def means_of(
    crew: CrewSpec, tools: Mapping[str, Tool], path: str, task: str, agent: str, finished: Mapping[str, Step]
) -> Means:
    """Return what the plans of an agent may use.

    Args:
        crew: The crew.
        tools: All tools that there are.
        path: The logical path of the plan.
        task: Its task.
        agent: Who plans.
        finished: Steps that are done already.
    """
    spec = plan_spec(crew.agents[agent], crew)
    assert spec is not None
    granted = sorted(granted_at(path, task, agent, crew))
    return Means({name: tools.get(name) for name in granted}, tuple(crew.agents), spec.max_steps, finished)


def granted_at(path: str, task: str, agent: str, crew: CrewSpec) -> frozenset[str]:
    """Return the tools that the gate lets an agent use in a step at a path."""
    nothing = cast("Any", None)  # a grant depends on the place of a call alone
    return grants_of(crew)(CallContext(nothing, nothing, f"{path}/step/tool-1", task, agent, 0.0))


def reference(value: Any) -> str | None:
    """Return `step` or `step.field` for an input such as `{"from": "search.first"}`, None for a literal."""
    if isinstance(value, dict) and value.keys() == {"from"} and isinstance(value["from"], str):
        return value["from"]
    return None


def remaining(plan: Plan, finished: Mapping[str, Step]) -> Plan:
    """Return a plan without the finished steps that it repeats word by word: they are never done again."""
    return plan.model_copy(update={"steps": tuple(step for step in plan.steps if finished.get(step.id) != step)})


def check_plan(plan: Plan, means: Means) -> list[Finding]:
    """Return everything that is wrong with a plan; nothing means that it can be carried out.

    A step can only refer to steps above it and to finished ones, so no plan has a circle.
    """
    found: list[Finding] = []
    if not plan.steps and not means.finished:
        found.append(Finding(("steps",), "a plan has at least one step"))
    if len(plan.steps) > means.max_steps:
        found.append(Finding(("steps",), f"{len(plan.steps)} steps, more than the {means.max_steps} allowed"))
    earlier = dict(means.finished)
    for index, step in enumerate(plan.steps):
        place = ("steps", index)
        if step.id in means.finished:
            found.append(Finding((*place, "id"), f'"{step.id}" is a finished step; give this one another id'))
        elif step.id in earlier:
            found.append(Finding((*place, "id"), f'two steps are named "{step.id}"'))
        found += [
            Finding((*place, *key), what)
            for key, what in (*_who(step, means), *_waits(step, plan, earlier), *_inputs(step, means), *_check(step))
        ]
        earlier.setdefault(step.id, step)
    if plan.answer and plan.answer not in earlier:
        found.append(Finding(("answer",), f'no step "{plan.answer}"{did_you_mean(plan.answer, earlier)}'))
    return found


Wrong = Iterator[tuple[tuple[str | int, ...], str]]


def _who(step: Step, means: Means) -> Wrong:
    if bool(step.tool) == bool(step.worker):
        yield (), "a step names a tool or a worker, exactly one of them"
    if step.tool and step.tool not in means.tools:
        known = ", ".join(means.tools) or "none"
        hint = did_you_mean(step.tool, means.tools)
        yield ("tool",), f'no tool "{step.tool}" is granted here{hint} Granted: {known}'
    if step.worker and step.worker not in means.workers:
        hint = did_you_mean(step.worker, means.workers)
        yield ("worker",), f'no agent "{step.worker}" in this crew{hint} There are: {", ".join(means.workers)}'


def _waits(step: Step, plan: Plan, earlier: Mapping[str, Step]) -> Wrong:
    ids = [other.id for other in plan.steps]
    targets: list[tuple[tuple[str | int, ...], str]] = [(("inputs", name), target) for name, target in step.references]
    targets += [(("after", index), other) for index, other in enumerate(step.after)]
    for key, target in targets:
        head, dot, _ = target.partition(".")
        if head == step.id:
            yield key, "a step cannot wait for itself"
        elif head not in earlier and head in ids:
            yield key, f'"{head}" comes later; steps can only wait for steps above them'
        elif head not in earlier:
            yield key, f'no step "{head}"{did_you_mean(head, earlier)}'
        elif dot and earlier[head].worker:
            yield key, f'"{head}" is done by a worker and gives text, which has no field; write "{head}" alone'


def _inputs(step: Step, means: Means) -> Wrong:
    later = {name for name, _ in step.references}
    literals = {name: value for name, value in step.inputs.items() if name not in later}
    try:
        json.dumps(literals, allow_nan=False)
    except (ValueError, RecursionError):
        yield ("inputs",), "holds something that JSON cannot: a number that is not finite, or too deep a nesting"
        return
    tool = means.tools.get(step.tool)
    if tool is not None:
        for wrong in mistakes(tool, literals, later):
            yield ("inputs",), wrong


def _check(step: Step) -> Wrong:
    if not step.check:
        return
    try:
        names = Condition.parse(step.check).names
    except ValueError as error:
        yield ("check",), str(error)
        return
    for name in sorted(names):
        if name.split(".")[0] != "output":
            yield ("check",), f'"{name}" cannot be known here; a check reads `output` alone, such as: len(output) > 0'
