"""LiteLLM does not price our answers, unless somebody listens to it, or its insides are not what they were."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from quarterdeck import vendors
from quarterdeck.models.litellm_provider import LiteLLMProvider
from quarterdeck.models.litellm_unpriced import unpriced
from quarterdeck.models.port import Message, ModelRequest
from quarterdeck.testing import HttpAnswer, OpenAIServer

MODEL = "openai/gpt-4o-mini-2024-07-18"


@pytest.fixture
def priced(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Return the models that LiteLLM works out a price for."""
    with vendors.importing():
        from litellm.litellm_core_utils import litellm_logging

    seen: list[str] = []
    price = litellm_logging.Logging._response_cost_calculator

    def count(self: Any, *arguments: Any, **named: Any) -> Any:
        seen.append(self.model)
        return price(self, *arguments, **named)

    monkeypatch.setattr(litellm_logging.Logging, "_response_cost_calculator", count)
    yield seen


async def answered(server: OpenAIServer, *, streamed: bool) -> str:
    texts: list[str] = []
    model = LiteLLMProvider(MODEL, api_base=server.url)
    request = ModelRequest(MODEL, (Message("user", "Hello?"),))
    try:
        reply = await model.answer(request, texts.append if streamed else None)
    finally:
        await model.close()
    assert not streamed or "".join(texts) == reply.text
    return reply.text


@pytest.mark.parametrize("streamed", [False, True])
async def test_an_answer_is_not_priced(loopback_model: OpenAIServer, priced: list[str], streamed: bool) -> None:
    loopback_model.script(HttpAnswer("Hi."))
    assert await answered(loopback_model, streamed=streamed) == "Hi."
    assert priced == []


@pytest.mark.parametrize("streamed", [False, True])
async def test_whoever_listens_to_litellm_hears_prices_as_ever(
    loopback_model: OpenAIServer, priced: list[str], monkeypatch: pytest.MonkeyPatch, streamed: bool
) -> None:
    with vendors.importing():
        import litellm

    monkeypatch.setattr(litellm, "success_callback", [lambda *_: None])
    loopback_model.script(HttpAnswer("Hi."))
    assert await answered(loopback_model, streamed=streamed) == "Hi."
    assert priced != []


async def test_a_litellm_with_other_insides_is_called_as_usual(
    loopback_model: OpenAIServer, priced: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with vendors.importing():
        import litellm

    def other(*_: Any) -> None:
        raise TypeError("function_setup() takes other arguments now")

    with monkeypatch.context() as changed:
        changed.setattr(litellm.utils, "function_setup", other)
        arguments = {"model": MODEL, "messages": []}
        assert unpriced(litellm, arguments) is arguments
    loopback_model.script(HttpAnswer("Hi."))
    monkeypatch.setattr("quarterdeck.models.litellm_provider.unpriced", lambda _, arguments: arguments)
    assert await answered(loopback_model, streamed=False) == "Hi."
    assert priced != []
