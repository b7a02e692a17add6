"""Requests and replies in the shape of the chat-completions interface that LiteLLM speaks, and back."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import orjson

from quarterdeck.models.port import Message, ToolOffer, ToolRequest, Usage

if TYPE_CHECKING:
    from quarterdeck.models.port import ModelRequest

MAX_ARGUMENTS = 1_000_000
_HOSTS_CLAUDE = frozenset({"bedrock", "vertex_ai"})
_UNSAFE = re.compile(r"[^a-zA-Z0-9_-]")
_NOT_IN_STRICT = frozenset({"default", "maxLength", "minLength", "title", "examples"})


class ToolNames:
    """Tool names as providers allow them (`documents.search` becomes `documents_search`), and back.

    Args:
        names: The names of the tools that are offered.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self._safe: dict[str, str] = {}
        self._real: dict[str, str] = {}
        for name in names:
            safe = candidate = _UNSAFE.sub("_", name)[:64]
            count = 1
            while self._real.get(candidate, name) != name:
                count += 1
                candidate = f"{safe[:60]}_{count}"
            self._safe[name] = candidate
            self._real[candidate] = name

    def safe(self, name: str) -> str:
        """Return the name to send; also for a tool of an earlier turn that is no longer offered."""
        return self._safe.get(name) or _UNSAFE.sub("_", name)[:64]

    def real(self, name: str) -> str:
        """Return our name of a tool that a model named; one that was not offered stays as it is."""
        return self._real.get(name, name)


def messages_out(messages: Sequence[Message], names: ToolNames) -> list[dict[str, Any]]:
    """Return the conversation as LiteLLM takes it."""
    return [_message_out(message, names) for message in messages]


def marks_prefixes(model: str) -> bool:
    """Return whether a model's provider caches only the beginnings of prompts that are marked; others find them."""
    provider, _, name = model.partition("/")
    return provider == "anthropic" or (provider in _HOSTS_CLAUDE and "claude" in name)


def mark_prefixes(messages: list[dict[str, Any]], *, goes_on: bool) -> None:
    """Mark what later calls will begin with, for the provider's cache: tools and instructions, and the whole so far.

    Args:
        messages: As LiteLLM takes them.
        goes_on: Whether another turn is likely; a mark that nobody comes back to costs more than none.
    """
    last = messages[-1:] if goes_on else []
    for message in [*[one for one in messages if one["role"] == "system"][-1:], *last]:
        if message["content"]:
            message["cache_control"] = {"type": "ephemeral"}


def _message_out(message: Message, names: ToolNames) -> dict[str, Any]:
    if message.role == "tool":
        return {"role": "tool", "tool_call_id": message.tool_call_id, "content": message.content}
    if not message.tool_calls:
        return {"role": message.role, "content": message.content}
    calls = [
        {
            "id": call.id,
            "type": "function",
            # arguments that were no JSON go back empty: some providers reject a history that they cannot parse
            "function": {"name": names.safe(call.name), "arguments": orjson.dumps(call.arguments or {}).decode()},
        }
        for call in message.tool_calls
    ]
    return {"role": message.role, "content": message.content or None, "tool_calls": calls}


def tools_out(tools: Sequence[ToolOffer], names: ToolNames) -> list[dict[str, Any]]:
    """Return the offered tools as LiteLLM takes them."""
    return [
        {
            "type": "function",
            "function": {"name": names.safe(tool.name), "description": tool.description, "parameters": tool.parameters},
        }
        for tool in tools
    ]


def schema_out(request: ModelRequest) -> dict[str, Any]:
    """Return the `response_format` of a request with a schema; strict where the schema allows it."""
    assert request.schema is not None
    strict = _can_be_strict(request.schema)
    schema = _strict(request.schema) if strict else request.schema
    return {"type": "json_schema", "json_schema": {"name": "answer", "strict": strict, "schema": schema}}


def _can_be_strict(schema: Any) -> bool:
    """Whether every object of the schema is closed and every property required, as strict mode demands."""
    if isinstance(schema, list):
        return all(_can_be_strict(part) for part in schema)
    if not isinstance(schema, dict):
        return True
    properties = schema.get("properties")
    if schema.get("type") == "object" or isinstance(properties, dict):
        closed = schema.get("additionalProperties") is False
        if not closed or set(properties or ()) != set(schema.get("required", ())):
            return False
    return all(_can_be_strict(part) for part in schema.values())


def _strict(schema: Any, names: bool = False) -> Any:
    """Return the schema without the keywords that strict mode refuses; the engine still checks them.

    Args:
        schema: A schema, or a part of one.
        names: Whether the keys at this level are names of properties, not keywords.
    """
    if isinstance(schema, list):
        return [_strict(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        key: value if key in {"enum", "const"} and not names
        else _strict(value, not names and key in {"properties", "$defs"})
        for key, value in schema.items()
        if names or key not in _NOT_IN_STRICT
    }  # fmt: skip


def tool_calls_in(calls: Iterable[tuple[str, str, str]], names: ToolNames) -> tuple[ToolRequest, ...]:
    """Return proposed calls as requests.

    Args:
        calls: Id, name and argument text of each.
        names: The names that were sent.
    """
    return tuple(
        ToolRequest(id or f"call_{index}", names.real(name), arguments_in(text), text)
        for index, (id, name, text) in enumerate(calls)
    )


def arguments_in(text: str) -> dict[str, Any] | None:
    """Return the arguments that a model wrote, or None where that is no JSON object (nothing at all means none)."""
    if not text.strip():
        return {}
    if len(text) > MAX_ARGUMENTS:
        return None
    try:
        arguments = orjson.loads(text)
    except orjson.JSONDecodeError:
        return None
    return arguments if isinstance(arguments, dict) else None


def usage_in(usage: Any) -> Usage:
    """Return LiteLLM's usage object as ours; what is missing counts as not reported (0).

    LiteLLM's prompt tokens contain those that were read from and written to the provider's cache.
    """
    if usage is None:
        return Usage()
    details = getattr(usage, "prompt_tokens_details", None)
    return Usage(
        prompt_tokens=getattr(usage, "prompt_tokens", None) or 0,
        completion_tokens=getattr(usage, "completion_tokens", None) or 0,
        cached_tokens=getattr(details, "cached_tokens", None) or getattr(usage, "cache_read_input_tokens", None) or 0,
        written_tokens=getattr(usage, "cache_creation_input_tokens", None) or 0,
    )
