"""Carrying out a tool call under a deadline."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from quarterdeck.errors import ToolError
from quarterdeck.tools.isolation import run_isolated
from quarterdeck.tools.tool import Tool, ToolContext

MAX_THREADS = 64


@dataclass(slots=True)
class _Job:
    function: Callable[[], Any]
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[Any]
    context: contextvars.Context = field(default_factory=contextvars.copy_context)

    def run(self) -> None:
        if self.future.cancelled():
            return
        result: Any = None
        failure: Exception | None = None
        try:
            result = self.context.run(self.function)
        except StopIteration as error:  # a future cannot carry it
            failure = RuntimeError(f"StopIteration: {error}")
        except Exception as error:
            failure = error
        except BaseException as error:  # sys.exit() in a tool ends the call, never the process
            failure = RuntimeError(f"{type(error).__name__}: {error}")
        try:
            self.loop.call_soon_threadsafe(self._settle, result, failure)
        except RuntimeError:
            return  # the loop is gone, and with it everyone who waited

    def _settle(self, result: Any, failure: Exception | None) -> None:
        if self.future.done():
            return
        if failure is None:
            self.future.set_result(result)
        else:
            self.future.set_exception(failure)


class Executor:
    """Runs tools: async ones in the event loop, sync ones in a bounded number of threads, isolated ones in processes.

    The threads are daemons, unlike those of `concurrent.futures`: a tool that hangs keeps its thread, but neither
    the run nor the end of the program waits for it.

    Args:
        threads: How many sync tools may run at once; more of them wait within their own deadline.
    """

    def __init__(self, threads: int = MAX_THREADS) -> None:
        self._limit = threads
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._threads = 0
        self._pending = 0
        self._closed = False

    async def execute(self, tool: Tool, arguments: dict[str, Any], context: ToolContext | None, timeout: float) -> Any:
        """Call a tool.

        Args:
            tool: What to call.
            arguments: Validated.
            context: What the tool may know of the run; handed over only if it asks for it.
            timeout: Seconds; afterwards nobody waits for the tool any more.

        Returns:
            What the function returned, unshaped.

        Raises:
            TimeoutError: It did not finish in time; an async tool was cancelled, the process of an isolated one was
                killed, a sync one is left behind in its thread.
            Exception: Whatever the tool raised; a `TimeoutError` of its own comes as `ToolError` of class `timeout`.
        """
        keywords = {**arguments, "context": context} if tool.takes_context else arguments
        deadline = asyncio.timeout(timeout)
        try:
            async with deadline:
                if tool.manifest.isolated:
                    return await run_isolated(tool, arguments, context)
                if _is_async(tool.function):
                    return await tool.function(**keywords)
                result = await self._in_thread(lambda: tool.function(**keywords))
                return await result if inspect.isawaitable(result) else result
        except TimeoutError as error:
            if deadline.expired():
                raise TimeoutError(f"{tool.name} did not finish within {timeout:g} s") from None
            raise ToolError(
                f"{tool.name}: something it waited for timed out: {error}".rstrip(": "), error_class="timeout"
            ) from error
        except (SystemExit, KeyboardInterrupt) as error:
            if _is_async(tool.function) and isinstance(error, SystemExit):
                raise RuntimeError(f"SystemExit: {error}") from error
            raise

    def close(self) -> None:
        """Let the idle threads end; no call may follow."""
        with self._lock:
            self._closed = True
            for _ in range(self._threads):
                self._jobs.put(None)

    async def _in_thread(self, function: Callable[[], Any]) -> Any:
        loop = asyncio.get_running_loop()
        job = _Job(function, loop, loop.create_future())
        with self._lock:
            if self._closed:
                raise RuntimeError("the executor is closed")
            self._pending += 1
            if self._pending > self._threads and self._threads < self._limit:
                self._threads += 1
                threading.Thread(target=self._work, name=f"tool-{self._threads}", daemon=True).start()
            self._jobs.put(job)
        return await job.future

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            try:
                job.run()
            finally:
                with self._lock:
                    self._pending -= 1
            del job  # its arguments and result must not live on while this thread is idle


def _is_async(function: Callable[..., Any]) -> bool:
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(
        getattr(function, "__call__", None)  # noqa: B004 - an instance may have an async __call__
    )
