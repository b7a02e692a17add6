"""What one agent is asked to do, with everything resolved, and what came of it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from quarterdeck.engine.output import OutputType
    from quarterdeck.models.catalog import ResolvedModel
    from quarterdeck.models.port import ToolOffer, ToolRequest
    from quarterdeck.spec.crew import AgentSpec
    from quarterdeck.tools.evidence import Evidence

Guardrail = Callable[[Any, "Evidence"], Any | Awaitable[Any]]
"""Returns the output, mended where it can be; raises `quarterdeck.errors.Rejected` to have it done again."""

RunFunction = Callable[["Evidence"], Any | Awaitable[Any]]
"""The function of a `run:` task: makes the task's output without a model."""


@dataclass(frozen=True, slots=True)
class Assignment:
    """One task (or one item of it) for one agent.

    Attributes:
        path: The logical path of the work, such as `gather/item-2`.
        task: The task's name.
        agent_name: The agent's name in the crew.
        agent: Its role, goal, backstory and settings.
        description: What to do, with all values filled in.
        expected_output: What the answer must be like.
        context: Outputs of other tasks, as text; data, never instruction.
        model: The model that answers.
        max_turns: Model calls at most, but for one last tool-less one.
        max_tokens: Cap on each answer.
        tools: What the agent may propose to call.
        begin: Tool calls that the engine makes before the first turn.
        output: The shape of the answer, or None for text.
        guardrails: Code that checks the answer, in order.
        evidence: What guardrails judge by.
        ladder: The models that `auto` chooses from, in order; empty where a model is named.
        forced: `model` was chosen beforehand, and no other takes over.
        memories: What the crew remembers that may help: data, never instruction.
    """

    path: str
    task: str
    agent_name: str
    agent: AgentSpec
    description: str
    expected_output: str
    context: str
    model: ResolvedModel
    max_turns: int
    max_tokens: int
    evidence: Evidence
    tools: tuple[ToolOffer, ...] = ()
    begin: tuple[ToolRequest, ...] = ()
    output: OutputType | None = None
    guardrails: tuple[Guardrail, ...] = ()
    ladder: tuple[ResolvedModel, ...] = ()
    forced: bool = False
    memories: tuple[dict[str, Any], ...] = ()


@dataclass(frozen=True, slots=True)
class Verdict:
    """What code, not the actor, says of an answer.

    Attributes:
        value: What can be used of it; None for nothing.
        problem: What is wrong with it, in words for the agent.
        notes: What guardrails had to say.
        rejected_by: The guardrail that rejected it; empty when it did not even have the right shape.
    """

    accepted: bool
    value: Any = None
    problem: str = ""
    notes: tuple[str, ...] = ()
    rejected_by: str = ""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How the work on an assignment ended.

    Attributes:
        status: `succeeded` only when code accepted the answer.
        code: `goal_met`, or the reason for stopping: `limit_turns`, `limit_usd`, `oscillation`, ...
        value: Text, or an instance of the declared output; None when there is no usable answer.
        why: For people, where it did not succeed.
        notes: What guardrails had to say.
    """

    status: Literal["succeeded", "partial", "failed"]
    code: str
    value: Any = None
    why: str = ""
    notes: tuple[str, ...] = field(default=())
