"""Prompts begin alike from turn to turn, and what the provider's cache did is counted and priced."""

from __future__ import annotations

from decimal import Decimal
from itertools import pairwise
from typing import Any

import pytest

from quarterdeck import vendors
from quarterdeck.memory.window import Window
from quarterdeck.models.litellm_messages import ToolNames, mark_prefixes, marks_prefixes, messages_out, usage_in
from quarterdeck.models.litellm_provider import LiteLLMProvider, warm
from quarterdeck.models.port import Message, ModelRequest, ToolOffer, ToolRequest, Usage
from quarterdeck.models.prices import Price, PriceTable, cost
from quarterdeck.testing import HttpAnswer, OpenAIServer

EPHEMERAL = {"type": "ephemeral"}
OPENING = (Message("system", "You are a clerk."), Message("user", "How deep?"))
LOOKUP = ToolRequest("c1", "lookup", {"order": "1"}, '{"order": "1"}')


def test_each_turn_begins_with_all_of_the_one_before() -> None:
    window = Window(OPENING, tokens=4000)
    turns = [window.messages()]
    window.add_calls("", [LOOKUP], ["packed"])
    turns.append(window.messages())
    window.add_answer("Deep.", "Say how deep.")
    turns.append(window.messages())
    window.add_note("Be quick.")
    turns.append(window.messages())
    for before, after in pairwise(turns):
        assert len(after) > len(before) and after[: len(before)] == before


@pytest.mark.parametrize(
    ("model", "marked"),
    [
        ("anthropic/claude-3-5-haiku-20241022", True),
        ("bedrock/anthropic.claude-3-5-haiku-20241022-v1:0", True),
        ("vertex_ai/claude-3-5-haiku@20241022", True),
        ("vertex_ai/gemini-2.0-flash-001", False),
        ("openai/gpt-4o-mini-2024-07-18", False),
        ("openai/claude-imitation", False),
    ],
)
def test_only_providers_that_need_marks_get_them(model: str, marked: bool) -> None:
    assert marks_prefixes(model) is marked


def test_the_instructions_and_the_end_are_marked_while_the_conversation_goes_on() -> None:
    tool = Message("tool", "packed", tool_call_id="c1", name="lookup")
    out = messages_out((*OPENING, Message("assistant", "", (LOOKUP,)), tool), ToolNames(["lookup"]))
    mark_prefixes(out, goes_on=True)
    assert [message.get("cache_control") for message in out] == [EPHEMERAL, None, None, EPHEMERAL]
    out = messages_out(OPENING, ToolNames([]))
    mark_prefixes(out, goes_on=False)
    assert [message.get("cache_control") for message in out] == [EPHEMERAL, None]


def anthropic() -> Any:
    """Return LiteLLM's translator of Anthropic's interface."""
    warm()
    with vendors.importing():
        from litellm.llms.anthropic.chat.transformation import AnthropicConfig
    return AnthropicConfig


ANTHROPIC: dict[str, Any] = {
    "id": "msg_1", "type": "message", "role": "assistant", "model": "claude-3-5-haiku-20241022",
    "content": [{"type": "text", "text": "Deep."}], "stop_reason": "end_turn", "stop_sequence": None,
    "usage": {
        "input_tokens": 21, "output_tokens": 40, "cache_read_input_tokens": 2000, "cache_creation_input_tokens": 500,
        "cache_creation": {"ephemeral_5m_input_tokens": 500, "ephemeral_1h_input_tokens": 0},
    },
}  # fmt: skip


def test_marks_arrive_as_anthropic_wants_them() -> None:
    model = LiteLLMProvider("anthropic/claude-3-5-haiku-20241022")
    offer = ToolOffer("lookup", "Look up.", {"type": "object", "properties": {"order": {"type": "string"}}})
    request = ModelRequest(model.model, OPENING, (offer,))
    arguments = model._arguments(request, ToolNames(["lookup"]), "")
    sent = anthropic()().transform_request(
        "claude-3-5-haiku-20241022", arguments["messages"], {"max_tokens": 10}, {}, {}
    )
    assert sent["system"] == [{"type": "text", "text": "You are a clerk.", "cache_control": EPHEMERAL}]
    assert sent["messages"][-1]["content"][-1]["cache_control"] == EPHEMERAL


def test_anthropic_usage_is_counted_and_priced() -> None:
    usage = usage_in(anthropic()().calculate_usage(usage_object=ANTHROPIC["usage"], reasoning_content=None))
    assert usage == Usage(prompt_tokens=2521, completion_tokens=40, cached_tokens=2000, written_tokens=500)
    facts = PriceTable().facts("anthropic/claude-haiku-4-5-20251001")
    assert facts is not None and facts.price is not None
    price = facts.price
    assert price.written is not None and price.cached is not None and price.cached < price.input < price.written
    assert cost(price, usage) == (
        21 * price.input + 2000 * price.cached + 500 * price.written + 40 * price.output
    )  # fmt: skip


def test_written_tokens_without_a_price_of_their_own_count_as_any() -> None:
    price = Price(Decimal(2), Decimal(3), Decimal(1))
    assert cost(price, Usage(100, 10, 40, 30)) == 60 * 2 + 40 * 1 + 10 * 3


async def test_openai_cached_tokens_are_counted_and_priced(loopback_model: OpenAIServer) -> None:
    loopback_model.script(HttpAnswer("Hi.", prompt_tokens=100, completion_tokens=10, cached_tokens=64))
    model = LiteLLMProvider(
        "openai/gpt-4o-mini-2024-07-18", api_base=loopback_model.url, price=Price(Decimal(4), Decimal(1), Decimal(2))
    )
    reply = await model.answer(ModelRequest(model.model, OPENING))
    await model.close()
    assert reply.usage == Usage(100, 10, 64) and reply.cost_usd == 36 * 4 + 64 * 2 + 10
    assert "cache_control" not in str(loopback_model.bodies[-1])
