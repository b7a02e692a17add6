"""The typed events of a run: one small model a kind, with a literal tag and a schema version.

Events that say "recorded" are kept in the journal; `RunOpened`, `TextArrived` and `ToolStarted` only stream by.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

RunStatus = Literal["running", "waiting", "succeeded", "partial", "failed", "cancelled"]
TaskStatus = Literal["succeeded", "partial", "failed", "skipped"]
ToolStatus = Literal["ok", "error", "denied", "shadowed", "unverified", "unknown"]
"""`shadowed`: recorded, not done; `unverified`: done, the world not seen changed; `unknown`: nobody knows."""
AnswerSource = Literal["model", "cache", "shared"]
"""Who gave an answer: a model, the stored cache, or an identical call that was in flight."""


class Event(BaseModel):
    """What every event says: where in the run it belongs.

    Attributes:
        path: The logical path, such as `gather/turn-3/tool-1`; the same in every replay.
        task: The task's name; empty for the run as a whole.
        agent: The agent's name; empty where no agent acts.
        at: Seconds since 1970 (UTC).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    v: Literal[1] = 1
    path: str = ""
    task: str = ""
    agent: str = ""
    at: float = 0.0


class RunStarted(Event):
    """Recorded first: what the run was asked to do."""

    kind: Literal["run.started"] = "run.started"
    crew: str
    inputs: dict[str, Any]
    spec_hash: str
    version: str
    tenant: str = ""


class RunOpened(Event):
    """Streams by before all others: the run that this process takes in hand; not kept."""

    kind: Literal["run.opened"] = "run.opened"
    run_id: str
    crew: str
    models: tuple[str, ...] = Field(description="The models that its agents use, as people know them.")


class RunResumed(Event):
    """Recorded when a process takes the run up again."""

    kind: Literal["run.resumed"] = "run.resumed"
    calls: int = Field(description="Recorded calls that will be replayed.")


class RunForked(Event):
    """Recorded first in a fork: where it comes from."""

    kind: Literal["run.forked"] = "run.forked"
    parent: str
    fork_at: str
    changed: dict[str, Any]
    copied: int = Field(default=0, description="So many events after this one were taken over from the parent.")


class TaskStarted(Event):
    """Recorded when a task begins."""

    kind: Literal["task.started"] = "task.started"


class ModelCalled(Event):
    """Recorded after a model answered, before the answer is used."""

    kind: Literal["model.called"] = "model.called"
    request_hash: str
    request: dict[str, Any]
    reply: dict[str, Any]
    model: str
    prompt_tokens: int
    completion_tokens: int
    cost_usd: str | None = Field(description="A decimal; None when the price is not known.")
    seconds: float
    cached_tokens: int = Field(default=0, description="Prompt tokens that came from the provider's cache.")
    source: AnswerSource = "model"
    degraded: bool = Field(default=False, description="A fallback answered in the place of the model asked for.")
    window_tokens: int = Field(default=0, description="Of the prompt, tools included, as counted before the call.")
    window_share: float = Field(default=0.0, description="Of the model's context, 0 to 1.")


class ModelFailed(Event):
    """Recorded for each physical attempt that failed."""

    kind: Literal["model.failed"] = "model.failed"
    request_hash: str
    model: str
    error: str
    error_kind: str
    attempt: int
    seconds: float


class ToolStarted(Event):
    """Streams by when a tool begins; not kept."""

    kind: Literal["tool.started"] = "tool.started"
    tool: str
    arguments: dict[str, Any]


class ToolCalled(Event):
    """Recorded after a tool call was answered, denied or failed, before the result is used."""

    kind: Literal["tool.called"] = "tool.called"
    request_hash: str
    tool: str
    arguments: dict[str, Any]
    status: ToolStatus
    result: Any
    error_class: str = ""
    seconds: float
    effect: str = ""
    tier: str = ""
    version: str = Field(default="", description="Of the tool's behaviour.")
    origins: dict[str, str] = Field(default_factory=dict, description="Where each argument came from, by its path.")
    approval: str = Field(default="", description="The id of the approval under which it was made.")
    receipt: Any = Field(default=None, description="What its undo needs, where it has one.")


class Decision(Event):
    """Recorded when code, not a model, decides how the run goes on."""

    kind: Literal["decision"] = "decision"
    what: str
    why: str
    chosen: str = ""
    alternatives: tuple[str, ...] = ()


class PlanMade(Event):
    """Recorded when a planner's plan has passed the checks of code; `plan` is what will be carried out."""

    kind: Literal["plan.made"] = "plan.made"
    plan: dict[str, Any]
    number: int = Field(default=1, description="1 for the first plan, one more for each replan.")
    why: str = Field(default="", description="Of a replan: what failed.")


class PlanReviewed(Event):
    """Recorded when a person has answered about a plan; an edited plan takes the place of the planner's."""

    kind: Literal["plan.reviewed"] = "plan.reviewed"
    approved: bool
    plan: dict[str, Any] | None = Field(default=None, description="The edited plan; None when nothing was changed.")
    by: str = ""
    reason: str = ""


class StepEnded(Event):
    """Recorded when a step of a plan has ended; a finished step is never done again."""

    kind: Literal["step.ended"] = "step.ended"
    step: str
    status: Literal["succeeded", "failed"]
    output: Any = None
    why: str = ""


class EffectStarted(Event):
    """Recorded before a call that must not happen twice: without its `ToolCalled` nobody knows what became of it."""

    kind: Literal["effect.started"] = "effect.started"
    tool: str
    arguments: dict[str, Any]
    request_hash: str


class EffectUndone(Event):
    """Recorded when what a call did was put back; `path` is that of the call."""

    kind: Literal["effect.undone"] = "effect.undone"
    tool: str
    done: bool = Field(description="Whether it is as it was before.")
    why: str = ""
    by: str = ""


class ApprovalAsked(Event):
    """Recorded before a run waits for a person; `path` is that of the call."""

    kind: Literal["approval.asked"] = "approval.asked"
    id: str
    reason: str = Field(
        description="`tier`, `provenance`, `confidence`, `incomplete`, `scope`, `unknown_effect` or `timeout`."
    )
    needs: str = Field(default="", description="Which rule or doubt puts it before a person.")
    tool: str = ""
    arguments: dict[str, Any] = Field(default_factory=dict)
    arguments_hash: str = ""
    effect: str = ""
    tier: str = ""
    why: str = ""
    uncertainty: float | None = None
    origins: dict[str, str] = Field(default_factory=dict)
    options: tuple[str, ...] = ()
    next: str = Field(default="", description="What happens when it is approved, and when it is not.")
    expires_at: float = 0.0


class Proposed(Event):
    """Recorded with a call that is in shadow: what a person can have carried out once; `path` is that of the call."""

    kind: Literal["call.proposed"] = "call.proposed"
    id: str = Field(description="Also the id of the run that carries it out, so that it is done at most once.")
    needs: str = Field(description="Why it is in shadow.")
    tool: str
    arguments: dict[str, Any]
    arguments_hash: str
    effect: str = ""
    tier: str = ""
    why: str = ""
    uncertainty: float | None = None
    origins: dict[str, str] = Field(default_factory=dict)
    expires_at: float


class ApprovalAnswered(Event):
    """Recorded when a person has answered; holds for exactly these arguments, at this path, once."""

    kind: Literal["approval.answered"] = "approval.answered"
    id: str
    answer: Literal["approved", "rejected", "edited"]
    arguments: dict[str, Any] | None = Field(default=None, description="Of an edited call: what is done in its place.")
    arguments_hash: str = ""
    choice: str = Field(default="", description="Of several options, the one chosen.")
    by: str = ""
    reason: str = ""


class Instructed(Event):
    """Recorded when a person tells a live run something, and again at the path of each model call that hears it."""

    kind: Literal["instructed"] = "instructed"
    id: str = ""
    text: str
    by: str = ""


class LimitsRaised(Event):
    """Recorded when a person gives a waiting run more to spend."""

    kind: Literal["limits.raised"] = "limits.raised"
    usd: float | None = None
    tokens: int | None = None
    by: str = ""
    reason: str = ""


class TextArrived(Event):
    """Streams by while a model writes; not kept."""

    kind: Literal["text"] = "text"
    text: str


class TaskEnded(Event):
    """Recorded with the output of a task; a resumed run takes the output from here."""

    kind: Literal["task.ended"] = "task.ended"
    status: TaskStatus
    code: str
    output: Any
    text: str = ""
    notes: tuple[str, ...] = Field(default=(), description="What guardrails had to say.")
    why: str = Field(default="", description="Where it did not succeed.")
    seconds: float = 0.0
    tokens: int = 0

    @property
    def remarks(self) -> tuple[str, ...]:
        """What people should see of it: the notes, and why it did not succeed."""
        return (*self.notes, self.why) if self.why else self.notes


class MemoryRecalled(Event):
    """Recorded before it is used: what was recalled for a piece of work; a resumed run takes it from here."""

    kind: Literal["memory.recalled"] = "memory.recalled"
    query: str
    found: tuple[dict[str, Any], ...] = ()
    why: str = Field(default="", description="Where long-term memory could not be asked.")


class MemoryWritten(Event):
    """Recorded when what a run found was offered to long-term memory; it says no word of what was refused."""

    kind: Literal["memory.written"] = "memory.written"
    ids: tuple[str, ...] = ()
    refused: tuple[str, ...] = Field(default=(), description="Why each of the others was not taken.")


class RunWaiting(Event):
    """Recorded when the run stops until a person has answered."""

    kind: Literal["run.waiting"] = "run.waiting"
    code: str
    evidence: str = ""


class RunEnded(Event):
    """Recorded last: how it ended, why, and what came out."""

    kind: Literal["run.ended"] = "run.ended"
    status: RunStatus
    code: str
    evidence: str = ""
    output: Any = None


Recorded = Annotated[
    RunStarted | RunResumed | RunForked | TaskStarted | ModelCalled | ModelFailed | ToolCalled | Decision | TaskEnded
    | PlanMade | PlanReviewed | StepEnded | EffectStarted | EffectUndone | Proposed | ApprovalAsked
    | ApprovalAnswered | Instructed | LimitsRaised | MemoryRecalled | MemoryWritten | RunWaiting | RunEnded,
    Field(discriminator="kind"),
]  # fmt: skip
AnyEvent = Recorded | RunOpened | ToolStarted | TextArrived

recorded_event: TypeAdapter[Recorded] = TypeAdapter(Recorded)
"""Reads a recorded event back from its JSON text."""
