"""The HTTP client of MCP connections: bounded answers, and word at once when the far end is gone.

The MCP library logs a request that breaks and lets its caller wait; here the caller is told.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import httpx

MAX_ANSWER_BYTES = 16_000_000


def client(headers: dict[str, str], broken: Callable[[str], None]) -> httpx.AsyncClient:
    """Return a client for one MCP connection.

    Args:
        headers: Sent with each request.
        broken: Called with the reason when a request breaks, or its answer is too large.
    """
    timeout = httpx.Timeout(30.0, read=300.0)
    return httpx.AsyncClient(headers=headers, timeout=timeout, transport=_Watched(broken), trust_env=False)


class _Watched(httpx.AsyncBaseTransport):
    def __init__(self, broken: Callable[[str], None]) -> None:
        self._transport = httpx.AsyncHTTPTransport()
        self._broken = broken

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        try:
            response = await self._transport.handle_async_request(request)
        except httpx.TransportError as error:
            if request.method == "POST":  # the stream of notifications may come and go
                self._broken(type(error).__name__)
            raise
        if request.method == "POST":
            assert isinstance(response.stream, httpx.AsyncByteStream)
            response.stream = _Bounded(response.stream, self._broken)
        return response

    async def aclose(self) -> None:
        await self._transport.aclose()


class _Bounded(httpx.AsyncByteStream):
    """The body of an answer, up to a limit."""

    def __init__(self, body: httpx.AsyncByteStream, broken: Callable[[str], None]) -> None:
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
            self._broken(str(error) or type(error).__name__)
            raise

    async def aclose(self) -> None:
        await self._body.aclose()
