"""The HTTP client of MCP connections: bounded answers, and word at once when the far end is gone.

The MCP library logs a request that breaks and lets its caller wait; here the caller is told. It ends the session when
the server answers one request with an HTTP error; here only the caller of that request hears of it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import orjson

from quarterdeck.errors import ToolError
from quarterdeck.tools.failures import Failure, failure_of, of_status

MAX_ANSWER_BYTES = 16_000_000
REFUSED = -32_097
"""The code of the JSON-RPC error that stands for an HTTP error; see `refusal`."""

Broken = Callable[[Failure, Any], None]
"""Called with what became of a request that broke, and with its JSON-RPC id."""


def client(headers: dict[str, str], broken: Broken) -> httpx.AsyncClient:
    """Return a client for one MCP connection.

    Args:
        headers: Sent with each request.
        broken: Called when a request breaks, or its answer is too large.
    """
    timeout = httpx.Timeout(30.0, read=300.0)
    return httpx.AsyncClient(headers=headers, timeout=timeout, transport=_Watched(broken), trust_env=False)


def refusal(server: str, data: Any) -> ToolError:
    """Return the error of a request that was answered with an HTTP error.

    Args:
        server: Its name.
        data: Of the JSON-RPC error with the code `REFUSED`.
    """
    said: dict[str, Any] = data if isinstance(data, dict) else {}
    status = said["status"] if isinstance(said.get("status"), int) else 500
    error = of_status(f"The server {server} answered HTTP {status}.", status, str(said.get("retry_after") or ""))
    if (
        status == 404
    ):  # it knows the session no more, and so has not looked at the call; the next one gets a new session
        return ToolError(str(error), error_class="unavailable", unsent=True)
    return error


class _Watched(httpx.AsyncBaseTransport):
    def __init__(self, broken: Broken) -> None:
        self._transport = httpx.AsyncHTTPTransport()
        self._broken = broken

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        number = _number(request)
        try:
            response = await self._transport.handle_async_request(request)
        except httpx.TransportError as error:
            if request.method == "POST":  # the stream of notifications may come and go
                self._broken(failure_of("its connection", error), number)
            raise
        if response.status_code >= 400 and number is not None:
            await response.aclose()
            return _told(response, number)
        if request.method == "POST":
            assert isinstance(response.stream, httpx.AsyncByteStream)
            response.stream = _Bounded(response.stream, self._broken)
        return response

    async def aclose(self) -> None:
        await self._transport.aclose()


def _number(request: httpx.Request) -> Any:
    """Return the JSON-RPC id of a request; None for what wants no answer."""
    if request.method != "POST":
        return None
    try:
        message = orjson.loads(request.content)
    except (orjson.JSONDecodeError, httpx.RequestNotRead):
        return None
    return message.get("id") if isinstance(message, dict) and "method" in message else None


def _told(response: httpx.Response, number: Any) -> httpx.Response:
    """Return an HTTP error as the answer to the JSON-RPC request that it is."""
    data = {"status": response.status_code, "retry_after": response.headers.get("retry-after", "")[:100]}
    error = {"code": REFUSED, "message": f"HTTP {response.status_code}", "data": data}
    return httpx.Response(200, json={"jsonrpc": "2.0", "id": number, "error": error})


class _Bounded(httpx.AsyncByteStream):
    """The body of an answer, up to a limit."""

    def __init__(self, body: httpx.AsyncByteStream, broken: Broken) -> None:
        self._body = body
        self._broken = broken

    async def __aiter__(self) -> AsyncIterator[bytes]:
        size = 0
        try:
            async for chunk in self._body:
                size += len(chunk)
                if size > MAX_ANSWER_BYTES:
                    raise httpx.ReadError(f"its answer has more than {MAX_ANSWER_BYTES:,} bytes")
                yield chunk
        except httpx.TransportError as error:
            self._broken(Failure("unavailable", str(error) or type(error).__name__), None)
            raise

    async def aclose(self) -> None:
        await self._body.aclose()
