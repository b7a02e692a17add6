"""Counting as the model does: exact where its tokenizer is here, only where it matters, and nothing is fetched."""

from __future__ import annotations

import pytest

from quarterdeck.memory import tokens
from quarterdeck.memory.tokens import tokenizer_of
from quarterdeck.memory.window import SUMMARY, Window
from quarterdeck.models.port import Message, ToolRequest

OPENING = (Message("system", "s" * 60), Message("user", "u" * 60))


@pytest.mark.parametrize(
    ("model", "text", "count"),
    [
        ("openai/gpt-4o-mini-2024-07-18", "hello world", 2),
        ("openai/gpt-4-0613", "hello world", 2),
        ("openai/gpt-4.1-2025-04-14", "Donaudampfschifffahrt", 6),
    ],
)
def test_openai_models_are_counted_exactly(model: str, text: str, count: int) -> None:
    count_tokens = tokenizer_of(model)
    assert count_tokens is not None
    assert abs(count_tokens(text) - count) <= (0 if " " in text else 3)
    assert count_tokens("") == 0 and count_tokens("a b " * 20_000) > 39_000


@pytest.mark.parametrize("model", ["local", "anthropic/claude-sonnet-4", "openai/my-own", "gpt-4o", ""])
def test_nobody_guesses_for_others(model: str) -> None:
    assert tokenizer_of(model) is None


def test_a_tokenizer_that_is_not_here_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokens, "_is_here", lambda encoding: False)
    assert tokenizer_of("openai/gpt-4o") is None


def test_it_is_counted_once_the_estimate_says_full() -> None:
    asked: list[str] = []

    def count(text: str) -> int:
        asked.append(text)
        return len(text) // 4  # a quarter of a token a byte, where the estimate has a third

    window = Window(OPENING, 1000, 800, count)
    for number in range(3):
        window.add_note("n" * 600)
        assert not asked, number
    window.add_note("n" * 600)
    assert asked and window.used < 800 and window.middle() == (), "there is more room than the estimate had"
    for _ in range(2):
        window.add_note("n" * 600)
    assert window.used >= 800 and window.middle()
    window.condense("short")
    assert window.used < 800


def test_what_is_pinned_outlives_summaries_and_cuts() -> None:
    window = Window(OPENING, 1000, 800)
    window.pin("Only the wind, please.")
    for number in range(500):
        window.add_calls("", [ToolRequest(str(number), "t", {}, "{}")], ["r" * 300])
        if window.middle():
            window.condense("So far.")
        contents = [message.content for message in window.messages()]
        assert contents.count("Only the wind, please.") == 1
        assert window.used <= 1000
    assert contents[2] == "Only the wind, please." and contents[3].startswith(SUMMARY)
    cut = Window(OPENING, 300)
    cut.pin("Only the wind, please.")
    for _ in range(20):
        cut.add_note("n" * 100)
    assert [message.content for message in cut.messages()].count("Only the wind, please.") == 1
    assert cut.least >= (120 + 32 + 22 + 16) // 3
