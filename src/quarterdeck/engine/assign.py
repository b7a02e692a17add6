"""Making an assignment: the declared task with every name resolved and every value filled in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypedDict

from quarterdeck.engine.assignment import Assignment
from quarterdeck.engine.output import plain, shown
from quarterdeck.models.port import ToolRequest
from quarterdeck.spec.template import fill
from quarterdeck.tools.evidence import Evidence

if TYPE_CHECKING:
    from quarterdeck.engine.assignment import Guardrail
    from quarterdeck.engine.scope import RunScope
    from quarterdeck.models.catalog import ResolvedModel
    from quarterdeck.spec.crew import AgentSpec, BeginSpec, TaskSpec

MAX_CONTEXT_CHARACTERS = 60_000
DELEGATE = "delegate"


class Choice(TypedDict):
    """Which model does an assignment, and which may take over; the fields of `Assignment`."""

    model: ResolvedModel
    ladder: tuple[ResolvedModel, ...]
    forced: bool


def assignment_of(name: str, agent_name: str, path: str, run: RunScope, item: Any) -> Assignment:
    """Return the assignment of a task, or of one item of it.

    Args:
        name: The task.
        agent_name: Who does it.
        path: Its logical path.
        run: The run.
        item: The item of `for_each`, or None.
    """
    task = run.spec.tasks[name]
    agent = run.spec.agents[agent_name]
    evidence = evidence_for(name, run, item)
    values = {**run.values(), **_about(item, task, run), "item": item, "round": evidence.round}
    offered = granted(task, agent)
    if run.spec.hierarchical and run.spec.hierarchical.manager == agent_name:
        offered = offered | {DELEGATE}
    return Assignment(
        path=path,
        task=name,
        agent_name=agent_name,
        agent=agent,
        description=fill(task.description, values),
        expected_output=fill(task.expected_output, values),
        context=_context(name, run, item),
        **choice_of(agent, run, task, name),
        max_turns=task.max_turns or agent.max_turns,
        max_tokens=task.max_tokens or agent.max_tokens,
        evidence=evidence,
        tools=tuple(run.tools[tool].offer() for tool in sorted(offered)),
        begin=begin_calls(task.begin, values),
        output=run.parts.outputs.get(name),
        guardrails=(*run.parts.guardrails.get(name, ()), *_own_checks(agent_name, run)),
    )


def _own_checks(agent_name: str, run: RunScope) -> tuple[Guardrail, ...]:
    check = run.checks.get(agent_name)
    return (check,) if check else ()


def granted(task: TaskSpec, agent: AgentSpec) -> frozenset[str]:
    """Return the tools that an agent may use in a task: its own, narrowed by the task's."""
    own = frozenset(agent.tools)
    return own if task.tools is None else own & frozenset(task.tools)


def model_of(agent: AgentSpec, run: RunScope, task: TaskSpec | None = None) -> ResolvedModel:
    """Return the model of an agent: the one asked for on the command line, else the task's, else the agent's own.

    Where routing chooses, it is the one to start with.
    """
    return run.catalog.resolve(_wanted(agent, run, task))


def choice_of(agent: AgentSpec, run: RunScope, task: TaskSpec | None = None, name: str = "") -> Choice:
    """Return `model`, `ladder` and `forced` of an assignment.

    Args:
        agent: Who does it.
        run: The run.
        task: The task, whose model comes before the agent's; None for delegated work.
        name: The task's name.
    """
    wanted = _wanted(agent, run, task)
    if not run.catalog.routes(wanted):
        return {"model": run.catalog.resolve(wanted), "ladder": (), "forced": False}
    ladder = run.catalog.ladder()
    forced = run.catalog.routing.forced.get(name)
    return {
        "model": run.catalog.resolve(forced) if forced else ladder[0], "ladder": ladder, "forced": forced is not None,
    }  # fmt: skip


def _wanted(agent: AgentSpec, run: RunScope, task: TaskSpec | None) -> str:
    return run.model or (task.model if task else "") or agent.model


def evidence_for(name: str, run: RunScope, item: Any) -> Evidence:
    """Return what the guardrails or the function of a task may judge by."""
    return Evidence(
        inputs=run.inputs,
        item=item,
        round=run.rounds.get(name, 1),
        outputs={task: plain(result.output) for task, result in run.results.items()},
        earlier_notes=tuple(note for result in run.results.values() for note in result.notes),
    )


def context_names(name: str, run: RunScope) -> tuple[str, ...]:
    """Return the tasks whose outputs a task sees: those declared, else all before it or those it needs."""
    task = run.spec.tasks[name]
    if task.context is not None:
        return task.context
    if run.spec.process == "graph":
        return task.needs
    names = list(run.spec.tasks)
    return tuple(names[: names.index(name)])


def _context(name: str, run: RunScope, item: Any) -> str:
    sections = []
    for other in context_names(name, run):
        text = _seen(run.spec.tasks[name], other, run, item)
        if text:
            sections.append(f"## {other}\n{text}")
    return "\n\n".join(sections)[:MAX_CONTEXT_CHARACTERS]


def _seen(task: TaskSpec, other: str, run: RunScope, item: Any) -> str:
    own = _about(item, task, run)
    if other in own:
        return own[other]
    return run.results[other].text if other in run.results else ""


def _about(item: Any, task: TaskSpec, run: RunScope) -> dict[str, str]:
    """Return, of the tasks that ran over the same list, what each found about one item: nothing else concerns it."""
    if task.for_each is None:
        return {}
    return {
        name: "\n".join(shown(entry["output"]) for entry in result.output if entry["item"] == item)
        for name, result in run.results.items()
        if run.spec.tasks[name].for_each == task.for_each and isinstance(result.output, list)
    }


def begin_calls(declared: Sequence[BeginSpec], values: dict[str, Any]) -> tuple[ToolRequest, ...]:
    """Return the tool calls that the engine makes before an agent's first turn, values filled in."""
    return tuple(
        ToolRequest(
            f"begin-{number}",
            begin.tool,
            {
                key: _argument(value, values) if isinstance(value, str) else value
                for key, value in begin.arguments.items()
            },
        )
        for number, begin in enumerate(declared, 1)
    )


def _argument(template: str, values: dict[str, Any]) -> Any:
    """Fill a template; one that is a single placeholder keeps the value's type."""
    bare = template.strip()
    if bare.startswith("{") and bare.endswith("}") and bare[1:-1] in values:
        return plain(values[bare[1:-1]])
    return fill(template, values)
