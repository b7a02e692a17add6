from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from quarterdeck.errors import ModelError
from quarterdeck.models import embedded
from quarterdeck.models.embedded import EmbeddedProvider
from quarterdeck.models.port import Message, ModelRequest

SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}


class FakeServer:
    """Plays back one list of chunks a call; a call without one goes on until it is stopped."""

    def __init__(self, *calls: list[dict[str, Any]]) -> None:
        self.calls = iter(calls)
        self.bodies: list[dict[str, Any]] = []
        self.stopped = threading.Event()

    def handle_chat_completions(self, body: dict[str, Any], callback: Callable[[dict[str, Any]], bool]) -> None:
        self.bodies.append(body)
        for chunk in next(self.calls, None) or endless():
            if callback(chunk):
                self.stopped.set()
                return


def endless() -> Iterator[dict[str, Any]]:
    while True:
        threading.Event().wait(0.005)
        yield {"choices": [{"delta": {"content": None}, "finish_reason": None}], "prompt_progress": {}}


def said(*texts: str, finish: str = "stop", prompt: int = 10, cached: int = 0) -> list[dict[str, Any]]:
    chunks: list[dict[str, Any]] = [{"choices": [{"delta": {"content": text}}]} for text in texts]
    chunks.append({"choices": [{"delta": {}, "finish_reason": finish}]})
    usage = {
        "prompt_tokens": prompt,
        "completion_tokens": len(texts),
        "prompt_tokens_details": {"cached_tokens": cached},
    }
    return [*chunks, {"choices": [], "usage": usage}]


@pytest.fixture
def provide(monkeypatch: pytest.MonkeyPatch) -> Callable[..., EmbeddedProvider]:
    def make(server: FakeServer, context: int = 8192) -> EmbeddedProvider:
        monkeypatch.setattr(embedded, "_load", lambda *_: server)
        monkeypatch.setattr(embedded, "_grammar", lambda schema: f"grammar of {sorted(schema)}")
        return EmbeddedProvider(Path("none.gguf"), model_name="local", context=context)

    return make


def ask(**options: Any) -> ModelRequest:
    return ModelRequest("local", (Message("user", "?"),), **options)


async def test_free_text_streams_and_is_counted(provide: Callable[..., EmbeddedProvider]) -> None:
    provider = provide(FakeServer(said("He", "llo", cached=4)))
    heard: list[str] = []
    reply = await provider.answer(ask(), heard.append)
    await asyncio.sleep(0)
    assert heard == ["He", "llo"]
    assert (reply.text, reply.finish, reply.cost_usd, reply.model) == ("Hello", "stop", Decimal(0), "local")
    assert (reply.usage.prompt_tokens, reply.usage.completion_tokens, reply.usage.cached_tokens) == (10, 2, 4)
    await provider.close()


async def test_free_text_that_is_cut_off_says_so_and_is_not_asked_for_again(
    provide: Callable[..., EmbeddedProvider],
) -> None:
    provider = provide(FakeServer(said("He", finish="length")))
    assert (await provider.answer(ask())).finish == "length"
    await provider.close()


async def test_structured_output_is_held_to_a_grammar_and_not_streamed(
    provide: Callable[..., EmbeddedProvider],
) -> None:
    server = FakeServer(said('{"a": ', '"b"}'))
    provider = provide(server)
    heard: list[str] = []
    assert (await provider.answer(ask(schema=SCHEMA), heard.append)).text == '{"a": "b"}'
    assert heard == []
    assert "grammar of" in server.bodies[0]["grammar"]
    await provider.close()


async def test_structured_output_that_is_cut_off_gets_one_more_try_with_more_room(
    provide: Callable[..., EmbeddedProvider],
) -> None:
    server = FakeServer(said('{"a"', finish="length"), said('{"a": "b"}'))
    provider = provide(server)
    reply = await provider.answer(ask(schema=SCHEMA, max_tokens=100))
    assert [body["max_tokens"] for body in server.bodies] == [100, 200]
    assert reply.text == '{"a": "b"}'
    assert (reply.usage.prompt_tokens, reply.usage.completion_tokens) == (20, 2)
    await provider.close()


@pytest.mark.parametrize(("context", "calls"), [(8192, 2), (100, 1)])
async def test_cut_off_for_good_is_malformed(
    provide: Callable[..., EmbeddedProvider], context: int, calls: int
) -> None:
    server = FakeServer(*[said('{"a"', finish="length") for _ in range(3)])
    provider = provide(server, context)
    with pytest.raises(ModelError) as failed:
        await provider.answer(ask(schema=SCHEMA, max_tokens=100))
    assert failed.value.kind == "malformed"
    assert len(server.bodies) == calls
    await provider.close()


@pytest.mark.parametrize(
    ("error", "kind"),
    [({"type": "exceed_context_size_error", "n_prompt_tokens": 9000}, "too_long"), ({"message": "boom"}, "server")],
)
async def test_errors_are_named(provide: Callable[..., EmbeddedProvider], error: dict[str, Any], kind: str) -> None:
    provider = provide(FakeServer([{"error": error}]))
    with pytest.raises(ModelError) as failed:
        await provider.answer(ask())
    assert failed.value.kind == kind
    await provider.close()


async def test_cancelling_stops_the_computation_and_frees_the_thread(provide: Callable[..., EmbeddedProvider]) -> None:
    server = FakeServer([], said("next"))
    provider = provide(server)
    task = asyncio.create_task(provider.answer(ask()))
    while not server.bodies:
        await asyncio.sleep(0.001)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (await provider.answer(ask())).text == "next"
    assert server.stopped.is_set()
    await provider.close()


async def test_close_stops_what_runs_and_ends_the_thread(provide: Callable[..., EmbeddedProvider]) -> None:
    server = FakeServer([])
    provider = provide(server)
    task = asyncio.create_task(provider.answer(ask()))
    while not server.bodies:
        await asyncio.sleep(0.001)
    await provider.close()
    await provider.close()
    assert server.stopped.is_set()
    assert not any(thread.name.startswith("embedded-model") for thread in threading.enumerate())
    with pytest.raises(ModelError, match="was closed"):
        await task
    with pytest.raises(ModelError, match="was closed"):
        await provider.answer(ask())


async def test_weights_that_are_missing_are_named_with_the_remedy(tmp_path: Path) -> None:
    provider = EmbeddedProvider(tmp_path / "none.gguf", model_name="local")
    provider.warm()
    with pytest.raises(ModelError, match="quarterdeck models pull local") as failed:
        await provider.answer(ask())
    assert failed.value.kind == "no_weights"
    await provider.close()


async def test_a_file_that_is_no_model_is_named_with_the_remedy(tmp_path: Path) -> None:
    bad = tmp_path / "bad.gguf"
    bad.write_bytes(b"no model")
    provider = EmbeddedProvider(bad, model_name="local")
    with pytest.raises(ModelError, match="quarterdeck models pull local") as failed:
        await provider.answer(ask())
    assert failed.value.kind == "no_weights"
    await provider.close()
