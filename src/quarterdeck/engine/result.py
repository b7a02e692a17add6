"""What a run and its tasks give back."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from quarterdeck.journal.events import RunStatus, TaskStatus


@dataclass(frozen=True, slots=True)
class TaskResult:
    """How one task ended.

    Attributes:
        output: Text, the declared model, or for `for_each` a list of `{"item": ..., "output": ...}`.
        text: The output as text.
        code: `goal_met`, or why it stopped.
        notes: What guardrails and limits had to say.
    """

    name: str
    agent: str
    status: TaskStatus
    code: str
    output: Any = None
    text: str = ""
    notes: tuple[str, ...] = ()
    why: str = ""


@dataclass(frozen=True, slots=True)
class Cost:
    """What a run cost.

    Attributes:
        usd: None when the price of a call is not known.
    """

    usd: Decimal | None


@dataclass(frozen=True, slots=True)
class Result:
    """How a run ended and what came out.

    Attributes:
        status: `succeeded`, `partial`, `waiting`, `failed` or `cancelled`.
        code: `goal_met`, or why it stopped.
        evidence: For people: what the code rests on.
        output: The report task's output: text, or the declared model.
        files: Paths of the files that the run wrote, below `folder`.
        tasks: Each task's result by name.
        model_calls: Answered calls, by earlier processes too; without what a fork took over.
        tool_calls: Calls that the gate let through, likewise.
        tokens: Prompt and answers together, likewise.
        seconds: Wall time of this process's work on the run.
        degraded: A fallback answered at least one call in the place of the model asked for.
    """

    run_id: str
    status: RunStatus
    code: str
    evidence: str
    output: Any
    text: str
    files: tuple[str, ...] = ()
    tasks: dict[str, TaskResult] = field(default_factory=dict)
    model_calls: int = 0
    tool_calls: int = 0
    tokens: int = 0
    cost: Cost = Cost(None)
    seconds: float = 0.0
    degraded: bool = False
