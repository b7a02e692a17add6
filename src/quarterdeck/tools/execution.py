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
from quarterdeck.tools.composite import STOPS, InnerCalls
from quarterdeck.tools.isolation import run_isolated
from quarterdeck.tools.orders import ended_itself, order_of, raised
from quarterdeck.tools.places import OWN_PROCESS, PROCESS, is_async, place_of
from quarterdeck.tools.pool import MAX_WORKERS, Call, Pool
from quarterdeck.tools.tool import Tool, ToolContext

MAX_THREADS = 64


@dataclass(slots=True)
class _Job:
    name: str
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
        except BaseException as error:  # sys.exit() in a tool ends the call, never the thread
            failure = ended_itself(self.name, type(error).__name__, str(error))
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
    """Runs tools: async ones in the event loop, sync ones in processes that can be killed, or in threads.

    `tools.places` says which of the latter. The threads are daemons, unlike those of `concurrent.futures`: a tool that
    hangs keeps its thread, but neither the run nor the end of the program waits for it. May be used from any number of
    event loops.

    Args:
        threads: How many sync tools may run at once in threads; more of them wait within their own deadline.
        processes: How many may run at once in processes.
    """

    def __init__(self, threads: int = MAX_THREADS, processes: int = MAX_WORKERS) -> None:
        self._limit = threads
        self._pool = Pool(processes)
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
            What the function returned, unshaped; as JSON has it, where it ran in a process.

        Raises:
            TimeoutError: It did not finish in time; an async tool was cancelled, the process of a sync one was killed,
                and one in a thread is left behind there.
            ToolError: A process was not free, or not ready, in time (class `timeout`, unsent), or it died (`killed`);
                or the tool itself ended by what no failure is, such as `SystemExit` (`killed`).
            Waiting: A call within it waits for a person. Likewise `LimitReached` and `JournalError`: only a call within
                a tool says them, never its own code, unless it is the engine's own.
            CancelledError: The caller was cancelled.
            Exception: Whatever else the tool raised; a `TimeoutError` of its own comes as `ToolError` of class
                `timeout`.
        """
        try:
            result = await self._carry_out(tool, arguments, context, timeout)
        except BaseException as error:
            task = asyncio.current_task()
            if (task is not None and task.cancelling()) or (tool.of_engine and isinstance(error, STOPS)):
                raise
            meant = _stopped(context) or _as_failure(tool.name, error)
            if meant is error:
                raise
            raise meant from error
        if stopped := _stopped(context):
            raise stopped  # what it made of that is no result: it is to be called again
        return result

    async def _carry_out(
        self, tool: Tool, arguments: dict[str, Any], context: ToolContext | None, timeout: float
    ) -> Any:
        """Call a tool; let out whatever it raises."""
        deadline = asyncio.timeout(timeout)
        call: Call | None = None
        try:
            async with deadline:
                place = place_of(tool)
                if place == OWN_PROCESS:
                    return await run_isolated(tool, arguments, context)
                if place == PROCESS and (order := order_of(tool, arguments, context)) is not None:
                    call = Call(tool.name, order)
                    self._pool.submit(call)
                    return await call.result()
                keywords = {**arguments, "context": context} if tool.takes_context else arguments
                if is_async(tool.function):
                    return await tool.function(**keywords)
                result = await self._in_thread(tool.name, lambda: tool.function(**keywords))
                return await result if inspect.isawaitable(result) else result
        except TimeoutError as error:
            if not deadline.expired():
                raise ToolError(
                    f"{tool.name}: something it waited for timed out: {error}".rstrip(": "), error_class="timeout"
                ) from error
            if call is not None and not call.begun:
                raise ToolError(
                    f"{tool.name} was not begun within {timeout:g} s: no process was free for it, or ready in time.",
                    error_class="timeout", unsent=True,
                ) from None  # fmt: skip
            raise TimeoutError(f"{tool.name} did not finish within {timeout:g} s") from None

    def close(self) -> None:
        """Let the idle threads and processes end; no call may follow."""
        self._pool.close()
        with self._lock:
            self._closed = True
            for _ in range(self._threads):
                self._jobs.put(None)

    async def _in_thread(self, name: str, function: Callable[[], Any]) -> Any:
        loop = asyncio.get_running_loop()
        job = _Job(name, function, loop, loop.create_future())
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


def _stopped(context: ToolContext | None) -> Exception | None:
    """Return what a call within a composite tool has said to the run; the tool cannot take it back."""
    return context.call.stopped if context is not None and isinstance(context.call, InnerCalls) else None


def _as_failure(name: str, error: BaseException) -> BaseException:
    """Return what a tool raised as a failure: nothing that its own code raises ends, or stops, the run."""
    if not isinstance(error, Exception):
        return ended_itself(name, type(error).__name__, str(error))
    return raised(type(error).__name__, str(error)) if isinstance(error, STOPS) else error
