"""Taking an existing `crewai.Crew` over: its objects read once into our declaration. Imports nothing of CrewAI."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from quarterdeck.engine.output import OutputType, plain
from quarterdeck.engine.scope import Parts
from quarterdeck.errors import Rejected, SpecError
from quarterdeck.spec.crew import AgentSpec, CrewSpec, DelegationSpec, InputSpec, TaskSpec
from quarterdeck.spec.problem import Problem
from quarterdeck.spec.template import as_text, placeholders
from quarterdeck.tools.signature import tool_from_crewai

if TYPE_CHECKING:
    from quarterdeck.engine.assignment import Guardrail
    from quarterdeck.tools.evidence import Evidence
    from quarterdeck.tools.tool import Tool

MANAGER = "manager"


def adopt(crew: Any) -> tuple[CrewSpec, Parts]:
    """Return the declaration of a CrewAI crew, and what its names stand for.

    Args:
        crew: A `crewai.Crew`.

    Raises:
        SpecError: It asks for a person at the console, which an unattended run cannot do; or a task has no agent.
    """
    tools: dict[str, Tool] = {}
    names = _names(crew)
    agents = {names[id(agent)]: _agent(agent, tools) for agent in crew.agents}
    hierarchical = None
    if str(getattr(crew.process, "value", crew.process)) == "hierarchical":
        agents[MANAGER] = _manager(crew, tools)
        hierarchical = DelegationSpec(manager=MANAGER, workers=tuple(names[id(agent)] for agent in crew.agents))
    tasks: dict[str, TaskSpec] = {}
    outputs: dict[str, OutputType] = {}
    guardrails: dict[str, tuple[Guardrail, ...]] = {}
    task_names = {id(task): _name(task.name, f"task_{at}") for at, task in enumerate(crew.tasks, 1)}
    problems = []
    for task in crew.tasks:
        name = task_names[id(task)]
        agent = None if hierarchical else names.get(id(task.agent))
        if task.human_input:
            problems.append(f"{name}: human_input waits at a console; declare the approval in a Quarterdeck crew")
        if hierarchical is None and agent is None:
            problems.append(f"{name}: has no agent of this crew")
        if any(not callable(guardrail) for guardrail in _declared_guardrails(task)):
            problems.append(f"{name}: a guardrail in words is judged by a model; give a function")
        task_tools = [_tool(tool, tools) for tool in task.tools or []]
        if agent and task_tools:
            agents[agent] = agents[agent].model_copy(update={"tools": (*agents[agent].tools, *task_tools)})
        context = task.context if isinstance(task.context, list) else None
        tasks[name] = TaskSpec(
            agent=agent,
            description=task.description,
            expected_output=task.expected_output,
            context=None if context is None else tuple(task_names[id(other)] for other in context),
            save_as=task.output_file.rsplit("/", 1)[-1] if task.output_file else None,
        )
        model = task.output_pydantic or task.output_json or task.response_model
        if model is not None:
            outputs[name] = OutputType(model)
        guardrails[name] = tuple(_guardrail(function) for function in _declared_guardrails(task))
    if problems:
        raise SpecError([Problem("crewai.Crew", 1, 1, "", problem) for problem in problems])
    texts = " ".join(part for task in crew.tasks for part in (task.description, task.expected_output))
    spec = CrewSpec(
        crew=_name(crew.name, "crew"),
        process="hierarchical" if hierarchical else "sequential",
        inputs={name: InputSpec() for name in sorted(placeholders(texts)) if name.isidentifier()},
        agents=agents,
        tasks=tasks,
        hierarchical=hierarchical,
    )
    return spec, Parts(tools=tools, outputs=outputs, guardrails=guardrails, functions={})


def _names(crew: Any) -> dict[int, str]:
    names: dict[int, str] = {}
    for agent in crew.agents:
        name = _name(agent.role, "agent")
        while name in names.values():
            name += "_"
        names[id(agent)] = name
    return names


def _name(text: str | None, otherwise: str) -> str:
    name = re.sub(r"[^a-z0-9_]+", "_", (text or "").lower()).strip("_")[:60]
    return name if name and not name[0].isdigit() else otherwise


def _agent(agent: Any, tools: dict[str, Tool]) -> AgentSpec:
    return AgentSpec(
        role=agent.role,
        goal=agent.goal,
        backstory=agent.backstory,
        tools=tuple(_tool(tool, tools) for tool in agent.tools or []),
        model=model_name(agent.llm),
        max_turns=max(1, min(agent.max_iter, 200)),
    )


def _manager(crew: Any, tools: dict[str, Tool]) -> AgentSpec:
    if crew.manager_agent is not None:
        return _agent(crew.manager_agent, tools)
    return AgentSpec(
        role="Crew manager",
        goal="Have each task done by the workers best suited, and answer for the result.",
        backstory="You split work cleanly, delegate each part once, and check what comes back.",
        model=model_name(crew.manager_llm),
    )


def _tool(tool: Any, tools: dict[str, Tool]) -> str:
    adopted: Tool = tool_from_crewai(tool)
    tools[adopted.name] = adopted
    return adopted.name


def model_name(llm: Any) -> str:
    """Return the LiteLLM name of what CrewAI calls an llm: a name, or an object with `model` and `provider`."""
    if llm is None or isinstance(llm, str):
        return llm or ""
    model: str = str(llm.model)
    provider = getattr(llm, "provider", None)
    return f"{provider}/{model}" if isinstance(provider, str) and "/" not in model else model


def _declared_guardrails(task: Any) -> list[Any]:
    declared = task.guardrails if task.guardrails is not None else task.guardrail
    if declared is None:
        return []
    return list(declared) if isinstance(declared, list | tuple) else [declared]


def _guardrail(function: Any) -> Guardrail:
    """Wrap a CrewAI guardrail, `(TaskOutput) -> (accepted, output or reason)`."""

    def guardrail(output: Any, evidence: Evidence) -> Any:
        accepted, value = function(_CrewAIOutput(output))
        if not accepted:
            raise Rejected(str(value))
        return output if value is None or isinstance(value, _CrewAIOutput) else value

    guardrail.__name__ = getattr(function, "__name__", "guardrail")
    return guardrail


class _CrewAIOutput:
    """What a CrewAI guardrail reads of a `TaskOutput`."""

    def __init__(self, output: Any) -> None:
        self.raw = as_text(output)
        self.pydantic = output if hasattr(output, "model_dump") else None
        self.json_dict = plain(output) if not isinstance(output, str) else None

    def __str__(self) -> str:
        return self.raw
