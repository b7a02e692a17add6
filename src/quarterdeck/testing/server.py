"""A small OpenAI-compatible server on loopback: scripted answers for tests, constant ones for benchmarks.

It speaks just enough HTTP/1.1 to be cheap (a raw asyncio protocol, no parsing of what it need not know), and is never
reachable from another machine.
"""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

MAX_BODY = 16_000_000
MAX_KEPT = 1000


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """What the server says to one request.

    Attributes:
        text: The assistant's text.
        tool_calls: Tool name and raw argument text of each proposed call.
        status: HTTP status; anything but 200 answers with an error object that holds `text`.
        headers: More response headers, such as `Retry-After`.
        delay: Seconds before the first byte.
        hang: Never ends: no byte at all, or, in a stream, silence after the first piece.
        stall: In a stream: silence after so many pieces, the first of which only opens it; 0 for no silence.
        finish: Overrides the finish reason.
        prompt_tokens: Reported usage; None leaves usage out.
        cached_tokens: How many of the prompt tokens came from the provider's cache.
        code: The `code` of the error object.
    """

    text: str = "ok"
    tool_calls: tuple[tuple[str, str], ...] = ()
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    delay: float = 0.0
    hang: bool = False
    stall: int = 0
    finish: str = ""
    prompt_tokens: int | None = 10
    completion_tokens: int = 5
    cached_tokens: int = 0
    code: str = ""

    def usage(self) -> dict[str, Any] | None:
        """Return the usage object, or None where none is to be reported."""
        if self.prompt_tokens is None:
            return None
        return {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "total_tokens": self.prompt_tokens + self.completion_tokens,
            "prompt_tokens_details": {"cached_tokens": self.cached_tokens},
        }


Answers = HttpAnswer | Iterable[HttpAnswer] | Callable[[dict[str, Any]], HttpAnswer]


@dataclass(slots=True)
class Counts:
    """What the server has seen.

    Attributes:
        requests: Model requests answered or being answered.
        prompt_bytes: Bytes of their bodies.
        open: Requests whose answer is not finished.
        aborted: Requests whose client went away before the answer was finished.
    """

    requests: int = 0
    prompt_bytes: int = 0
    open: int = 0
    aborted: int = 0


class OpenAIServer:
    """Serves `/v1/chat/completions` on 127.0.0.1 from a thread of its own.

    Args:
        answers: One answer for every request, answers in turn (running out gives status 599), or a function of the
            request's JSON body.
        keep: Keep the parsed bodies in `bodies` (the last 1,000); off, a constant answer costs no parsing at all.
        delay: Seconds added before each answer.
    """

    def __init__(self, answers: Answers = HttpAnswer(), *, keep: bool = True, delay: float = 0.0) -> None:
        self.counts = Counts()
        self.keep = keep
        self.bodies: deque[dict[str, Any]] = deque(maxlen=MAX_KEPT)
        self.headers: deque[dict[str, str]] = deque(maxlen=MAX_KEPT)
        self.delay = delay
        self.port = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._server: asyncio.Server | None = None
        self._connections: set[_Connection] = set()
        self.script(answers)

    @property
    def url(self) -> str:
        """The base to give as `api_base`."""
        return f"http://127.0.0.1:{self.port}/v1"

    def script(self, answers: Answers) -> None:
        """Replace what the server answers from now on."""
        self._fixed = answers if isinstance(answers, HttpAnswer) else None
        self._rule = answers if callable(answers) else None
        self._queue: deque[HttpAnswer] = deque()
        if not isinstance(answers, HttpAnswer) and not callable(answers):
            self._queue.extend(answers)
        self._ready = ReadyAnswer(self._fixed) if self._fixed else None

    def next(self, body: bytes, headers: bytes) -> ReadyAnswer:
        """Return the answer to one request."""
        self.counts.requests += 1
        self.counts.prompt_bytes += len(body)
        if self.keep:
            self.bodies.append(json.loads(body))
            self.headers.append(_headers(headers))
        if self._ready is not None:
            return self._ready
        if self._rule is not None:
            return ReadyAnswer(self._rule(self.bodies[-1] if self.keep else json.loads(body)))
        answer = self._queue.popleft() if self._queue else HttpAnswer("the script has run out", status=599)
        return ReadyAnswer(answer)

    async def listen(self, port: int = 0) -> None:
        """Start to listen within the running event loop."""
        self._loop = asyncio.get_running_loop()
        self._server = await self._loop.create_server(lambda: _Connection(self), "127.0.0.1", port, backlog=1024)
        self.port = self._server.sockets[0].getsockname()[1]

    async def shut(self) -> None:
        """Stop to listen and drop every connection."""
        if self._server is not None:
            self._server.close()
        for connection in list(self._connections):
            connection.abort()
        if self._server is not None:
            await self._server.wait_closed()

    def start(self) -> OpenAIServer:
        """Serve from a thread until `stop`."""
        ready = threading.Event()
        failed: list[BaseException] = []

        def serve() -> None:
            loop = asyncio.new_event_loop()
            try:
                loop.run_until_complete(self.listen())
            except BaseException as error:
                failed.append(error)
                ready.set()
                loop.close()
                return
            ready.set()
            loop.run_forever()
            loop.run_until_complete(self.shut())
            loop.run_until_complete(asyncio.sleep(0))  # lets transports close their sockets
            loop.close()

        self._thread = threading.Thread(target=serve, name="loopback-model", daemon=True)
        self._thread.start()
        ready.wait(5)
        if failed:
            raise failed[0]
        return self

    def stop(self) -> None:
        """End the thread and close every socket."""
        if self._loop is not None and self._thread is not None:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(5)
            self._thread = None

    def __enter__(self) -> OpenAIServer:
        """Start, and return the server."""
        return self.start()

    def __exit__(self, *_: object) -> None:
        """Stop."""
        self.stop()


class ReadyAnswer:
    """An answer as bytes."""

    def __init__(self, answer: HttpAnswer) -> None:
        self.answer = answer
        self.whole = _response(answer, json.dumps(_completion(answer)).encode())
        self.pieces = _stream(answer) if answer.status == 200 else []


class _Connection(asyncio.Protocol):
    """One kept-alive connection; requests on it come one after the other."""

    def __init__(self, server: OpenAIServer) -> None:
        self.server = server
        self.buffer = b""
        self.transport: asyncio.Transport | None = None
        self.pending: asyncio.TimerHandle | None = None
        self.busy = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.server._connections.add(self)

    def connection_lost(self, error: Exception | None) -> None:
        self.server._connections.discard(self)
        if self.pending is not None:
            self.pending.cancel()
        if self.busy:
            self.server.counts.open -= 1
            self.server.counts.aborted += 1

    def abort(self) -> None:
        if self.transport is not None:
            self.transport.abort()

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        end = self.buffer.find(b"\r\n\r\n")
        if end < 0:
            return
        head = self.buffer[:end]
        length = _content_length(head)
        if length > MAX_BODY:
            self.abort()
            return
        if len(self.buffer) < end + 4 + length:
            return
        body, self.buffer = self.buffer[end + 4 : end + 4 + length], self.buffer[end + 4 + length :]
        self._route(head, body)

    def _route(self, head: bytes, body: bytes) -> None:
        if head.startswith(b"POST") and b"/chat/completions" in head[:200]:
            ready = self.server.next(body, head)
            self.busy = True
            self.server.counts.open += 1
            streams = bool(ready.pieces) and (b'"stream":true' in body or b'"stream": true' in body)
            delay = ready.answer.delay + self.server.delay
            if delay:
                self.pending = asyncio.get_running_loop().call_later(delay, self._reply, ready, streams)
            else:
                self._reply(ready, streams)
            return
        assert self.transport is not None
        seen = self.server.counts
        stats = {"requests": seen.requests, "prompt_bytes": seen.prompt_bytes, "open": seen.open,
                 "aborted": seen.aborted, "cpu_seconds": time.process_time()}  # fmt: skip
        if head.startswith(b"POST") and b"/reset" in head[:100]:
            self.server.counts = Counts(open=seen.open)
        self.transport.write(_response(HttpAnswer(), json.dumps(stats).encode()))

    def _reply(self, ready: ReadyAnswer, streams: bool) -> None:
        if self.transport is None or self.transport.is_closing():
            return
        if ready.answer.hang:
            if streams:
                self.transport.write(ready.pieces[0])
            return
        if streams and ready.answer.stall:
            self.transport.writelines(ready.pieces[: ready.answer.stall])
            return
        if streams:
            self.transport.writelines(ready.pieces)
        else:
            self.transport.write(ready.whole)
        self.busy = False
        self.server.counts.open -= 1


def _content_length(head: bytes) -> int:
    at = head.lower().find(b"\r\ncontent-length:")
    return int(head[at + 17 :].split(b"\r\n", 1)[0]) if at >= 0 else 0


def _headers(head: bytes) -> dict[str, str]:
    lines = head.decode("latin-1").split("\r\n")[1:]
    return {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}


def _response(answer: HttpAnswer, body: bytes, kind: str = "application/json") -> bytes:
    more = "".join(f"{name}: {value}\r\n" for name, value in answer.headers.items())
    head = f"HTTP/1.1 {answer.status} X\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n{more}\r\n"
    return head.encode("latin-1") + body


def _calls(answer: HttpAnswer) -> list[dict[str, Any]]:
    return [
        {"index": index, "id": f"call_{index}", "type": "function", "function": {"name": name, "arguments": arguments}}
        for index, (name, arguments) in enumerate(answer.tool_calls)
    ]


def _finish(answer: HttpAnswer) -> str:
    return answer.finish or ("tool_calls" if answer.tool_calls else "stop")


def _completion(answer: HttpAnswer) -> dict[str, Any]:
    if answer.status != 200:
        return {"error": {"message": answer.text, "type": "server_error", "code": answer.code or None}}
    message: dict[str, Any] = {"role": "assistant", "content": None if answer.tool_calls else answer.text}
    if answer.tool_calls:
        message["tool_calls"] = [{k: v for k, v in call.items() if k != "index"} for call in _calls(answer)]
    body = {"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "loopback",
            "choices": [{"index": 0, "message": message, "finish_reason": _finish(answer)}]}  # fmt: skip
    usage = answer.usage()
    return body if usage is None else {**body, "usage": usage}


def _stream(answer: HttpAnswer) -> list[bytes]:
    deltas: list[dict[str, Any]] = [{"role": "assistant", "content": ""}]
    if answer.tool_calls:
        deltas += [{"tool_calls": [call]} for call in _calls(answer)]
    else:
        deltas += [{"content": word} for word in answer.text.split(" ")] if " " not in answer.text else [
            {"content": word + (" " if index < answer.text.count(" ") else "")}
            for index, word in enumerate(answer.text.split(" "))
        ]  # fmt: skip
    base = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "loopback"}
    events = [{**base, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]} for delta in deltas]
    events.append({**base, "choices": [{"index": 0, "delta": {}, "finish_reason": _finish(answer)}]})
    usage = answer.usage()
    if usage is not None:
        events.append({**base, "choices": [], "usage": usage})
    lines = [f"data: {json.dumps(event)}\n\n".encode() for event in events] + [b"data: [DONE]\n\n"]
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
    chunks = [f"{len(line):x}\r\n".encode() + line + b"\r\n" for line in lines]
    return [head + chunks[0], *chunks[1:-1], chunks[-1] + b"0\r\n\r\n"]
