"""The window: the messages that one agent's next model call carries, kept within the model's context."""

from __future__ import annotations

from collections.abc import Sequence

from quarterdeck.models.port import Message, ToolRequest

OMITTED = "[Earlier steps are left out here to keep within the model's context.]"
BYTES_A_TOKEN = 3
"""Of real text, at least; so a window that fits by this count fits the model."""


class Window:
    """The conversation of one agent about one task.

    The opening (instructions and task) always stays, and so does the end; when it grows too long, steps in the
    middle go, and a tool call never without its results.

    Args:
        opening: System message and task.
        tokens: What the prompt may take.
    """

    def __init__(self, opening: Sequence[Message], tokens: int) -> None:
        self._opening = tuple(opening)
        self._steps: list[tuple[Message, ...]] = []
        self._bytes = tokens * BYTES_A_TOKEN

    def add_answer(self, text: str, correction: str) -> None:
        """Add an answer that was not accepted, and why."""
        self._steps.append((Message("assistant", text or "(empty)"), Message("user", correction)))

    def add_calls(self, text: str, calls: Sequence[ToolRequest], results: Sequence[str]) -> None:
        """Add proposed tool calls with their results, as one step that is never parted."""
        asked = Message("assistant", text, tool_calls=tuple(calls))
        answers = [
            Message("tool", result, tool_call_id=call.id, name=call.name)
            for call, result in zip(calls, results, strict=True)
        ]
        self._steps.append((asked, *answers))

    def add_note(self, text: str) -> None:
        """Add something the engine has to say."""
        self._steps.append((Message("user", text),))

    def messages(self) -> tuple[Message, ...]:
        """Return what the next call carries."""
        left = self._bytes - sum(map(_size, self._opening))
        kept: list[tuple[Message, ...]] = []
        for step in reversed(self._steps):
            left -= sum(map(_size, step))
            if left < 0 and kept:
                break
            kept.append(step)
        middle = (Message("user", OMITTED),) if len(kept) < len(self._steps) else ()
        return (*self._opening, *middle, *(message for step in reversed(kept) for message in step))


def _size(message: Message) -> int:
    calls = sum(len(call.name) + len(call.raw or str(call.arguments)) for call in message.tool_calls)
    return len(message.content.encode()) + calls + 16
