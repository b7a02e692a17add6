"""Streams that end before their answer does: never taken for an answer, and counted as perhaps billed."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Any

import pytest

from quarterdeck.errors import ModelError
from quarterdeck.models.litellm_provider import LiteLLMProvider
from quarterdeck.models.port import Message, ModelReply, ModelRequest, Usage
from quarterdeck.models.prices import Price

pytestmark = pytest.mark.usefixtures("loopback_model")

MODEL = "openai/some-model"
PRICE = Price(Decimal(1), Decimal(2))
BEGUN = [{"content": "Half "}, {"content": "of "}]
COUNTS = {"prompt_tokens": 70, "completion_tokens": 7, "total_tokens": 77}
FAILED = {"error": {"message": "overloaded", "type": "server_error", "code": 500}}


def _event(delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}


def _whole(*, usage: bool) -> list[dict[str, Any]]:
    events = [*map(_event, BEGUN), _event({"content": "it"}), _event({}, "stop")]
    return [*events, {**_event({}), "choices": [], "usage": COUNTS}] if usage else events


async def _streamed(events: list[dict[str, Any]], *, ends: bool) -> ModelReply | ModelError:
    """Ask a server that sends these events and then ends the body, or drops the connection."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        for event in events:
            line = f"data: {json.dumps(event)}\n\n".encode()
            writer.write(f"{len(line):x}\r\n".encode() + line + b"\r\n")
        if ends:
            writer.write(b"0\r\n\r\n")
        await writer.drain()
        writer.close()

    async with _listening(serve) as url:
        model = LiteLLMProvider(MODEL, api_base=url, price=PRICE)
        try:
            return await model.answer(ModelRequest(MODEL, (Message("user", "Hello?"),)), lambda text: None)
        except ModelError as error:
            return error
        finally:
            await model.close()


@asynccontextmanager
async def _listening(serve: Any) -> AsyncIterator[str]:
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    finally:
        server.close()
        await server.wait_closed()


@pytest.mark.parametrize("ends", [True, False], ids=["ends early", "drops"])
@pytest.mark.parametrize("counted", [{}, {"usage": COUNTS}], ids=["not counted", "counted as it comes"])
async def test_half_an_answer_is_no_answer(ends: bool, counted: dict[str, Any]) -> None:
    error = await _streamed([{**_event(delta), **counted} for delta in BEGUN], ends=ends)
    assert isinstance(error, ModelError)
    assert error.kind in ("server", "unreachable")
    assert error.billed


async def test_an_error_within_a_stream_may_have_been_billed() -> None:
    error = await _streamed([*map(_event, BEGUN), FAILED], ends=True)
    assert isinstance(error, ModelError)
    assert error.billed


async def test_a_whole_answer_is_counted_as_the_provider_counted_it() -> None:
    reply = await _streamed(_whole(usage=True), ends=True)
    assert isinstance(reply, ModelReply)
    assert (reply.text, reply.usage, reply.cost_usd) == ("Half of it", Usage(70, 7), Decimal(84))


async def test_tokens_that_the_provider_did_not_count_are_not_guessed() -> None:
    reply = await _streamed(_whole(usage=False), ends=True)
    assert isinstance(reply, ModelReply)
    assert (reply.text, reply.usage, reply.cost_usd) == ("Half of it", Usage(), None)


async def test_who_could_not_be_reached_has_billed_nothing() -> None:
    async with _listening(lambda reader, writer: None) as url:
        pass
    model = LiteLLMProvider(MODEL, api_base=url, price=PRICE)
    with pytest.raises(ModelError) as caught:
        await model.answer(ModelRequest(MODEL, (Message("user", "Hello?"),)))
    await model.close()
    assert (caught.value.kind, caught.value.billed) == ("unreachable", False)


async def test_who_hung_up_after_the_question_may_have_billed_it() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.close()

    async with _listening(serve) as url:
        model = LiteLLMProvider(MODEL, api_base=url, price=PRICE)
        with pytest.raises(ModelError) as caught:
            await model.answer(ModelRequest(MODEL, (Message("user", "Hello?"),)))
        await model.close()
    assert (caught.value.kind, caught.value.billed) == ("unreachable", True)
