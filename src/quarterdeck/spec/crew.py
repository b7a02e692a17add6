"""The models of a declared crew. The files are read by `spec.load`; this is what they become."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Name = Annotated[str, Field(pattern=r"^[a-zA-Z_][a-zA-Z0-9_-]{0,63}$")]
ToolName = Annotated[str, Field(pattern=r"^[a-zA-Z_][a-zA-Z0-9_.-]{0,127}(@[a-zA-Z0-9.]{1,20})?$")]
Process = Literal["sequential", "graph", "hierarchical"]
Autonomy = Literal["low", "medium", "high", "shadow"]
"""The one dial of a deployment. In `shadow` nothing but reading is done; the call that would be is recorded."""
InputType = Literal["string", "number", "integer", "boolean", "file", "folder"]


class Declared(BaseModel):
    """Base of everything that stands in a file: unknown keys are mistakes."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class InputSpec(Declared):
    """One typed input of a crew; without a default it is required."""

    type: InputType = "string"
    description: str = ""
    default: str | int | float | bool | None = None
    trusted: bool = Field(default=True, description="False for text that somebody else wrote, such as a customer.")


class PlanSpec(Declared):
    """How work is planned before it is carried out."""

    planner: str = Field(default="expensive", description="The group or model that writes the plan.")
    executor: str = Field(default="cheap", description="The group or model of the steps that need one.")
    review: bool = Field(default=False, description="Wait for a person before anything is carried out.")
    max_steps: Annotated[int, Field(ge=1, le=50)] = 12
    max_replans: Annotated[int, Field(ge=0, le=10)] = 2


class Abilities(Declared):
    """What an agent may use; the same in a role of the library and in a crew."""

    tools: tuple[ToolName, ...] = ()
    model: str = Field(default="", description="A group or model of config/models.yaml, or provider/model.")
    temperature: Annotated[float, Field(ge=0, le=2)] = 0.0
    max_tokens: Annotated[int, Field(ge=16, le=200_000)] = 1024
    max_turns: Annotated[int, Field(ge=1, le=200)] = 12
    plan: PlanSpec | None = Field(default=None, description="Plan first, then carry the plan out step by step.")


class RoleSpec(Abilities):
    """A role of the library: a character that crews take over with `use:`."""

    role: Annotated[str, Field(min_length=1)]
    goal: Annotated[str, Field(min_length=1)]
    backstory: Annotated[str, Field(min_length=1)]


class AgentSpec(Abilities):
    """A member of the crew. `use` names a role of the library whose fields it takes over."""

    use: Name | None = None
    role: str = ""
    goal: str = ""
    backstory: str = ""


class LoopSpec(Declared):
    """A bounded way back: run the tasks from `back_to` up to this one again until the condition holds."""

    back_to: Name
    until: str
    max: Annotated[int, Field(ge=1, le=20)] = 2
    only: str | None = Field(
        default=None, description="A list in this task's output: the items of `for_each` to do again."
    )


class BeginSpec(Declared):
    """A tool call that the engine makes before the agent's first turn."""

    tool: ToolName
    arguments: dict[str, Any] = Field(default_factory=dict)


class TaskSpec(Declared):
    """One task: who does it, what it asks for, what it needs and what it must give."""

    agent: Name | None = None
    run: str | None = Field(default=None, description="A Python function `tools/x.py:name` in place of an agent.")
    description: str = ""
    expected_output: str = ""
    context: tuple[Name, ...] | None = Field(default=None, description="The tasks whose outputs this one sees.")
    needs: tuple[Name, ...] = ()
    tools: tuple[ToolName, ...] | None = Field(default=None, description="Narrows the agent's tools for this task.")
    begin: tuple[BeginSpec, ...] = ()
    when: str | None = None
    for_each: str | None = Field(default=None, description="A list in an earlier output; the task runs once an item.")
    loop: LoopSpec | None = None
    output: str | dict[str, Any] | None = None
    guardrails: tuple[str, ...] = ()
    model: str = Field(default="", description="In place of the agent's.")
    max_turns: Annotated[int, Field(ge=1, le=200)] | None = None
    max_tokens: Annotated[int, Field(ge=16, le=200_000)] | None = None
    save_as: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")] | None = None
    recall: bool | None = Field(default=None, description="Whether it is given what the crew remembers.")
    remember: bool | None = Field(default=None, description="Whether the crew remembers what it found, with sources.")


class DelegationSpec(Declared):
    """How a manager may delegate in a hierarchical crew."""

    manager: Name
    workers: tuple[Name, ...] = ()
    max_delegations: Annotated[int, Field(ge=1, le=100)] = 10
    max_depth: Annotated[int, Field(ge=1, le=5)] = 1
    ask_everyone: bool = Field(default=False, description="The answer is only accepted once each worker was asked.")
    begin: tuple[BeginSpec, ...] = Field(default=(), description="Tool calls made before a worker's first turn.")
    output: str | dict[str, Any] | None = Field(default=None, description="The shape of each worker's answer.")
    guardrails: tuple[str, ...] = Field(default=(), description="Code that checks each worker's answer.")


class Limits(Declared):
    """What a run may use at most."""

    usd: Annotated[float, Field(ge=0)] | None = None
    seconds: Annotated[float, Field(gt=0, le=30 * 86400)] = 600
    model_calls: Annotated[int, Field(ge=1, le=100_000)] = 100
    tool_calls: Annotated[int, Field(ge=0, le=100_000)] = 200
    tokens: Annotated[int, Field(ge=1)] | None = None
    on_budget: Literal["answer", "wait"] = Field(
        default="wait", description="When usd or tokens are used up: end with a best answer, or wait for a person."
    )


class ScopeSpec(Declared):
    """What the crew is there for, as data, for whoever reviews or runs it."""

    trigger: tuple[str, ...] = ()
    decisions: tuple[str, ...] = ()
    actions: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    escalate_when: tuple[str, ...] = ()
    escalate_below: Annotated[float, Field(ge=0, le=1)] | None = Field(
        default=None, description="An answer or a call whose own `confidence` is below this is put before a person."
    )


class CrewSpec(Declared):
    """A crew, complete: roles are merged in, names are checked."""

    crew: Name
    goal: str = ""
    process: Process = "sequential"
    inputs: dict[Name, InputSpec] = Field(default_factory=dict)
    agents: dict[Name, AgentSpec]
    tasks: dict[Name, TaskSpec]
    hierarchical: DelegationSpec | None = None
    plan: PlanSpec | None = Field(default=None, description="For every agent that has no `plan` of its own.")
    memory: Name = Field(default="none", description="A profile of memory/*.yaml: what the crew remembers.")
    knowledge: Annotated[tuple[Annotated[str, Field(min_length=1, max_length=2048)], ...], Field(max_length=50)] = (
        Field(default=(), description="Folders, files and URLs that `knowledge.search` looks things up in.")
    )
    limits: Limits = Limits()
    concurrency: Annotated[int, Field(ge=1, le=64)] = 8
    autonomy: Autonomy | None = Field(
        default=None, description="At most so much; it can lower what config/governance.yaml says, never raise it."
    )
    scope: ScopeSpec = ScopeSpec()
    report: Name | None = Field(
        default=None, description="The task whose output is the run's; the last one by default."
    )

    @property
    def plan_models(self) -> tuple[str, ...]:
        """The groups and models of planners and executors, each once; none where nobody plans."""
        plans = [plan for agent in self.agents.values() if (plan := agent.plan or self.plan)]
        return tuple(dict.fromkeys(name for plan in plans for name in (plan.planner, plan.executor)))
