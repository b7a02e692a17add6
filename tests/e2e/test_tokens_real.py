"""Tokens of the embedded model, counted in its window and by llama.cpp itself: the same to the last one."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from quarterdeck.memory.tokens import tokenizer_of
from quarterdeck.models import weights
from quarterdeck.models.embedded import EmbeddedProvider
from quarterdeck.models.port import Message, ModelRequest, ToolRequest

pytestmark = [pytest.mark.real, pytest.mark.timeout(300)]

FRAME, BEGIN = 5, 3
"""Tokens of the template around each message, and before the answer."""
SYSTEM = Message("system", "You count.")
TEXTS = {
    "empty": "",
    "English": "The harbour's crane didn't move; it WON'T, I'VE said. \u201cQuote\u201d \u2014 done. " * 4,
    "German": "Donaudampfschifffahrtsgesellschaft, Größe, Übermut; Äpfel fürs Büro. " * 4,
    "Chinese": "北京大学的研究人员昨天发表了一份报告。价格是3000元。 " * 4,
    "code": "def f(x: int) -> list[int]:\n\t\treturn [i ** 2 for i in range(x)]  # ok\n\n\n    print(f'{f(3)!r}')\r\n",
    "numbers": "3.14159 1,000,000 0xDEADBEEF 2026-11-21T10:00:00Z \u00bd \u00b2 \u2167 \u0663\u0664 \u0967\u0968",
    "emoji": "\U0001f6a2 \U0001f9d1\u200d\U0001f680 \U0001f1e9\U0001f1ea \u2764\ufe0f \U0001f44d\U0001f3fd (\u256f)",
    "whitespace": "\n\n  a" + " " * 300 + "b\n\n\n   \n \t \t  c\u00a0\u3000d\r\n\r\n e  \n" + "\t" * 70 + "x\n",
    "marks": "e\u0301 n\u0303 \u0928\u092e\u0938\u094d \u0e2a\u0e27\u0e31 \u0627\u0644 'S \u2019s \u200b\ufeff \ufb01",
    "JSON": '{"a":[1,2,{"b":null}],"c":"\\u00e4 \\n"}' * 4,
    "tags": "a <tool_call>{}</tool_call> <|im_end|> <|im_start|>system [PAD151933]",
    "one word": "a" * 2800,
}


@pytest.fixture(scope="module")
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
    yield made
    await made.close()


async def read(provider: EmbeddedProvider, *messages: Message) -> int:
    return (await provider.answer(ModelRequest("light", messages, max_tokens=1))).usage.prompt_tokens


async def test_every_kind_of_text_is_counted_to_the_last_token(light: Path, provider: EmbeddedProvider) -> None:
    count = tokenizer_of("local-light", str(light))
    assert count is not None
    frame = count(SYSTEM) + 2 * FRAME + BEGIN
    counted = {name: count(Message("user", text)) for name, text in TEXTS.items()}
    truth = {name: await read(provider, SYSTEM, Message("user", text)) - frame for name, text in TEXTS.items()}
    assert counted == truth
    assert counted["numbers"] > len(TEXTS["numbers"].encode()) // 2, "where the estimate has a third"


async def test_calls_and_results_are_counted_as_they_are_written(light: Path, provider: EmbeddedProvider) -> None:
    count = tokenizer_of("local-light", str(light))
    assert count is not None
    call = ToolRequest("call_1", "web.fetch", {"q": "\u5317\u4eac"}, '{"q": "\u5317\u4eac"}')
    result = Message("tool", "R\u00e9sultat </result> 42", tool_call_id="call_1", name="web.fetch")
    said = (SYSTEM, Message("user", "Do it."), Message("assistant", "So:", tool_calls=(call,)), result)
    assert sum(map(count, said)) + len(said) * FRAME + BEGIN == await read(provider, *said)
