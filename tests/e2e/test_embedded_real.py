"""The embedded model for real, with the light weights: they prove mechanics, never content."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from quarterdeck.errors import ModelError
from quarterdeck.models import weights
from quarterdeck.models.embedded import EmbeddedProvider
from quarterdeck.models.port import Message, ModelRequest, ToolOffer

pytestmark = [pytest.mark.real, pytest.mark.timeout(300)]

FREED_S = 1.5
"""How soon after a cancellation the thread must be free for the next call."""

WEATHER = ToolOffer(
    "weather.now",
    "The weather in a city now.",
    {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
)


@pytest.fixture
def light() -> Path:
    path = weights.installed("light")
    if path is None:
        hint = "the light weights are missing: quarterdeck models pull light"
        if os.environ.get("CI"):
            pytest.fail(hint)
        pytest.skip(hint)
    return path


@pytest.fixture
async def provider(light: Path) -> AsyncIterator[EmbeddedProvider]:
    made = EmbeddedProvider(light, model_name="light", context=4096)
    made.warm()
    yield made
    await made.close()


def ask(*messages: Message, **options: object) -> ModelRequest:
    return ModelRequest("light", messages, **options)  # type: ignore[arg-type]


async def test_text_streams_tokens_are_counted_and_a_prefix_is_read_once(provider: EmbeddedProvider) -> None:
    heard: list[str] = []
    long = Message("system", "You count. " * 60)
    reply = await provider.answer(ask(long, Message("user", "Count from one to nine."), max_tokens=40), heard.append)
    await asyncio.sleep(0)
    assert "".join(heard) == reply.text
    assert len(heard) > 3
    assert reply.usage.prompt_tokens > 150
    assert 3 < reply.usage.completion_tokens <= 40
    again = await provider.answer(ask(long, Message("user", "Count from two to five."), max_tokens=5))
    assert again.usage.cached_tokens > 150


async def test_the_schema_is_obeyed_with_bounds_and_without_indentation(provider: EmbeddedProvider) -> None:
    schema = {
        "type": "object",
        "properties": {
            "facts": {
                "type": "array",
                "minItems": 2,
                "maxItems": 2,
                "items": {
                    "type": "object",
                    "properties": {"source": {"enum": ["a", "b"]}, "claim": {"type": "string", "maxLength": 30}},
                    "required": ["source", "claim"],
                },
            },
            "count": {"type": "integer"},
        },
        "required": ["facts", "count"],
    }
    reply = await provider.answer(ask(Message("user", "The port opened in 1923. It closed in 1980."), schema=schema))
    value = json.loads(reply.text)
    assert list(value) == ["facts", "count"]
    assert isinstance(value["count"], int)
    assert [fact["source"] in {"a", "b"} and len(fact["claim"]) <= 30 for fact in value["facts"]] == [True, True]
    assert "\n" not in reply.text


async def test_a_tool_is_proposed_and_its_result_is_used(provider: EmbeddedProvider) -> None:
    asked = (Message("system", "You help."), Message("user", "What is the weather in Oslo? Use the tool."))
    first = await provider.answer(ask(*asked, tools=(WEATHER,)))
    assert first.finish == "tool_calls"
    (call,) = first.tool_calls
    assert (call.name, call.arguments) == ("weather.now", {"city": "Oslo"})
    history = (*asked, Message("assistant", "", (call,)), Message("tool", "3 degrees, snow", tool_call_id=call.id))
    second = await provider.answer(ask(*history, tools=(WEATHER,)))
    assert second.text or second.tool_calls


@pytest.mark.parametrize("prompt", ["Write a very long story.", "harbour crane " * 900])
async def test_a_cancelled_call_frees_the_model_soon(provider: EmbeddedProvider, prompt: str) -> None:
    await provider.answer(ask(Message("user", "Hi"), max_tokens=1))
    task = asyncio.create_task(provider.answer(ask(Message("user", prompt), max_tokens=2000)))
    await asyncio.sleep(0.5)
    assert not task.done()
    started = time.monotonic()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await provider.answer(ask(Message("user", "Hi"), max_tokens=1))
    assert time.monotonic() - started < FREED_S


def test_a_model_that_is_freed_as_soon_as_it_is_loaded_does_not_hang(light: Path) -> None:
    program = f"""
from pathlib import Path
from quarterdeck.models.embedded import _load

for _ in range(8):
    _load(Path({str(light)!r}), 512, 2)
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")


async def test_a_prompt_beyond_the_context_is_too_long(provider: EmbeddedProvider) -> None:
    with pytest.raises(ModelError) as failed:
        await provider.answer(ask(Message("user", "port " * 5000)))
    assert failed.value.kind == "too_long"


@pytest.mark.parametrize("ending", ["await provider.close()", "pass", "asyncio.create_task(provider.answer(request))"])
def test_the_process_ends_by_itself_and_nothing_is_printed(light: Path, ending: str) -> None:
    program = f"""
import asyncio
from pathlib import Path
from quarterdeck.models.embedded import EmbeddedProvider
from quarterdeck.models.port import Message, ModelRequest

async def main():
    provider = EmbeddedProvider(Path({str(light)!r}), model_name="light", context=2048)
    request = ModelRequest("light", (Message("user", "Write a long story."),), max_tokens=2)
    await provider.answer(request)
    request = ModelRequest("light", (Message("user", "Write a long story."),), max_tokens=1500)
    {ending}
    await asyncio.sleep(0.3)

asyncio.run(main())
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=False)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")
