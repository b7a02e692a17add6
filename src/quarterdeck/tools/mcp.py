"""Tools of MCP servers, over stdio and Streamable HTTP. The only file that imports `mcp`, and only when it is used.

A server gets nothing but the calls: no sampling, no roots, no questions to the user, and of our environment only what
is declared. Its tools have the effect `external` until the operator says otherwise.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import AsyncIterator, Callable, Coroutine
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from quarterdeck.errors import ToolError
from quarterdeck.spec.mcp import ServerSpec, load_mcp
from quarterdeck.tools.failures import Failure
from quarterdeck.tools.manifest import Manifest
from quarterdeck.tools.mcp_lock import Described, read_lock, usable
from quarterdeck.tools.secrets import resolve
from quarterdeck.tools.tool import Tool

if TYPE_CHECKING:
    from quarterdeck.spec.workspace import Workspace

MAX_RESTARTS = 3
MAX_PAGES = 20
MAX_TEXT = 1_000_000
START_SECONDS = 30.0


class Servers:
    """The MCP servers of a workspace; each is reached when one of its tools is first called.

    Args:
        declared: By name.
        accepted: The tools that a person accepted, by server and short name.
        folder: Where commands are started.
    """

    def __init__(
        self, declared: dict[str, ServerSpec], accepted: dict[str, dict[str, Described]], folder: Path
    ) -> None:
        self._accepted = accepted
        self._servers = {name: Server(name, spec, folder) for name, spec in declared.items()}

    @classmethod
    def of(cls, workspace: Workspace) -> Servers:
        """Return the servers that a workspace declares, without reaching any of them.

        Raises:
            SpecError: `config/mcp.yaml` or `config/mcp.lock` is wrong.
        """
        lock = lock_file(workspace)
        return cls(load_mcp(workspace).servers, read_lock(lock, workspace.shown(lock)), workspace.root)

    def tools(self) -> list[Tool]:
        """Return the accepted tools of the declared servers."""
        return [
            self._tool(server, short, tool)
            for name, server in self._servers.items()
            for short, tool in self._accepted.get(name, {}).items()
            if server.takes(tool.name)
        ]

    def server(self, name: str) -> Server:
        """Return a server by name.

        Raises:
            KeyError: There is none.
        """
        return self._servers[name]

    async def close(self) -> None:
        """End all connections, and the commands that were started."""
        for server in self._servers.values():
            await server.close()

    def _tool(self, server: Server, short: str, tool: Described) -> Tool:
        return Tool(
            name=f"mcp_{server.name}.{short}",
            description=" ".join(tool.description.split()) or tool.name,
            parameters=tool.parameters(),
            function=partial(_call, server, tool),
            timeout=server.spec.timeout,
            manifest=Manifest(effect="external", owner=f"mcp:{server.name}", timeout=server.spec.timeout),
        )


class Server:
    """One server, and the connection to it.

    Args:
        name: As declared.
        spec: How it is reached.
        folder: Where its command is started.
    """

    def __init__(self, name: str, spec: ServerSpec, folder: Path) -> None:
        self.name = name
        self.spec = spec
        self._folder = folder
        self._connection: _Connection | None = None
        self._starts = 0
        self._lock = asyncio.Lock()

    def takes(self, tool: str) -> bool:
        """Say whether the operator wants a tool of it."""
        return not self.spec.tools or tool in self.spec.tools

    async def describe(self) -> tuple[dict[str, Described], list[str]]:
        """Return the tools that it has now, by short name, and what is wrong with others.

        Raises:
            ToolError: It cannot be reached.
        """
        tools = (await self._connected()).tools.values()
        return usable(tool for tool in tools if self.takes(tool.name))

    async def call(self, tool: Described, arguments: dict[str, Any]) -> Any:
        """Call a tool as it was accepted; cancelled here, it is cancelled there.

        Raises:
            ToolError: The server cannot be reached (`unavailable` and `unsent`), ended (`unavailable`), refused, or
                describes the tool otherwise by now.
        """
        connection = await self._connected()
        now = connection.tools.get(tool.name)
        if now is None or now.hash != tool.hash:
            what = "is gone from" if now is None else "is described otherwise by"
            raise ToolError(
                f"{tool.name} {what} the server {self.name} since a person accepted it, so it is not called. "
                f"The operator can look at it with: quarterdeck mcp pin {self.name}"
            )
        return await connection.call(tool.name, arguments)

    async def close(self) -> None:
        """End the connection; the next call makes a new one."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()

    async def _connected(self) -> _Connection:
        async with self._lock:
            if self._connection is not None and self._connection.alive:
                return self._connection
            await self.close()
            if self._starts > MAX_RESTARTS:
                often = f"The server {self.name} ended {self._starts} times and is not started again."
                raise ToolError(often, error_class="unavailable", unsent=True)
            self._starts += 1
            connection = _Connection(self.name, self.spec, self._folder)
            await connection.open()
            self._connection = connection
            return connection


class _Connection:
    """A session with a server, opened and closed in a task of its own, as the library's scopes demand."""

    def __init__(self, name: str, spec: ServerSpec, folder: Path) -> None:
        self._name = name
        self._spec = spec
        self._folder = folder
        self._session: Any = None
        self._done = asyncio.Event()
        self._ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._broken: asyncio.Future[tuple[Failure, Any]] = asyncio.get_running_loop().create_future()
        self._task: asyncio.Task[None] | None = None
        self.tools: dict[str, Described] = {}

    @property
    def alive(self) -> bool:
        return self._task is not None and not self._task.done() and not self._done.is_set()

    async def open(self) -> None:
        self._task = asyncio.create_task(self._serve(), name=f"mcp server {self._name}")
        try:
            async with asyncio.timeout(START_SECONDS):
                told: set[asyncio.Future[Any]] = {self._ready, self._broken}
                await asyncio.wait(told, return_when=asyncio.FIRST_COMPLETED)
        except BaseException as error:
            await self.close()
            if not isinstance(error, TimeoutError):
                raise
            late = f"The server {self._name} did not answer within {START_SECONDS:g} s."
            raise ToolError(late, error_class="timeout", unsent=True) from None
        if not self._ready.done():
            await self.close()
            raise self._unusable(self._broken.result()[0].text)
        self._ready.result()

    async def close(self) -> None:
        self._done.set()
        if self._task is None:
            return
        if not self._ready.done():
            self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        if self._ready.done() and not self._ready.cancelled():
            self._ready.exception()  # told already, or nobody is left to tell

    async def call(self, name: str, arguments: dict[str, Any]) -> Any:
        from mcp import types
        from mcp.shared.exceptions import McpError

        from quarterdeck.tools import mcp_http

        request = types.CallToolRequest(params=types.CallToolRequestParams(name=name, arguments=arguments))
        number: Any = None

        async def send() -> Any:
            nonlocal number  # taken at the moment of sending: another call may be on its way by then
            number = getattr(self._session, "_request_id", None)
            return await self._session.send_request(types.ClientRequest(request), types.CallToolResult)

        try:
            answer = await self._unless_broken(send(), lambda: number)
        except asyncio.CancelledError:
            await self._tell_cancelled(number)
            raise
        except McpError as error:
            if error.error.code == types.CONNECTION_CLOSED:
                self._done.set()
                raise self._ended("Its connection was closed") from None
            if error.error.code == mcp_http.REFUSED:
                refused = mcp_http.refusal(self._name, error.error.data)
                if refused.unsent:
                    self._done.set()
                raise refused from None
            raise ToolError(f"The server {self._name} refused: {error.error.message[:2000]}") from None
        except ToolError:
            raise
        except Exception as error:  # the library's streams raise several kinds of their own when the far end is gone
            self._done.set()
            raise self._ended(type(error).__name__) from None
        return _value(name, answer)

    def _broke(self, failure: Failure, number: Any) -> None:
        if not self._broken.done():
            self._broken.set_result((failure, number))
        self._done.set()

    def _ended(self, why: str) -> ToolError:
        said = f"The server {self._name} ended during the call, and nobody knows whether the call was done. {why}."
        return ToolError(said, error_class="unavailable")

    def _unusable(self, why: str, error: BaseException | None = None) -> ToolError:
        said = f"The server {self._name} cannot be used: {why}."
        if not isinstance(error, ToolError):
            return ToolError(said, error_class="unavailable", unsent=True)
        return ToolError(said, error_class=error.error_class, unsent=True, retry_after=error.retry_after)

    async def _unless_broken(self, work: Coroutine[Any, Any, Any], number: Callable[[], Any]) -> Any:
        """Await the answer to the request of a number, or the news that none will come."""
        answer = asyncio.ensure_future(work)
        try:
            await asyncio.wait({answer, self._broken}, return_when=asyncio.FIRST_COMPLETED)
            if not answer.done() or (self._broken.done() and answer.exception() is not None):
                failure, broken = self._broken.result()
                unsent = failure.unsent and broken == number()
                raise self._unusable(failure.text) if unsent else self._ended(failure.text)
            return answer.result()
        finally:
            if not answer.done():
                answer.cancel()
                await asyncio.wait({answer})

    async def _tell_cancelled(self, number: Any) -> None:
        """Tell the server that nobody waits for an answer any more; best effort, and at once."""
        from mcp import types

        if not isinstance(number, int):
            return
        gone = types.CancelledNotification(params=types.CancelledNotificationParams(requestId=number))
        with contextlib.suppress(Exception, TimeoutError):
            async with asyncio.timeout(1.0):
                await self._session.send_notification(types.ClientNotification(gone))

    async def _serve(self) -> None:
        try:
            from mcp import ClientSession

            logging.getLogger("mcp").setLevel(logging.CRITICAL)  # it logs whole messages; failures are told as results
            async with self._streams() as (reading, writing), ClientSession(reading, writing) as session:
                await session.initialize()
                self._session = session
                self.tools = await _listed(session)
                self._ready.set_result(None)
                await self._done.wait()
        except Exception as error:
            if not self._ready.done():
                inner = self._inner(error)
                self._ready.set_exception(self._unusable(_said(inner), inner))
        finally:
            self._done.set()

    def _inner(self, error: BaseException) -> BaseException:
        """Return what went wrong, from inside the groups that the library raises."""
        from mcp.shared.exceptions import McpError

        from quarterdeck.tools import mcp_http

        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        if isinstance(error, McpError) and error.error.code == mcp_http.REFUSED:
            return mcp_http.refusal(self._name, error.error.data)
        return error

    @contextlib.asynccontextmanager
    async def _streams(self) -> AsyncIterator[tuple[Any, Any]]:
        spec = self._spec
        if spec.command is not None:
            from mcp import StdioServerParameters
            from mcp.client.stdio import stdio_client

            env = {name: resolve(text) if text.startswith("env:") else text for name, text in spec.env.items()}
            start = StdioServerParameters(command=spec.command, args=list(spec.args), env=env, cwd=self._folder)
            with open(os.devnull, "w") as nowhere:
                async with stdio_client(start, errlog=nowhere) as streams:
                    yield streams
            return
        from mcp.client.streamable_http import streamable_http_client

        from quarterdeck.tools import mcp_http

        assert spec.url is not None
        headers = {"Authorization": f"Bearer {resolve(f'env:{spec.auth_env}')}"} if spec.auth_env else {}
        async with (
            mcp_http.client(headers, self._broke) as client,
            streamable_http_client(spec.url, http_client=client) as (reading, writing, _),
        ):
            yield reading, writing


def lock_file(workspace: Workspace) -> Path:
    """Return where the accepted tools of a workspace's servers are kept."""
    return workspace.root / "config" / "mcp.lock"


def pinned_names(workspace: Workspace) -> list[str]:
    """Return the names of the accepted tools of the declared servers, without reaching any server. Raises as `of`."""
    return [tool.name for tool in Servers.of(workspace).tools()]


async def _call(server: Server, tool: Described, /, **arguments: Any) -> Any:
    return await server.call(tool, arguments)


async def _listed(session: Any) -> dict[str, Described]:
    """Return all tools that a server has now, by its own names."""
    from mcp import types

    tools: dict[str, Described] = {}
    cursor: str | None = None
    for _ in range(MAX_PAGES):
        request = types.ListToolsRequest(params=types.PaginatedRequestParams(cursor=cursor))
        page = await session.send_request(types.ClientRequest(request), types.ListToolsResult)
        for tool in page.tools:
            tools.setdefault(tool.name, Described(tool.name, tool.description or "", tool.inputSchema))
        cursor = page.nextCursor
        if cursor is None:
            break
    return tools


def _value(name: str, answer: Any) -> Any:
    """Return what a tool answered: its structured content, else its texts; other content by kind and size alone."""
    parts = [_part(content) for content in answer.content[:1000]]
    text = "\n".join(parts)[:MAX_TEXT]
    if answer.isError:
        raise ToolError(f"{name}: {text[:4000] or 'it failed without a reason'}")
    structured = answer.structuredContent
    if structured is None or len(orjson.dumps(structured)) > MAX_TEXT:
        return text
    return structured["result"] if set(structured) == {"result"} else structured


def _part(content: Any) -> str:
    if content.type == "text":
        return str(content.text)
    if content.type == "resource":
        return str(getattr(content.resource, "text", f"[resource {content.resource.uri}]"))
    if content.type == "resource_link":
        return f"[resource {content.uri}]"
    return f"[{content.type}, {len(getattr(content, 'data', '')) * 3 // 4:,} bytes]"


def _said(error: BaseException) -> str:
    if isinstance(error, ToolError):
        return str(error).rstrip(".")[:500]
    return f"{type(error).__name__}: {error}"[:500] if str(error) else type(error).__name__
