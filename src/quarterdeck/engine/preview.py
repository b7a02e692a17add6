"""What each agent would be sent first, made the way a run makes it, without running anything."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from quarterdeck.engine import prompts
from quarterdeck.engine.assign import DELEGATE, assignment_of
from quarterdeck.engine.graph import workers_of
from quarterdeck.engine.hierarchical import Delegation
from quarterdeck.engine.plan import plan_spec
from quarterdeck.engine.planner import planning
from quarterdeck.engine.result import TaskResult
from quarterdeck.engine.scope import RunScope
from quarterdeck.engine.steps import Steps
from quarterdeck.models.port import Message
from quarterdeck.tools.evidence import Evidence
from quarterdeck.tools.tool import ToolContext

if TYPE_CHECKING:
    from quarterdeck.engine.assignment import Assignment
    from quarterdeck.engine.scope import Parts
    from quarterdeck.journal.events import ToolCalled
    from quarterdeck.journal.run import RunJournal
    from quarterdeck.models.catalog import Catalog
    from quarterdeck.models.port import ToolOffer, ToolRequest
    from quarterdeck.spec.crew import CrewSpec


@dataclass(frozen=True, slots=True)
class Preview:
    """The first request of one agent for one task.

    Attributes:
        model: The model that would answer, as people know it.
        messages: With `{placeholders}` where a run would put what is not known yet.
        tools: What the model may propose to call.
        schema: What the answer is held to, where the model can be held to one.
    """

    task: str
    agent: str
    model: str
    messages: tuple[Message, ...]
    tools: tuple[ToolOffer, ...]
    schema: dict[str, Any] | None


def preview(
    spec: CrewSpec, parts: Parts, catalog: Catalog, inputs: Mapping[str, Any], *, model: str = ""
) -> list[Preview]:
    """Return the first request of each task that an agent does, in the order of the crew, then of each worker.

    Args:
        spec: The crew.
        parts: What its names stand for.
        catalog: The models.
        inputs: Those that are known; the placeholders of others stay as they are.
        model: Overrides what the agents name.

    Raises:
        ModelError: A model is not known or has no key.
    """
    run = _scope(spec, parts, catalog, inputs, model)
    delegation = _delegation(run)
    previews = []
    led = ""
    for name, task in spec.tasks.items():
        agent = task.agent or (spec.hierarchical.manager if spec.hierarchical and not task.run else "")
        if agent:
            item = "{item}" if task.for_each else None
            work = assignment_of(name, agent, name, run, item)
            work = _asked_first(replace(work, evidence=Evidence(inputs=run.inputs, item=item)), run)
            previews.append(_preview(work))
            led = led or (name if delegation else "")
    if delegation is not None and led:
        context = ToolContext("", "", run.inputs, run.folder, path=f"{led}/turn-1/tool-1")
        works = [delegation.assignment(worker, "{work}", context) for worker in workers_of(spec)]
        previews += [_preview(_asked_first(work, run)) for work in works]
    return previews


def _scope(spec: CrewSpec, parts: Parts, catalog: Catalog, inputs: Mapping[str, Any], model: str) -> RunScope:
    defaults = {name: declared.default for name, declared in spec.inputs.items() if declared.default is not None}
    nothing = cast("Any", None)  # an assignment is made without model, gate or clock
    journal = cast("RunJournal", _NothingRecorded())
    run = RunScope(
        spec=spec, inputs={**defaults, **inputs}, journal=journal, allowance=nothing, port=nothing, gate=nothing,
        catalog=catalog, crewai=nothing, parts=parts, tools=dict(parts.tools), executor=nothing, deadline=0.0,
        model=model, folder=Path(), notifier=nothing,
    )  # fmt: skip
    for name in spec.tasks:
        known_later = f"{{{name}}}"
        run.results[name] = TaskResult(name, "", "succeeded", "goal_met", known_later, known_later)
    return run


def _delegation(run: RunScope) -> Delegation | None:
    if run.spec.hierarchical is None:
        return None
    delegation = Delegation(run, run.spec.hierarchical)
    run.tools = {**run.tools, DELEGATE: delegation.tool()}
    return delegation


class _NothingRecorded:
    """A journal without events, for what looks earlier calls up."""

    def recorded_tools(self, tool: str) -> tuple[ToolCalled, ...]:
        """Return no calls."""
        return ()


def _asked_first(work: Assignment, run: RunScope) -> Assignment:
    """Return what the planner is asked where the agent plans, else the work itself."""
    spec = plan_spec(work.agent, run.spec)
    return work if spec is None else planning(1, work, spec, Steps(work, spec, run), run)


def _preview(work: Assignment) -> Preview:
    messages = prompts.opening(work, [(call.name, f"{{result of {_call(call)}}}") for call in work.begin])
    # As declared: what a run narrows it to is known when its tools have answered.
    schema = work.output.model.model_json_schema() if work.output and work.model.supports_schema else None
    return Preview(work.task, work.agent_name, work.model.label, messages, work.tools, schema)


def _call(request: ToolRequest) -> str:
    arguments = ", ".join(f"{name}={json.dumps(value)}" for name, value in (request.arguments or {}).items())
    return f"{request.name}({arguments})"
