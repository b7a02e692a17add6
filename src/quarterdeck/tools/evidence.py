"""What a guardrail judges an output by: receipts of the gate, never the model's word."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Receipt:
    """A tool call that the gate answered in this task.

    Attributes:
        tool: The tool's name.
        arguments: What it was called with.
        result: What it returned; None when the call was denied or failed.
        text: The result as the agent read it.
    """

    tool: str
    arguments: dict[str, Any]
    result: Any
    text: str = ""


@dataclass(slots=True)
class Evidence:
    """What is known, outside the model, when a task's output is checked.

    A guardrail is a function `(output, evidence) -> output`: it returns the output, mended where it can be, or
    raises `quarterdeck.errors.Rejected` with what the agent should change. An output model may have a classmethod
    `narrowed(schema, evidence) -> schema` that limits its JSON Schema to what this run has (an enum of real ids).

    Attributes:
        inputs: The run's inputs.
        item: The item of `for_each` that this run of the task is about, or None.
        round: 1, and one more each time a loop came back to the task.
        outputs: Outputs of the tasks before, by task name.
        receipts: The tool calls of this task, oldest first.
        notes: What a guardrail wants people to see, such as "1 quote refused".
        earlier_notes: The notes of the tasks before.
        memories: What the crew remembers of it: objects with `kind`, `text`, `source`, `origin`, `group`, `at`, `why`.
            Data, and no proof: it may be out of date.
    """

    inputs: dict[str, Any] = field(default_factory=dict)
    item: Any = None
    round: int = 1
    outputs: dict[str, Any] = field(default_factory=dict)
    receipts: list[Receipt] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    earlier_notes: tuple[str, ...] = ()
    memories: tuple[dict[str, Any], ...] = ()
