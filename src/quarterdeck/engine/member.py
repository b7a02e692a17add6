"""The CrewAI side: our agents as CrewAI agents, our tasks as CrewAI tasks. The only file that imports crewai.

crewai is imported when `CrewAI.load()` is called, not when this module is.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import cache
from typing import TYPE_CHECKING, Any

from pydantic import PrivateAttr

from quarterdeck import vendors
from quarterdeck.engine.concurrency import run_sync
from quarterdeck.engine.crewai_patches import spare_the_console, spare_the_file_store
from quarterdeck.spec.crew import AgentSpec
from quarterdeck.spec.template import as_text

if TYPE_CHECKING:
    from quarterdeck.engine.assignment import Assignment, Outcome
    from quarterdeck.engine.scope import RunScope

Perform = Callable[["Assignment", "RunScope"], Awaitable["Outcome"]]


class CrewAI:
    """CrewAI's classes, ready for one crew: its agents are made once and shared by all its runs.

    Args:
        perform: Carries out an assignment: the loop.
    """

    def __init__(self, perform: Perform) -> None:
        self._perform = perform
        self._members: dict[AgentSpec, Any] = {}

    async def execute(self, work: Assignment, run: RunScope) -> Outcome:
        """Carry out an assignment as a CrewAI task of a CrewAI agent, so that CrewAI's listeners see it."""
        classes = crewai_classes()
        member = self._members.get(work.agent)
        if member is None:
            member = self._members[work.agent] = classes.member_of(work.agent)
        task = classes.task(
            name=work.task,
            description=work.description or work.task,
            expected_output=work.expected_output or "The result.",
        )
        outcome: list[Outcome] = []

        async def perform() -> Any:
            outcome.append(await self._perform(work, run))
            return outcome[0].value

        task.bind(perform)
        await task.aexecute_sync(agent=member)
        return outcome[0]


class CrewAIClasses:
    """Our subclasses of CrewAI's agent and task."""

    def __init__(self, member: type[Any], task: type[Any]) -> None:
        self.member = member
        self.task = task

    def member_of(self, agent: AgentSpec) -> Any:
        """Return a `Member` with the character of a declared agent."""
        return self.member(role=agent.role, goal=agent.goal, backstory=agent.backstory)


@cache
def crewai_classes() -> CrewAIClasses:
    """Import crewai, quiet it, and return our subclasses of its agent and task.

    Takes some five seconds of CPU the first time. A `Member` works inside a plain `crewai.Crew` too: there each
    task is a run of its own, with journal, limits and gate.
    """
    with vendors.importing():
        from crewai import Task
        from crewai import task as task_module
        from crewai.agents.agent_builder.base_agent import BaseAgent
        from crewai.events import event_listener
        from crewai.events.event_bus import crewai_event_bus
        from crewai.events.types import task_events
        from crewai.events.utils.console_formatter import set_suppress_console_output
        from crewai.utilities import file_store

    event_listener.EventListener().formatter.verbose = False
    set_suppress_console_output(True)
    spare_the_console(crewai_event_bus, event_listener, task_events)
    spare_the_file_store(task_module, file_store)

    class CrewTask(Task):  # type: ignore[misc]
        """A CrewAI task whose work is bound to one assignment of ours."""

        _work: Callable[[], Awaitable[Any]] | None = PrivateAttr(default=None)

        def bind(self, work: Callable[[], Awaitable[Any]]) -> None:
            """Set what the task does."""
            self._work = work

    class Member(BaseAgent):  # type: ignore[misc]
        """A CrewAI agent whose turns are Quarterdeck's loop: budgeted, journaled, its tools behind the gate.

        Args:
            role: Who the agent is.
            goal: What it is after.
            backstory: What shaped it.
            tools: CrewAI tools (`BaseTool`); granted to this agent.
            llm: A model or group of `config/models.yaml`, or any LiteLLM name; empty for the default.
            max_iter: Turns at most.
            catalog: The models, if not those of the workspace.
            database_url: The journal's database, if not the workspace's.
        """

        function_calling_llm: Any = None
        step_callback: Any = None
        allow_code_execution: bool = False
        multimodal: bool = False
        llm: Any = ""
        catalog: Any = None
        database_url: str | None = None

        @property
        def last_messages(self) -> list[Any]:
            """CrewAI asks for these after each task; ours stand in the journal."""
            return []

        def execute_task(self, task: Any, context: str | None = None, tools: list[Any] | None = None) -> Any:
            """Carry out a task."""
            return run_sync(self.aexecute_task(task, context, tools))

        async def aexecute_task(self, task: Any, context: str | None = None, tools: list[Any] | None = None) -> Any:
            """Carry out a task: the bound assignment, or in a plain `crewai.Crew` a run of its own."""
            if isinstance(task, CrewTask) and task._work is not None:
                value = await task._work()
                return value if hasattr(value, "model_dump_json") else as_text(value)
            from quarterdeck.engine.solo import perform_alone

            return await perform_alone(self, task, context or "", tools or self.tools or [])

        def create_agent_executor(self, tools: list[Any] | None = None) -> None:
            """CrewAI's executor is not used."""

        def get_delegation_tools(self, agents: Any) -> list[Any]:
            """Return none: delegation is Quarterdeck's own."""
            return []

        def get_platform_tools(self, apps: Any) -> list[Any]:
            """Return none."""
            return []

        def get_mcp_tools(self, mcps: Any) -> list[Any]:
            """Return none."""
            return []

    return CrewAIClasses(Member, CrewTask)
