from __future__ import annotations

import asyncio
import dataclasses
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from quarterdeck.errors import JournalError, LimitReached, ToolError, Waiting
from quarterdeck.tools.composite import InnerCalls
from quarterdeck.tools.execution import Executor
from quarterdeck.tools.tool import Tool, ToolContext

CONTEXT = ToolContext("r1", "r1:a", {}, Path("nowhere"))


def tool(function: Callable[..., Any], **more: Any) -> Tool:
    return Tool("t.f", "A tool.", {}, function, **more)


@pytest.fixture
def executor() -> Iterator[Executor]:
    executor = Executor(threads=4)
    yield executor
    executor.close()


async def test_sync_and_async_tools_give_their_results(executor: Executor) -> None:
    async def double(n: int, context: ToolContext) -> tuple[int, str]:
        return n * 2, context.run_id

    assert await executor.execute(tool(double, takes_context=True), {"n": 2}, CONTEXT, 5) == (4, "r1")
    assert await executor.execute(tool(lambda n: n + 1), {"n": 2}, CONTEXT, 5) == 3


async def test_sync_tools_run_beside_the_event_loop_in_a_bounded_number_of_threads(executor: Executor) -> None:
    running, most = 0, 0
    lock = threading.Lock()

    def work() -> str:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        time.sleep(0.01)
        with lock:
            running -= 1
        return threading.current_thread().name

    names = await asyncio.gather(*(executor.execute(tool(work), {}, CONTEXT, 5) for _ in range(20)))
    assert 1 < most <= 4 and 1 < len(set(names)) <= 4
    assert threading.current_thread().name not in names


async def test_a_deadline_ends_the_wait_for_both_kinds(executor: Executor) -> None:
    ended = asyncio.Event()
    release = threading.Event()

    async def slow() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            ended.set()

    for function in (slow, release.wait):
        started = time.monotonic()
        with pytest.raises(TimeoutError, match=r"t\.f did not finish within 0\.05 s"):
            await executor.execute(tool(function), {}, CONTEXT, 0.05)
        assert time.monotonic() - started < 2
    assert ended.is_set()
    release.set()


async def test_tools_that_hang_take_their_threads_but_not_the_executor_s_answer() -> None:
    executor, release = Executor(threads=2), threading.Event()
    for _ in range(2):
        with pytest.raises(TimeoutError):
            await executor.execute(tool(release.wait), {}, CONTEXT, 0.01)
    calls: list[int] = []
    with pytest.raises(TimeoutError):
        await executor.execute(tool(lambda: calls.append(1)), {}, CONTEXT, 0.01)
    release.set()
    assert await executor.execute(tool(lambda: "free again"), {}, CONTEXT, 5) == "free again"
    assert calls == []  # what nobody waits for any more is not begun
    executor.close()


async def test_cancelling_the_run_cancels_the_call(executor: Executor) -> None:
    release = threading.Event()
    call = asyncio.create_task(executor.execute(tool(release.wait), {}, CONTEXT, 60))
    await asyncio.sleep(0.01)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    release.set()


async def test_what_a_tool_raises_arrives_and_never_ends_the_process(executor: Executor) -> None:
    def bad() -> None:
        raise ToolError("no such order")

    def leave() -> None:
        sys.exit(3)

    async def leave_async() -> None:
        sys.exit(3)

    def late() -> None:
        raise TimeoutError("socket")

    def stop() -> None:
        raise StopIteration("x")

    for function, kind, text in (
        (bad, ToolError, "no such order"),
        (leave, ToolError, r"t\.f ended itself: SystemExit: 3"),
        (leave_async, ToolError, r"t\.f ended itself: SystemExit: 3"),
        (late, ToolError, "timed out: socket"),
        (stop, RuntimeError, "StopIteration"),
    ):
        with pytest.raises(kind, match=text):
            await executor.execute(tool(function), {}, CONTEXT, 5)


def test_a_hanging_tool_does_not_keep_the_program_from_ending() -> None:
    program = """
import asyncio, time
from quarterdeck.tools.execution import Executor
from quarterdeck.tools.tool import Tool
async def main():
    try:
        await Executor().execute(Tool("a.b", "", {}, lambda: time.sleep(60)), {}, None, 0.05)
    except TimeoutError:
        print("left")
asyncio.run(main())
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=20, check=True)
    assert (done.stdout, done.stderr) == ("left\n", "")


async def test_a_closed_executor_says_so() -> None:
    executor = Executor()
    executor.close()
    with pytest.raises(RuntimeError, match="closed"):
        await executor.execute(tool(lambda: 1), {}, CONTEXT, 1)


class Odd(BaseException):
    """What no `except Exception` sees."""


ENDS = [
    asyncio.CancelledError("x"), KeyboardInterrupt("x"), SystemExit(3), GeneratorExit("x"), Odd("x"),
    BaseExceptionGroup("x", [asyncio.CancelledError("y")]),
]  # fmt: skip
STOPS = [Waiting("Pay the author.", code="approval"), LimitReached("no more", "seconds"), JournalError("full")]


@pytest.mark.parametrize("error", [*ENDS, *STOPS], ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("asynchronous", [True, False])
async def test_nothing_that_a_tool_raises_ends_or_stops_its_caller(
    executor: Executor, error: BaseException, asynchronous: bool
) -> None:
    def act() -> None:
        raise error

    async def act_async() -> None:
        await asyncio.sleep(0)
        raise error

    with pytest.raises(Exception, match=re.escape(type(error).__name__) if error in ENDS else str(error)) as raised:
        await executor.execute(tool(act_async if asynchronous else act), {}, CONTEXT, 5)
    assert not isinstance(raised.value, type(error))
    assert getattr(raised.value, "error_class", "bug") == ("killed" if error in ENDS else "bug")
    me = asyncio.current_task()
    assert me is not None and not me.cancelling()


async def test_a_tool_that_answers_the_real_cancellation_with_something_else_cannot_keep_it(executor: Executor) -> None:
    began = asyncio.Event()

    async def stubborn() -> None:
        began.set()
        try:
            await asyncio.sleep(60)
        finally:
            raise Odd("not now")

    call = asyncio.create_task(executor.execute(tool(stubborn), {}, CONTEXT, 60))
    await began.wait()
    call.cancel()
    with pytest.raises((asyncio.CancelledError, Odd)):
        await call


@pytest.mark.parametrize("taken_back", [False, True])
@pytest.mark.parametrize("stop", STOPS, ids=lambda error: type(error).__name__)
async def test_only_a_call_within_a_tool_stops_its_caller_and_the_tool_cannot_take_that_back(
    executor: Executor, stop: Exception, taken_back: bool
) -> None:
    async def make(number: int, name: str, arguments: dict[str, Any]) -> Any:
        raise stop

    async def composite(context: ToolContext) -> str:
        try:
            await context.call("desk.pay", {})
        except Exception:
            if not taken_back:
                raise
        return "paid"

    context = dataclasses.replace(CONTEXT, call=InnerCalls(make))
    with pytest.raises(type(stop)) as raised:
        await executor.execute(tool(composite, takes_context=True), {}, context, 5)
    assert raised.value is stop
