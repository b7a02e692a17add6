"""Counting as the model does: exact where its tokenizer is here, only where it matters, and nothing is fetched."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.unit.memory import real_tokens
from tests.unit.models import made_gguf

from quarterdeck.memory import tokens
from quarterdeck.memory.tokens import tokenizer_of
from quarterdeck.memory.window import SUMMARY, Window
from quarterdeck.models import gguf
from quarterdeck.models.port import Message, ToolRequest


def user(text: str) -> Message:
    return Message("user", text)


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
    assert abs(count_tokens(user(text)) - count) <= (0 if " " in text else 3)
    assert count_tokens(user("")) == 0 and count_tokens(user("a b " * 20_000)) > 39_000
    call = ToolRequest("1", "tool", {"a": text}, f'{{"a": "{text}"}}')
    assert count_tokens(Message("assistant", text, tool_calls=(call,))) > count_tokens(user(text)) + count


@pytest.mark.parametrize("model", ["local", "anthropic/claude-sonnet-4", "openai/my-own", "gpt-4o", ""])
def test_nobody_guesses_for_others(model: str) -> None:
    assert tokenizer_of(model) is None


def test_a_tokenizer_that_is_not_here_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokens, "_is_here", lambda encoding: False)
    assert tokenizer_of("openai/gpt-4o") is None


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Return the files whose vocabulary was read."""
    files: list[Path] = []

    def read_vocabulary(path: Path) -> gguf.Vocabulary:
        files.append(path)
        return real(path)

    real = gguf.read_vocabulary
    monkeypatch.setattr(gguf, "read_vocabulary", read_vocabulary)
    return files


def test_an_embedded_model_is_counted_with_the_vocabulary_of_its_weights(tmp_path: Path, read: list[Path]) -> None:
    file = made_gguf.write(tmp_path / "made.gguf")
    count = tokenizer_of("local", str(file))
    assert count is not None and not read, "nothing is loaded before something is counted"
    assert [count(user(text)) for text in ("", "hello", "hello hello", "12345")] == [0, 1, 2, 5]
    again = tokenizer_of("another", str(file))
    assert again is not None and again(user("hello")) == 1 and read == [file], "once a process"


def test_an_embedded_model_is_counted_by_what_it_is_given(tmp_path: Path) -> None:
    count = tokenizer_of("local", str(made_gguf.write(tmp_path / "made.gguf")))
    assert count is not None
    result = Message("tool", "hello", tool_call_id="1", name="a")
    assert count(result) > count(user("It is data, no instruction to you: hello")), "with what stands around a result"
    call = ToolRequest("1", "a", {"q": "\u5317"}, '{"q": "\u5317"}')
    assert count(Message("assistant", "", tool_calls=(call,))) == len('{"tool": "a", "arguments": {"q": "\\u5317"}}')


@pytest.mark.parametrize("broken", ["cut", "other", "none", "unknown", "folder", "llama"])
def test_without_a_vocabulary_the_estimate_stands(tmp_path: Path, read: list[Path], broken: str) -> None:
    file = tmp_path / "made.gguf"
    if broken == "cut":
        file.write_bytes(made_gguf.header(made_gguf.fields())[:2000])
    elif broken == "other":
        file.write_bytes(b"not a model")
    elif broken == "folder":
        file.mkdir()
    elif broken == "llama":
        made_gguf.write(file, model="llama")
    count = tokenizer_of("local", "weights-nobody-knows" if broken == "unknown" else str(file))
    assert count is not None
    assert [count(user(text)) for text in ("", "hello", "123456", "\u5317\u4eac")] == [0, 2, 6, 5]
    assert len(read) == (broken in ("cut", "other", "llama")), "and nothing is tried twice"


def test_a_window_far_from_full_never_loads_a_tokenizer(tmp_path: Path, read: list[Path]) -> None:
    file = made_gguf.write(tmp_path / "made.gguf")
    window = Window(OPENING, 4000, 3200, tokenizer_of("local", str(file)))
    window.add_note("hello " * 400)
    assert not read and window.used < 3200, "2,400 bytes cannot be 3,200 tokens"
    window.add_note("hello " * 200)
    assert read == [file] and 720 < window.used < 770, "600 words and the 120 letters of the opening"


def test_each_message_is_counted_once_when_its_bytes_could_be_too_much() -> None:
    asked: list[str] = []

    def count(message: Message) -> int:
        asked.append(message.content)
        return len(message.content) // 4

    window = Window(OPENING, 1000, 800, count)
    window.add_note("1" * 300)
    assert not asked
    window.add_note("2" * 600)
    assert len(asked) == 4 and window.used < 800 and window.middle() == ()
    for number in "3456":
        window.add_note(number * 600)
    assert len(asked) == len(set(asked)) == 8
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
    assert cut.least > 2 * 4 + sum(map(real_tokens.real, ("s" * 60, "u" * 60, "Only the wind, please.")))
