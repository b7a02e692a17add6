"""Everything that the parts of one run share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from quarterdeck.engine.output import plain
from quarterdeck.journal.call import CallContext
from quarterdeck.spec.memory import MemoryProfile

if TYPE_CHECKING:
    from quarterdeck.engine.assignment import Assignment, Guardrail, RunFunction
    from quarterdeck.engine.member import CrewAI
    from quarterdeck.engine.output import OutputType
    from quarterdeck.engine.remember import Memories
    from quarterdeck.engine.result import TaskResult
    from quarterdeck.governance.gate import Gate
    from quarterdeck.governance.notify import Notifier
    from quarterdeck.journal.allowance import Allowance
    from quarterdeck.journal.run import RunJournal
    from quarterdeck.models.catalog import Catalog
    from quarterdeck.models.stages import Stage
    from quarterdeck.spec.crew import CrewSpec
    from quarterdeck.spec.services import ServicesConfig
    from quarterdeck.tools.execution import Executor
    from quarterdeck.tools.mcp import Servers
    from quarterdeck.tools.tool import Tool


@dataclass(frozen=True, slots=True)
class Parts:
    """What the names in a crew stand for: loaded once, shared by all its runs.

    Attributes:
        tools: All tools by name.
        outputs: Declared output shapes by task.
        guardrails: Checks by task.
        functions: The functions of `run:` tasks, by task.
        worker_output: The declared shape of what a manager's workers answer.
        worker_guardrails: Checks of what they answer.
        servers: The MCP servers that some of the tools are on.
        services: The services that tools may use.
    """

    tools: Mapping[str, Tool]
    outputs: Mapping[str, OutputType]
    guardrails: Mapping[str, tuple[Guardrail, ...]]
    functions: Mapping[str, RunFunction]
    worker_output: OutputType | None = None
    worker_guardrails: tuple[Guardrail, ...] = ()
    servers: Servers | None = None
    services: ServicesConfig | None = None

    async def close(self) -> None:
        """End the connections to servers."""
        if self.servers is not None:
            await self.servers.close()


@dataclass(slots=True)
class RunScope:
    """One run at work.

    Attributes:
        tools: The tools of the workspace, and `delegate` in a hierarchical crew.
        deadline: The event loop's time at which the run must have ended.
        model: The model asked for on the command line; overrides what agents name. Empty: as declared.
        results: Of the tasks that have ended, by name.
        rounds: How often each task has been started by now.
        redo: Items of `for_each` that a loop asks to be done again, by task.
        checks: Guardrails that the engine itself adds to the tasks of an agent.
        folder: The run's own folder.
        notifier: Tells people of what needs them.
        profile: What the crew remembers.
        memories: What the run reads from memory and leaves there; None where the profile uses no tier.
    """

    spec: CrewSpec
    inputs: dict[str, Any]
    journal: RunJournal
    allowance: Allowance
    port: Stage
    gate: Gate
    catalog: Catalog
    crewai: CrewAI
    parts: Parts
    tools: Mapping[str, Tool]
    executor: Executor
    deadline: float
    model: str
    folder: Path
    notifier: Notifier
    results: dict[str, TaskResult] = field(default_factory=dict)
    rounds: dict[str, int] = field(default_factory=dict)
    redo: dict[str, list[Any]] = field(default_factory=dict)
    checks: dict[str, Guardrail] = field(default_factory=dict)
    profile: MemoryProfile = field(default_factory=MemoryProfile)
    memories: Memories | None = None

    def context(self, work: Assignment, step: str) -> CallContext:
        """Return the context of one call of an assignment."""
        return self.context_at(f"{work.path}/{step}", work.task, work.agent_name, work.model.group)

    def context_at(self, path: str, task: str, agent: str, group: str = "") -> CallContext:
        """Return the context of a call at a path; `group` is that of its model."""
        return CallContext(self.journal, self.allowance, path, task, agent, self.deadline, group)

    def values(self) -> dict[str, Any]:
        """Return what templates and conditions can name: the inputs, and each task's output."""
        outputs = {name: plain(result.output) for name, result in self.results.items()}
        return {**self.inputs, "inputs": self.inputs, **outputs}
