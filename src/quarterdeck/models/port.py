"""The first narrow waist: every model call is one `complete(request, context) -> reply`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Literal, Protocol

if TYPE_CHECKING:
    from quarterdeck.journal.events import AnswerSource

Role = Literal["system", "user", "assistant", "tool"]


@dataclass(frozen=True, slots=True)
class ToolRequest:
    """A tool call that a model proposes. Only the gate can carry it out.

    `arguments` is None when the model wrote something that is no JSON object; `raw` holds what it wrote.
    """

    id: str
    name: str
    arguments: dict[str, Any] | None
    raw: str = ""


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a conversation."""

    role: Role
    content: str
    tool_calls: tuple[ToolRequest, ...] = ()
    tool_call_id: str = ""
    name: str = ""


@dataclass(frozen=True, slots=True)
class ToolOffer:
    """A tool as a model sees it: name, description, JSON Schema of its arguments."""

    name: str
    description: str
    parameters: dict[str, Any]


@dataclass(frozen=True, slots=True)
class ModelRequest:
    """One question to a model.

    Attributes:
        model: The resolved model, such as `openai/gpt-4o-mini-2024-07-18` or `local`.
        messages: The conversation, oldest first.
        tools: What the model may propose to call.
        schema: JSON Schema that the final answer must satisfy, or None for free text.
        max_tokens: Cap on the answer, in tokens.
        temperature: 0 to 2.
        stream: Whether the answer may be streamed; no part of what is asked, so not of the request's fingerprint.
        window: Tokens of the prompt as its window counts them, and those of the model's context; no part of it either.
    """

    model: str
    messages: tuple[Message, ...]
    tools: tuple[ToolOffer, ...] = ()
    schema: dict[str, Any] | None = None
    max_tokens: int = 1024
    temperature: float = 0.0
    stream: bool = True
    window: tuple[int, int] = (0, 0)


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one call, as the provider counted them.

    Attributes:
        prompt_tokens: All of the prompt.
        cached_tokens: Those of the prompt that came from the provider's cache.
        written_tokens: Those of the prompt that the provider put into its cache and charges for as such.
    """

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    written_tokens: int = 0


@dataclass(frozen=True, slots=True)
class ModelReply:
    """What a model answered.

    Attributes:
        text: The answer; empty when it only proposes tool calls.
        cost_usd: None when the price is not known; never guessed.
        finish: `stop`, `length` (cut off at max_tokens) or `tool_calls`.
        source: A model, the stored cache, or an identical call in flight.
        degraded: A fallback answered in the place of the model asked for.
    """

    text: str
    tool_calls: tuple[ToolRequest, ...] = ()
    usage: Usage = field(default_factory=Usage)
    cost_usd: Decimal | None = None
    model: str = ""
    finish: Literal["stop", "length", "tool_calls"] = "stop"
    source: AnswerSource = "model"
    degraded: bool = False


OnText = Callable[[str], None]


class Provider(Protocol):
    """The far end of the port: something that answers one request, once, without retries.

    Raises `quarterdeck.errors.ModelError`; is cancelled by cancelling the awaiting task.
    """

    async def answer(self, request: ModelRequest, on_text: OnText | None = None) -> ModelReply:
        """Answer one request; hand text to `on_text` as it arrives where that is possible."""
        ...

    async def close(self) -> None:
        """Free what the provider holds."""
        ...
