"""How requests and replies are written into the journal and read back."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import orjson

from quarterdeck.models.port import Message, ModelReply, ModelRequest, ToolRequest, Usage

if TYPE_CHECKING:
    from quarterdeck.journal.events import ModelCalled


def request_to_json(request: ModelRequest) -> dict[str, Any]:
    """Return the request as JSON-able data: what its fingerprint is taken of."""
    return {
        "model": request.model,
        "messages": [message_to_json(message) for message in request.messages],
        "tools": [
            {"name": tool.name, "description": tool.description, "parameters": tool.parameters}
            for tool in request.tools
        ],
        "schema": request.schema,
        "max_tokens": request.max_tokens,
        "temperature": request.temperature,
    }


def message_to_json(message: Message) -> dict[str, Any]:
    """Return one message as JSON-able data, without its empty fields."""
    data: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.tool_calls:
        data["tool_calls"] = [_tool_request_to_json(call) for call in message.tool_calls]
    if message.tool_call_id:
        data["tool_call_id"] = message.tool_call_id
    if message.name:
        data["name"] = message.name
    return data


def reply_to_json(reply: ModelReply) -> dict[str, Any]:
    """Return what the run goes on with; usage and cost stand in the event's own fields."""
    data: dict[str, Any] = {"text": reply.text, "finish": reply.finish}
    if reply.tool_calls:
        data["tool_calls"] = [_tool_request_to_json(call) for call in reply.tool_calls]
    return data


def storable(reply: ModelReply) -> ModelReply:
    """Return a reply as JSON can carry it, so that it is the same when it is read back.

    Half of a character is replaced; arguments that hold such a half, a number beyond 64 bits or too deep a nesting
    count as malformed.
    """
    if _is_json(reply_to_json(reply)):
        return reply
    calls = tuple(
        replace(
            call,
            id=_whole(call.id),
            name=_whole(call.name),
            arguments=call.arguments if _is_json(call.arguments) else None,
            raw=_whole(call.raw),
        )
        for call in reply.tool_calls
    )
    return replace(reply, text=_whole(reply.text), tool_calls=calls)


def reply_from_event(event: ModelCalled) -> ModelReply:
    """Return the recorded reply, as the run first saw it."""
    return ModelReply(
        text=event.reply["text"],
        tool_calls=tuple(
            ToolRequest(call["id"], call["name"], call["arguments"], call["raw"])
            for call in event.reply.get("tool_calls", ())
        ),
        usage=Usage(event.prompt_tokens, event.completion_tokens, event.cached_tokens),
        cost_usd=None if event.cost_usd is None else Decimal(event.cost_usd),
        model=event.model,
        finish=event.reply["finish"],
        source=event.source,
        degraded=event.degraded,
    )


def _is_json(value: object) -> bool:
    try:
        orjson.dumps(value)
    except TypeError:
        return False
    return True


def _whole(text: str) -> str:
    return text.encode("utf-8", "replace").decode()


def _tool_request_to_json(call: ToolRequest) -> dict[str, Any]:
    return {"id": call.id, "name": call.name, "arguments": call.arguments, "raw": call.raw}
