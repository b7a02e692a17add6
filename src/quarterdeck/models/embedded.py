"""The embedded model: llama.cpp inside this process, through xllamacpp. No key, no network, no price."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import shutil
import sys
import tempfile
import threading
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

from quarterdeck.errors import ModelError
from quarterdeck.models.embedded_prompt import Prompt, read_reply, write_prompt
from quarterdeck.models.port import ModelReply, ModelRequest, OnText, Usage

BATCH = 64
"""Tokens read at a time: a call can be stopped between two batches, some 0.9 s apart on two cores (6 % slower)."""

PROMPT_CACHE_MIB = 512
"""What the prefixes of earlier prompts may keep in memory."""


class EmbeddedProvider:
    """Answers requests with a GGUF model on this machine, one at a time.

    A single worker thread owns the model; calls queue for it, because two at once were measured to be no faster.

    Args:
        weights_path: The GGUF file.
        model_name: What replies name as their model.
        context: Tokens of prompt and answer together.
        threads: Threads that compute; None for as many as this process may use.
    """

    def __init__(self, weights_path: Path, *, model_name: str, context: int = 8192, threads: int | None = None) -> None:
        self.model_name = model_name
        self.context = context
        self._weights = weights_path
        self._threads = threads or usable_cores()
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="embedded-model")
        self._loaded: list[Any] = []  # at most one server; a list, so that the finalizer needs no reference to self
        self._stops: set[threading.Event] = set()
        self._closed = False
        # Without this an unclosed model would still compute while the interpreter takes itself apart.
        weakref.finalize(self, self._loaded.clear)

    def warm(self) -> None:
        """Start to load the weights in the background; a failure is raised by the first answer instead."""
        if not self._closed:
            self._worker.submit(self._server)

    async def answer(self, request: ModelRequest, on_text: OnText | None = None) -> ModelReply:
        """Answer one request; cancelling it stops the computation within about a second.

        Args:
            request: The question. Tools and schemas are held to by a grammar, not by asking.
            on_text: Receives free text as it is written; structured answers arrive as a whole.

        Raises:
            ModelError: `no_weights` (the file cannot be loaded), `too_long` (the prompt does not fit the context),
                `malformed` (a structured answer was cut off twice or cannot be read), `server` (anything else).
        """
        prompt = write_prompt(request)
        show = None if prompt.schema is not None else on_text
        first = await self._generate(prompt, request, request.max_tokens, show)
        if first.finish == "stop" or prompt.schema is None:
            return self._reply(prompt, first, first.usage)
        room = self.context - first.usage.prompt_tokens - 1
        if room <= request.max_tokens:
            raise self._cut_off(request.max_tokens)
        cap = min(2 * request.max_tokens, room)
        second = await self._generate(prompt, request, cap, show)
        if second.finish == "length":
            raise self._cut_off(cap)
        return self._reply(prompt, second, _sum(first.usage, second.usage))

    async def close(self) -> None:
        """Stop what runs, free the model and end its thread. May be called twice."""
        if self._closed:
            return
        self._closed = True
        for stop in self._stops:
            stop.set()
        await asyncio.wrap_future(self._worker.submit(self._loaded.clear))
        self._worker.shutdown()

    async def _generate(self, prompt: Prompt, request: ModelRequest, cap: int, on_text: OnText | None) -> _Written:
        stop = threading.Event()
        loop = asyncio.get_running_loop()

        def show(text: str) -> None:
            if on_text is not None and not stop.is_set():
                loop.call_soon_threadsafe(on_text, text)

        self._check_open()
        self._stops.add(stop)
        try:
            written = await asyncio.wrap_future(self._worker.submit(self._write, prompt, request, cap, show, stop))
        finally:
            stop.set()
            self._stops.discard(stop)
        self._check_open()
        return written

    def _check_open(self) -> None:
        if self._closed:
            raise ModelError(f"The embedded model {self.model_name} was closed; make a new one.", "server")

    def _write(
        self, prompt: Prompt, request: ModelRequest, cap: int, show: Callable[[str], None], stop: threading.Event
    ) -> _Written:
        """Run in the worker thread: one completion, until it ends or `stop` is set."""
        server = self._server()
        body: dict[str, Any] = {
            "messages": prompt.messages,
            "max_tokens": cap,
            "temperature": request.temperature,
            "seed": 1,
            "cache_prompt": True,
            "stream": True,
            "stream_options": {"include_usage": True},
            "return_progress": True,  # so that a call can also be stopped while it still reads its prompt
        }
        if prompt.schema is not None:
            body["grammar"] = _grammar(prompt.schema)
        written = _Written()

        def receive(chunk: dict[str, Any]) -> bool:
            if stop.is_set():
                return True
            text = written.take(chunk)
            if text:
                show(text)
            return False

        try:
            server.handle_chat_completions(body, receive)
        except ValueError as error:
            written.error = {"message": str(error)}
        if written.error and not stop.is_set():
            raise self._refusal(written.error)
        return written

    def _server(self) -> Any:
        """Run in the worker thread: the loaded model."""
        if not self._loaded:
            self._loaded.append(_load(self._weights, self.context, self._threads))
        return self._loaded[0]

    def _reply(self, prompt: Prompt, written: _Written, usage: Usage) -> ModelReply:
        text, calls = read_reply(prompt, written.text)
        return ModelReply(
            text=text,
            tool_calls=calls,
            usage=usage,
            cost_usd=Decimal(0),
            model=self.model_name,
            finish="tool_calls" if calls else written.finish,
        )

    def _cut_off(self, cap: int) -> ModelError:
        return ModelError(
            f"The embedded model's structured answer was cut off at {cap} tokens; raise `max_tokens`, ask for less, "
            f"or shorten the prompt (context {self.context} tokens).",
            "malformed",
        )

    def _refusal(self, error: dict[str, Any]) -> ModelError:
        if error.get("type") == "exceed_context_size_error":
            return ModelError(
                f"The prompt of {error.get('n_prompt_tokens', '?')} tokens does not fit the embedded model's context "
                f"of {self.context}; give the agent fewer or shorter texts, or use another model.",
                "too_long",
            )
        return ModelError(f"The embedded model {self.model_name} failed: {error.get('message', error)}", "server")


@dataclass(slots=True)
class _Written:
    """What a completion has produced so far."""

    text: str = ""
    finish: Literal["stop", "length"] = "stop"
    usage: Usage = field(default_factory=Usage)
    error: dict[str, Any] | None = None

    def take(self, chunk: dict[str, Any]) -> str:
        """Add one chunk of the stream and return the text it brought."""
        if "error" in chunk or "code" in chunk:
            self.error = chunk.get("error", chunk)
            return ""
        if usage := chunk.get("usage"):
            cached = (usage.get("prompt_tokens_details") or {}).get("cached_tokens", 0)
            self.usage = Usage(usage["prompt_tokens"], usage["completion_tokens"], cached)
        text = ""
        for choice in chunk.get("choices", ()):
            text += choice["delta"].get("content") or ""
            if choice.get("finish_reason") == "length":
                self.finish = "length"
        self.text += text
        return text


def usable_cores() -> int:
    """Return how many cores this process may keep busy, container limits included."""
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count() or 1
    with contextlib.suppress(OSError, ValueError):
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        if quota != "max":
            cores = min(cores, max(1, int(quota) // int(period)))
    return cores


def _sum(one: Usage, other: Usage) -> Usage:
    return Usage(
        one.prompt_tokens + other.prompt_tokens,
        one.completion_tokens + other.completion_tokens,
        one.cached_tokens + other.cached_tokens,
    )


def _grammar(schema: dict[str, Any]) -> str:
    from xllamacpp import json_schema_to_grammar

    # Indentation would be a fifth of the tokens, and tokens are seconds. `lenient` ignores keywords that it does not
    # know; without it an unknown one would silently switch the whole grammar off.
    compact = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": ", "lenient": True}
    return str(json_schema_to_grammar({**schema, "x-guidance": compact}))


def _load(weights: Path, context: int, threads: int) -> Any:
    """Load a GGUF file and return xllamacpp's server for it, silent and reachable by nobody else."""
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # else idle compute threads spin and starve all others
    _read_through(weights)
    from xllamacpp import CommonParams, Server

    params = CommonParams()
    params.model.path = str(weights)
    params.n_ctx = context
    params.n_parallel = 1
    params.n_batch = params.n_ubatch = BATCH
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = threads
    params.cache_ram_mib = PROMPT_CACHE_MIB
    params.ctx_shift = False
    params.warmup = False
    params.fit_params = False
    params.verbosity = -1
    params.force_pure_content_parser = True
    params.ui = False
    params.endpoint_slots = False
    params.endpoint_props = False
    # xllamacpp always listens as well as answering calls: so behind a random key, on a socket only we can reach.
    params.api_keys = [secrets.token_hex(16)]
    params.n_threads_http = 1
    with _private_address() as address:
        params.hostnames = [address]
        params.port = 0
        try:
            server = Server(params)
        except RuntimeError as error:
            raise ModelError(
                f"The weights {weights} cannot be loaded; they may be damaged or no GGUF, or memory is short. "
                "Fetch them again: quarterdeck models pull local",
                "no_weights",
            ) from error
    # Its main loop starts after the constructor returns; to free it before that would wait for ever.
    server.handle_completions({"prompt": "a", "max_tokens": 1})
    return server


@contextlib.contextmanager
def _private_address() -> Iterator[str]:
    """Give an address to listen on; a socket in a folder of our own that is gone once the model is loaded."""
    if sys.platform == "win32":
        yield "127.0.0.1"
        return
    folder = tempfile.mkdtemp(prefix="qd-")
    try:
        yield f"{folder}/m.sock"
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _read_through(weights: Path) -> None:
    """Bring the file into the page cache: unlike loading it, that lets other Python threads run meanwhile."""
    buffer = bytearray(8 << 20)
    try:
        with weights.open("rb", buffering=0) as file:
            while file.readinto(buffer):
                pass
    except OSError as error:
        raise ModelError(
            f"The weights {weights} cannot be read ({error.strerror}). Fetch them: quarterdeck models pull local",
            "no_weights",
        ) from error
