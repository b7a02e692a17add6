"""What a scripted model says: one step answers one request."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import Any, Literal

from quarterdeck.errors import ModelError, ModelErrorKind
from quarterdeck.models.port import ToolRequest


@dataclass(frozen=True, slots=True)
class Step:
    """One answer of a scripted model; made by the functions below.

    Attributes:
        pieces: The text, in the pieces in which it is streamed.
        tool_calls: What it proposes to call.
        failure: Raised in place of an answer.
        seconds: Waited before.
        finish: As in `ModelReply`.
    """

    pieces: tuple[str, ...] = ()
    tool_calls: tuple[ToolRequest, ...] = ()
    failure: ModelError | None = None
    seconds: float = 0.0
    finish: Literal["stop", "length", "tool_calls"] = "stop"

    def __str__(self) -> str:
        """Return the step as one short line."""
        if self.failure is not None:
            return f"error({self.failure.kind})"
        if self.tool_calls:
            return ", ".join(f"call({one.name})" for one in self.tool_calls)
        said = "".join(self.pieces)
        return f"text({said[:60]!r}{'...' if len(said) > 60 else ''})"


def text(words: str) -> Step:
    """Answer with text."""
    return Step(pieces=(words,))


def stream(*pieces: str) -> Step:
    """Answer with text that arrives in these pieces."""
    return Step(pieces=pieces)


def answer(value: Any) -> Step:
    """Answer with a value as JSON text: what a model gives when a schema is asked for."""
    return text(json.dumps(value, ensure_ascii=False))


def cut_off(words: str) -> Step:
    """Answer with text that ends at the token cap."""
    return Step(pieces=(words,), finish="length")


def call(tool: str, /, **arguments: Any) -> Step:
    """Propose one tool call."""
    return Step(tool_calls=(ToolRequest("", tool, arguments, json.dumps(arguments)),), finish="tool_calls")


def malformed_call(tool: str, raw: str) -> Step:
    """Propose a tool call whose arguments are no JSON object."""
    return Step(tool_calls=(ToolRequest("", tool, None, raw),), finish="tool_calls")


def together(*steps: Step) -> Step:
    """Propose the tool calls of several steps in one turn, with the text of those that have some."""
    return Step(
        pieces=tuple(piece for step in steps for piece in step.pieces),
        tool_calls=tuple(one for step in steps for one in step.tool_calls),
        finish="tool_calls",
    )


def error(kind: ModelErrorKind, message: str = "", *, retry_after: float | None = None) -> Step:
    """Fail with a `ModelError` of this kind.

    Args:
        kind: Such as `rate_limited` or `server`.
        message: Its text.
        retry_after: Seconds that the provider asks to wait.
    """
    return Step(failure=ModelError(message or f"scripted failure: {kind}", kind, retry_after=retry_after))


def delay(seconds: float, step: Step) -> Step:
    """Give the step's answer after some seconds; cancelling the call ends the wait."""
    return replace(step, seconds=step.seconds + seconds)


def hang() -> Step:
    """Never answer; only cancelling the call ends it."""
    return Step(seconds=float("inf"))
