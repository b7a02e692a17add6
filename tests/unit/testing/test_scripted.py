"""The scripted model: says what it is told, and fails what goes beyond or falls short."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from typing import Any

import pytest

from quarterdeck.errors import ModelError
from quarterdeck.models.port import Message, ModelRequest
from quarterdeck.models.prices import Price
from quarterdeck.testing import (
    ScriptedModel,
    UnexpectedCall,
    UnusedSteps,
    answer,
    call,
    cut_off,
    delay,
    error,
    hang,
    malformed_call,
    stream,
    text,
    together,
)


def ask(user: str = "Hello?", system: str = "You are the Researcher.", **fields: Any) -> ModelRequest:
    return ModelRequest("scripted", (Message("system", system), Message("user", user)), **fields)


async def test_steps_in_order() -> None:
    search = call("documents.search", query="x")
    script = [text("one"), search, answer({"a": [1]}), malformed_call("t", "{"), cut_off("ha")]
    with ScriptedModel(script) as model:
        assert (await model.answer(ask())).text == "one"
        proposed = await model.answer(ask())
        assert (proposed.finish, proposed.text) == ("tool_calls", "")
        assert proposed.tool_calls[0].name == "documents.search"
        assert proposed.tool_calls[0].arguments == {"query": "x"}
        assert (await model.answer(ask())).text == '{"a": [1]}'
        bad = (await model.answer(ask())).tool_calls[0]
        assert (bad.arguments, bad.raw) == (None, "{")
        assert bad.id != proposed.tool_calls[0].id
        assert (await model.answer(ask())).finish == "length"
    assert len(model.requests) == 5


async def test_several_calls_in_one_turn() -> None:
    with ScriptedModel([together(text("Both."), call("a"), call("b", x=1))]) as model:
        reply = await model.answer(ask())
    assert (reply.text, [one.name for one in reply.tool_calls]) == ("Both.", ["a", "b"])
    assert len({one.id for one in reply.tool_calls}) == 2


async def test_an_unexpected_call_fails_even_when_somebody_swallows_it() -> None:
    model = ScriptedModel([text("one")])
    await model.answer(ask())
    with pytest.raises(UnexpectedCall, match=r"call 2 .* 'And now"):
        await model.answer(ask("And now?"))
    with pytest.raises(UnexpectedCall):
        model.verify()


async def test_an_unused_step_fails() -> None:
    model = ScriptedModel([text("one"), call("never")])
    await model.answer(ask())
    with pytest.raises(UnusedSteps, match=r"1 steps .*\n.*call\(never\)"):
        model.verify()
    with pytest.raises(UnusedSteps), model:
        pass


async def test_another_failure_is_not_hidden_by_unused_steps() -> None:
    with pytest.raises(KeyError), ScriptedModel([text("one")]):
        raise KeyError("x")


async def test_errors_and_delays() -> None:
    with ScriptedModel([error("rate_limited", retry_after=3), delay(0.01, text("late")), hang()]) as model:
        with pytest.raises(ModelError) as caught:
            await model.answer(ask())
        assert (caught.value.kind, caught.value.retry_after) == ("rate_limited", 3)
        assert (await model.answer(ask())).text == "late"
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await model.answer(ask())


async def test_streams_in_pieces() -> None:
    pieces: list[str] = []
    with ScriptedModel([stream("a", "b"), stream("c", "d")]) as model:
        assert (await model.answer(ask(), pieces.append)).text == "ab"
        assert (await model.answer(ask())).text == "cd"
    assert pieces == ["a", "b"]


async def test_a_queue_an_agent() -> None:
    script = {"researcher": [text("facts")], "critic": [text("no")], "critic of critics": [text("yes")]}
    with ScriptedModel(script) as model:
        assert (await model.answer(ask(system="You are a CRITIC."))).text == "no"
        assert (await model.answer(ask(system="You are a critic of critics."))).text == "yes"
        assert (await model.answer(ask())).text == "facts"
        with pytest.raises(UnexpectedCall):
            await model.answer(ask(system="You are a stranger."))
        model._unexpected.clear()


async def test_rules() -> None:
    model = ScriptedModel.rules([
        ("tide", text("high")),
        (lambda request: bool(request.tools), text("tools")),
        ("", lambda request: text(request.messages[-1].content.upper())),
    ])  # fmt: skip
    assert (await model.answer(ask("the tide?"))).text == "high"
    assert (await model.answer(ask("the tide?"))).text == "high"
    assert (await model.answer(ask("echo"))).text == "ECHO"
    with pytest.raises(UnusedSteps, match="rule 2"):
        model.verify()


async def test_usage_and_cost_are_deterministic() -> None:
    model = ScriptedModel([text("12345678"), text("x")], price=Price(Decimal(1), Decimal(10)))
    reply = await model.answer(ask("1234", system="1234"))
    assert (reply.usage.prompt_tokens, reply.usage.completion_tokens, reply.cost_usd) == (2, 2, Decimal(22))
    free = await ScriptedModel([text("x")]).answer(ask())
    assert free.cost_usd == 0
    assert (await ScriptedModel([text("x")], price=None).answer(ask())).cost_usd is None
