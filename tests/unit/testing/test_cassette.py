"""Cassettes: recorded once, played back for ever, without secrets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from quarterdeck.errors import ModelError
from quarterdeck.models.port import Message, ModelReply, ModelRequest
from quarterdeck.testing import Cassette, ScriptedModel, call, text

SECRET = "sk-very-secret-value"


def ask(user: str = "Hello?", **fields: Any) -> ModelRequest:
    return ModelRequest("m", (Message("user", user),), **fields)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "tapes" / "one.jsonl"


async def test_plays_back_what_was_recorded(path: Path) -> None:
    with ScriptedModel([text("one"), call("t.x", a=1)]) as real:
        tape = Cassette(path, real, mode="record")
        recorded: list[ModelReply] = [await tape.answer(ask()), await tape.answer(ask("Other"))]
    replay = Cassette(path)
    pieces: list[str] = []
    assert await replay.answer(ask(), pieces.append) == recorded[0]
    assert await replay.answer(ask("Other")) == recorded[1]
    assert await replay.answer(ask()) == recorded[0]
    assert pieces == ["one"]


async def test_a_missing_recording_says_so(path: Path) -> None:
    with pytest.raises(ModelError, match=r"has no recording .*'What is new\?'.*mode='auto'") as caught:
        await Cassette(path).answer(ask("What is new?"))
    assert caught.value.kind == "no_model"


@pytest.mark.parametrize("change", [{"temperature": 0.5}, {"max_tokens": 5}, {"schema": {"type": "string"}}])
async def test_every_part_of_a_request_counts(path: Path, change: dict[str, Any]) -> None:
    await Cassette(path, ScriptedModel([text("one")]), mode="record").answer(ask())
    with pytest.raises(ModelError, match="no recording"):
        await Cassette(path).answer(ask(**change))


async def test_auto_asks_only_for_what_is_missing(path: Path) -> None:
    await Cassette(path, ScriptedModel([text("one")]), mode="auto").answer(ask())
    with ScriptedModel([text("two")]) as real:
        tape = Cassette(path, real, mode="auto")
        assert (await tape.answer(ask())).text == "one"
        assert (await tape.answer(ask("Other"))).text == "two"
    assert (await Cassette(path).answer(ask("Other"))).text == "two"


async def test_the_same_request_twice_keeps_both_answers(path: Path) -> None:
    tape = Cassette(path, ScriptedModel([text("one"), text("two")]), mode="auto")
    assert [(await tape.answer(ask())).text for _ in range(2)] == ["one", "two"]
    replay = Cassette(path)
    assert [(await replay.answer(ask())).text for _ in range(3)] == ["one", "two", "two"]


async def test_record_begins_anew(path: Path) -> None:
    await Cassette(path, ScriptedModel([text("old")]), mode="record").answer(ask())
    await Cassette(path, ScriptedModel([text("new")]), mode="record").answer(ask())
    assert (await Cassette(path).answer(ask())).text == "new"


async def test_secrets_are_never_written_and_not_needed_to_replay(path: Path) -> None:
    environ = {"X_API_KEY": SECRET}
    real = ScriptedModel([text(f"your key is {SECRET}")])
    await Cassette(path, real, mode="record", environ=environ).answer(ask(f"my key is {SECRET}"))
    assert SECRET not in path.read_text()
    assert (await Cassette(path, environ={}).answer(ask("my key is ***"))).text == "your key is ***"


def test_a_broken_file_names_the_line(path: Path) -> None:
    path.parent.mkdir()
    path.write_text("{}\n")
    with pytest.raises(ValueError, match=r"one\.jsonl:1 is no recording"):
        Cassette(path)


def test_recording_needs_somebody_to_ask(path: Path) -> None:
    with pytest.raises(ValueError, match="needs a provider"):
        Cassette(path, mode="auto")
