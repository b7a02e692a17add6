"""The LiteLLM client against a model on loopback: what it sends, what it makes of answers, how it fails."""

from __future__ import annotations

import asyncio
import email.utils
import gc
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Any

import pytest

from quarterdeck.errors import ModelError
from quarterdeck.models.litellm_provider import LiteLLMProvider
from quarterdeck.models.port import Message, ModelReply, ModelRequest, ToolOffer, ToolRequest
from quarterdeck.models.prices import Price
from quarterdeck.testing import HttpAnswer, OpenAIServer, block_live_calls

MODEL = "openai/gpt-4o-mini-2024-07-18"
KEY = "sk-test-0123456789abcdef"
SEARCH = ToolOffer(
    "documents.search", "Search the documents.", {"type": "object", "properties": {"query": {"type": "string"}}}
)
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"title": {"type": "string", "maxLength": 10}},
    "required": ["title"],
    "additionalProperties": False,
}


def ask(**fields: Any) -> ModelRequest:
    messages = (Message("system", "You are brief."), Message("user", "Hello?"))
    return ModelRequest(**{"model": MODEL, "messages": messages, **fields})


@asynccontextmanager
async def provider(server: OpenAIServer, **fields: Any) -> AsyncIterator[LiteLLMProvider]:
    settings = {"api_base": server.url, "api_key_env": "TEST_KEY", "environ": {"TEST_KEY": KEY}, **fields}
    made = LiteLLMProvider(MODEL, **settings)
    try:
        yield made
    finally:
        await made.close()


async def fails(server: OpenAIServer, **fields: Any) -> ModelError:
    async with provider(server, **fields) as model:
        with pytest.raises(ModelError) as caught:
            await model.answer(ask())
    return caught.value


async def eventually(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.01)


async def test_answers_with_text_usage_and_cost(loopback_model: OpenAIServer) -> None:
    loopback_model.script(HttpAnswer("Hi.", prompt_tokens=100, completion_tokens=10, cached_tokens=40))
    async with provider(loopback_model, price=Price(Decimal("0.01"), Decimal("0.02"), Decimal("0.001"))) as model:
        reply = await model.answer(ask(max_tokens=77, temperature=0.25))
    assert (reply.text, reply.finish, reply.model) == ("Hi.", "stop", MODEL)
    assert (reply.usage.prompt_tokens, reply.usage.completion_tokens, reply.usage.cached_tokens) == (100, 10, 40)
    assert reply.cost_usd == Decimal("0.84")
    sent = loopback_model.bodies[-1]
    assert sent["model"] == "gpt-4o-mini-2024-07-18"
    assert sent["messages"] == [
        {"role": "system", "content": "You are brief."},
        {"role": "user", "content": "Hello?"},
    ]
    assert (sent["max_tokens"], sent["temperature"]) == (77, 0.25)
    assert "stream" not in sent or sent["stream"] is False
    assert "response_format" not in sent
    assert loopback_model.headers[-1]["authorization"] == f"Bearer {KEY}"


async def test_unknown_price_and_unreported_usage_cost_none(loopback_model: OpenAIServer) -> None:
    loopback_model.script([HttpAnswer(), HttpAnswer(prompt_tokens=None)])
    async with provider(loopback_model) as model:
        assert (await model.answer(ask())).cost_usd is None
    async with provider(loopback_model, price=Price(Decimal(1), Decimal(1))) as model:
        assert (await model.answer(ask())).cost_usd is None


async def test_tools_go_out_with_safe_names_and_come_back_with_ours(loopback_model: OpenAIServer) -> None:
    loopback_model.script(HttpAnswer(tool_calls=(("documents_search", '{"query": "tide"}'), ("nonsense", "{}"))))
    history = (
        Message("user", "Find the tide."),
        Message("assistant", "", (ToolRequest("c1", "documents.search", {"query": "a"}),)),
        Message("tool", "nothing", tool_call_id="c1", name="documents.search"),
    )
    async with provider(loopback_model) as model:
        reply = await model.answer(ask(messages=history, tools=(SEARCH,)))
    assert reply.finish == "tool_calls"
    assert reply.tool_calls[0] == ToolRequest("call_0", "documents.search", {"query": "tide"}, '{"query": "tide"}')
    assert reply.tool_calls[1].name == "nonsense"
    sent = loopback_model.bodies[-1]
    assert sent["tools"][0]["function"]["name"] == "documents_search"
    assert sent["tools"][0]["function"]["parameters"] == SEARCH.parameters
    call = sent["messages"][1]["tool_calls"][0]
    assert call["function"]["name"] == "documents_search"
    assert json.loads(call["function"]["arguments"]) == {"query": "a"}
    assert sent["messages"][2] == {"role": "tool", "tool_call_id": "c1", "content": "nothing"}


@pytest.mark.parametrize("raw", ['{"query": ', "[1]", "no json"])
async def test_malformed_arguments_are_kept_raw(loopback_model: OpenAIServer, raw: str) -> None:
    loopback_model.script(HttpAnswer(tool_calls=(("documents_search", raw),)))
    async with provider(loopback_model) as model:
        reply = await model.answer(ask(tools=(SEARCH,)))
    assert reply.tool_calls[0].arguments is None
    assert reply.tool_calls[0].raw == raw


async def test_schema_is_sent_only_where_the_model_supports_it(loopback_model: OpenAIServer) -> None:
    async with provider(loopback_model, supports_schema=True) as model:
        await model.answer(ask(schema=SCHEMA))
    sent = loopback_model.bodies[-1]["response_format"]
    assert sent["type"] == "json_schema"
    assert sent["json_schema"]["strict"] is True
    assert sent["json_schema"]["schema"]["properties"] == {"title": {"type": "string"}}
    async with provider(loopback_model) as model:
        await model.answer(ask(schema=SCHEMA))
    assert "response_format" not in loopback_model.bodies[-1]


async def test_streams_pieces_and_returns_the_whole(loopback_model: OpenAIServer) -> None:
    loopback_model.script(HttpAnswer("one two three", prompt_tokens=30, completion_tokens=3))
    pieces: list[str] = []
    async with provider(loopback_model, price=Price(Decimal(1), Decimal(2))) as model:
        reply = await model.answer(ask(), pieces.append)
    assert pieces == ["one ", "two ", "three"]
    assert reply.text == "one two three"
    assert reply.cost_usd == 36
    assert loopback_model.bodies[-1]["stream_options"] == {"include_usage": True}


async def test_streams_tool_calls(loopback_model: OpenAIServer) -> None:
    loopback_model.script(HttpAnswer(tool_calls=(("documents_search", '{"query": "x"}'),)))
    async with provider(loopback_model) as model:
        reply = await model.answer(ask(tools=(SEARCH,)), lambda text: None)
    assert reply.finish == "tool_calls"
    assert reply.tool_calls[0].name == "documents.search"
    assert reply.tool_calls[0].arguments == {"query": "x"}


async def test_cut_off_and_filtered_answers(loopback_model: OpenAIServer) -> None:
    loopback_model.script([HttpAnswer("half an ans", finish="length"), HttpAnswer("", finish="content_filter")])
    async with provider(loopback_model) as model:
        assert (await model.answer(ask())).finish == "length"
        with pytest.raises(ModelError) as caught:
            await model.answer(ask())
    assert (caught.value.kind, caught.value.billed) == ("refused", True)


@pytest.mark.parametrize("streamed", [False, True])
async def test_rate_limit_says_how_long_to_wait(loopback_model: OpenAIServer, streamed: bool) -> None:
    date = email.utils.formatdate(time.time() + 60, usegmt=True)
    loopback_model.script([
        HttpAnswer("slow down", status=429, headers={"Retry-After": "7"}),
        HttpAnswer("slow down", status=429, headers={"Retry-After": date}),
        HttpAnswer("slow down", status=429, headers={"retry-after-ms": "1500"}),
        HttpAnswer("slow down", status=429),
        HttpAnswer("no money", status=429, code="insufficient_quota"),
    ])  # fmt: skip
    waits: list[float | None] = []
    kinds: list[str] = []
    async with provider(loopback_model) as model:
        for _ in range(5):
            with pytest.raises(ModelError) as caught:
                await model.answer(ask(), (lambda text: None) if streamed else None)
            waits.append(caught.value.retry_after)
            kinds.append(caught.value.kind)
    assert kinds == ["rate_limited"] * 4 + ["no_quota"]
    assert waits[0] == 7
    assert waits[1] is not None and 55 < waits[1] <= 60
    assert waits[2:4] == [1.5, None]
    assert loopback_model.counts.requests == 5, "retried inside"


@pytest.mark.parametrize(
    ("status", "kind"),
    [(500, "server"), (502, "server"), (503, "server"), (404, "no_model"), (400, "refused"), (401, "no_key"),
     (403, "no_key"), (408, "timeout"), (422, "refused"), (402, "no_quota")],
)  # fmt: skip
async def test_statuses(loopback_model: OpenAIServer, status: int, kind: str) -> None:
    loopback_model.script(HttpAnswer("went wrong\nbadly", status=status))
    error = await fails(loopback_model)
    assert error.kind == kind
    assert "\n" not in str(error)
    assert "litellm" not in str(error).lower()
    assert loopback_model.counts.requests == 1, "retried inside"


async def test_too_long_a_conversation(loopback_model: OpenAIServer) -> None:
    said = "This model's maximum context length is 8 tokens."
    loopback_model.script(HttpAnswer(said, status=400, code="context_length_exceeded"))
    assert (await fails(loopback_model)).kind == "too_long"


async def test_a_wrong_key_is_named_but_never_shown(loopback_model: OpenAIServer) -> None:
    loopback_model.script(HttpAnswer(f"Incorrect API key provided: {KEY}", status=401))
    error = await fails(loopback_model)
    assert "TEST_KEY" in str(error)
    assert KEY not in str(error)
    loopback_model.script(HttpAnswer(f"Bad request with {KEY}", status=400))
    assert KEY not in str(await fails(loopback_model))


async def test_a_missing_key_is_noticed_before_the_call(loopback_model: OpenAIServer) -> None:
    model = LiteLLMProvider(MODEL, environ={})
    with pytest.raises(ModelError, match="No key for openai: set OPENAI_API_KEY, or run on this machine") as caught:
        await model.answer(ask())
    assert caught.value.kind == "no_key"


async def test_a_declared_endpoint_never_gets_another_key(loopback_model: OpenAIServer) -> None:
    async with provider(loopback_model, api_key_env="", environ={"OPENAI_API_KEY": KEY}) as model:
        await model.answer(ask())
    assert KEY not in loopback_model.headers[-1]["authorization"]


async def test_nobody_listens(loopback_model: OpenAIServer) -> None:
    loopback_model.stop()
    error = await fails(loopback_model)
    assert error.kind == "unreachable"
    assert loopback_model.url in str(error)
    assert "--model local" in str(error)


@pytest.mark.parametrize("streamed", [False, True])
async def test_cancelling_ends_the_request(loopback_model: OpenAIServer, streamed: bool) -> None:
    loopback_model.script(HttpAnswer("a b c", hang=True))
    async with provider(loopback_model) as model:
        started = time.monotonic()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await model.answer(ask(), (lambda text: None) if streamed else None)
        assert time.monotonic() - started < 1.5
        await eventually(lambda: loopback_model.counts.aborted == 1)


async def test_a_stream_that_falls_silent_times_out(loopback_model: OpenAIServer) -> None:
    loopback_model.script(HttpAnswer("a b c", stall=2))
    async with provider(loopback_model, idle_seconds=0.2) as model:
        with pytest.raises(ModelError) as caught:
            await model.answer(ask(), lambda text: None)
        assert caught.value.kind == "timeout"
        await eventually(lambda: loopback_model.counts.aborted == 1)


@pytest.mark.parametrize("began", [False, True])
async def test_silence_before_and_within_an_answer_have_bounds_of_their_own(
    loopback_model: OpenAIServer, began: bool
) -> None:
    """The loopback server opens the stream at once; that alone is no beginning of an answer."""
    loopback_model.script(HttpAnswer("a b c", stall=2 if began else 1))
    bounds = {"first_token_seconds": 0.3, "idle_seconds": 0.1} if began else {"first_token_seconds": 0.2}
    pieces: list[str] = []
    async with provider(loopback_model, **bounds) as model:
        with pytest.raises(ModelError, match=f"sent nothing for {0.1 if began else 0.2} s") as caught:
            await model.answer(ask(), pieces.append)
    assert caught.value.kind == "timeout"
    assert pieces == (["a "] if began else [])


async def test_a_slow_beginning_is_waited_for(loopback_model: OpenAIServer) -> None:
    loopback_model.script(HttpAnswer("a b", delay=0.3))
    async with provider(loopback_model, first_token_seconds=5.0, idle_seconds=0.1) as model:
        assert (await model.answer(ask(), lambda text: None)).text == "a b"


async def test_answers_that_are_no_completions(loopback_model: OpenAIServer, monkeypatch: pytest.MonkeyPatch) -> None:
    from quarterdeck.testing import server as server_module

    def nothing(answer: HttpAnswer) -> dict[str, Any]:
        return {"id": "x", "object": "chat.completion", "created": 1, "model": "m", "choices": []}

    monkeypatch.setattr(server_module, "_completion", nothing)
    loopback_model.script(HttpAnswer())
    assert (await fails(loopback_model)).kind in ("malformed", "server")


async def test_prints_nothing_and_leaves_nothing(
    loopback_model: OpenAIServer, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    loopback_model.script([HttpAnswer(), HttpAnswer("no", status=500), HttpAnswer("a b")])
    async with provider(loopback_model) as model:
        await model.answer(ask())
        with pytest.raises(ModelError):
            await model.answer(ask())
        await model.answer(ask(), lambda text: None)
    await asyncio.sleep(0)
    gc.collect()  # an unclosed socket or session would warn here, and a warning is an error
    assert capfd.readouterr() == ("", "")
    assert not [record for record in caplog.records if record.levelname in ("WARNING", "ERROR")]
    others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    assert not others, others


@pytest.mark.parametrize("model", ["anthropic/claude-haiku-4-5-20251001", "gemini/gemini-2.5-flash"])
async def test_other_providers_fail_alike_and_leave_nothing(loopback_model: OpenAIServer, model: str) -> None:
    import aiohttp

    loopback_model.stop()
    made = LiteLLMProvider(model, api_base=loopback_model.url, api_key_env="K", environ={"K": KEY})
    for on_text in (None, lambda text: None):
        with pytest.raises(ModelError) as caught:
            await made.answer(ask(), on_text)
        assert caught.value.kind == "unreachable"
        assert "litellm" not in str(caught.value).lower()
    await made.close()
    sessions = [one for one in gc.get_objects() if isinstance(one, aiohttp.ClientSession)]
    assert all(session.closed for session in sessions)


async def test_closing_one_provider_leaves_the_connections_of_another(loopback_model: OpenAIServer) -> None:
    loopback_model.script(HttpAnswer(delay=0.3))
    async with provider(loopback_model) as one, provider(loopback_model) as other:
        await one.answer(ask())
        slow: Awaitable[ModelReply] = asyncio.ensure_future(other.answer(ask()))
        await eventually(lambda: loopback_model.counts.open == 1)
        await one.close()
        assert (await slow).text == "ok"


async def test_many_at_once_share_connections(loopback_model: OpenAIServer) -> None:
    loopback_model.delay = 0.1
    async with provider(loopback_model) as model:
        await model.answer(ask())
        replies = await asyncio.gather(*(model.answer(ask()) for _ in range(30)))
    assert len(replies) == 30


async def test_live_calls_are_blocked(loopback_model: OpenAIServer) -> None:
    with block_live_calls():
        error = await fails(loopback_model)
    assert error.kind == "refused"
    assert "ScriptedModel" in str(error)
    assert loopback_model.counts.requests == 0
