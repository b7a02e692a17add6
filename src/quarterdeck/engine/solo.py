"""A `Member` in a plain `crewai.Crew`: each of its tasks is a run of its own."""

from __future__ import annotations

from typing import Any

from quarterdeck.engine.adopt import model_name
from quarterdeck.engine.crew import Crew
from quarterdeck.engine.output import OutputType
from quarterdeck.engine.scope import Parts
from quarterdeck.errors import QuarterdeckError
from quarterdeck.spec.crew import AgentSpec, CrewSpec, TaskSpec
from quarterdeck.tools.signature import tool_from_crewai


async def perform_alone(member: Any, task: Any, context: str, tools: list[Any]) -> Any:
    """Carry out a CrewAI task with a run of one agent, journaled, limited and gated like any other.

    Args:
        member: The `Member`.
        task: CrewAI's task.
        context: What CrewAI hands over from other tasks.
        tools: CrewAI tools for this task.

    Returns:
        Text, or an instance of the task's pydantic model.

    Raises:
        QuarterdeckError: The run failed; CrewAI reports its message.
    """
    adopted = {tool.name: tool for tool in map(tool_from_crewai, tools)}
    agent = AgentSpec(
        role=member.role,
        goal=member.goal,
        backstory=member.backstory,
        tools=tuple(adopted),
        model=model_name(member.llm),
        max_turns=max(1, min(member.max_iter, 200)),
    )
    description = f"{task.description}\n\nContext (data):\n{context}" if context else task.description
    work = TaskSpec(agent="member", description=description, expected_output=task.expected_output)
    spec = CrewSpec(crew="member", agents={"member": agent}, tasks={"task": work})
    shape = task.output_pydantic or task.response_model
    parts = Parts(
        tools=adopted, outputs={"task": OutputType(shape)} if shape else {}, guardrails={"task": ()}, functions={}
    )
    crew = Crew(spec, parts=parts, catalog=member.catalog, database_url=member.database_url)
    try:
        result = await crew.akickoff()
    finally:
        await crew.aclose()
    if result.output is None:
        raise QuarterdeckError(f"{member.role}: {result.evidence} (run {result.run_id})", code=result.code)
    return result.output
