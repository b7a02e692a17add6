"""Isolated tools: killed with all that they started, bounded, and never able to take the run with them."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.unit.tools import isolated_tools

from quarterdeck.errors import SpecError, ToolError
from quarterdeck.tools.execution import Executor
from quarterdeck.tools.isolation import _descendants
from quarterdeck.tools.manifest import tool
from quarterdeck.tools.signature import tool_from_function
from quarterdeck.tools.tool import ToolContext

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
WORK = tool_from_function(isolated_tools.work, "desk.work")


@pytest.fixture
def executor() -> Iterator[Executor]:
    executor = Executor(threads=1)
    yield executor
    executor.close()


def context(folder: Path) -> ToolContext:
    return ToolContext("r1", "r1:a/turn-1/tool-1", {}, folder)


async def ask(executor: Executor, folder: Path, timeout: float = 30, **arguments: Any) -> Any:
    return await executor.execute(WORK, arguments, context(folder), timeout)


async def test_it_answers_from_a_process_of_its_own(executor: Executor, tmp_path: Path) -> None:
    said = await ask(executor, tmp_path, what="add", n=4)
    assert (said["sum"], said["key"]) == (5, "r1:a/turn-1/tool-1") and said["pid"] != os.getpid()
    assert not os.path.exists(f"/proc/{said['pid']}")
    slow = tool_from_function(isolated_tools.slow, "desk.slow")
    assert await executor.execute(slow, {"n": 3}, None, 30) == 3


async def test_what_goes_wrong_in_it_arrives_typed(executor: Executor, tmp_path: Path) -> None:
    with pytest.raises(ToolError, match="the desk is closed") as refused:
        await ask(executor, tmp_path, what="refuse")
    assert (refused.value.error_class, refused.value.unsent, refused.value.retry_after) == ("unavailable", True, 2.0)
    with pytest.raises(ToolError, match="ended itself: SystemExit: 3") as left:
        await ask(executor, tmp_path, what="leave")
    assert (left.value.error_class, left.value.unsent) == ("killed", False)
    for what, said in (("break", "ValueError: bad luck"), ("eat", "MemoryError: ")):
        with pytest.raises(RuntimeError) as raised:
            await ask(executor, tmp_path, what=what)
        assert f"{type(raised.value).__name__}: {raised.value}" == said


async def test_a_process_that_dies_is_an_error_of_its_call(executor: Executor, tmp_path: Path) -> None:
    for what in ("crash", "burn"):
        with pytest.raises(ToolError, match="its process ended before it answered") as died:
            await ask(executor, tmp_path, what=what)
        assert died.value.error_class == "killed"
    assert len(str(await ask(executor, tmp_path, what="flood"))) < 8_000_000


async def test_at_the_deadline_it_is_killed_with_all_that_it_started(executor: Executor, tmp_path: Path) -> None:
    call = asyncio.create_task(ask(executor, tmp_path, timeout=60, what="hang"))
    ready = tmp_path / "ready"
    while not (ready.exists() and ready.read_text()):
        await asyncio.sleep(0.02)
    worker = int(ready.read_text())
    started = [worker, *_descendants(worker)]
    assert len(started) >= 3  # the daemon that left its session among them
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    until = time.monotonic() + 5
    while any(_lives(pid) for pid in started) and time.monotonic() < until:
        await asyncio.sleep(0.02)
    assert not [pid for pid in started if _lives(pid)]


async def test_a_timeout_says_so(executor: Executor, tmp_path: Path) -> None:
    began = time.monotonic()
    with pytest.raises(TimeoutError, match=r"desk\.work did not finish within 0\.2 s"):
        await ask(executor, tmp_path, timeout=0.2, what="hang")
    assert time.monotonic() - began < 10


def _lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_only_what_another_process_can_find_is_isolated() -> None:
    @tool(isolated=True)
    def inner() -> None:
        """Do nothing."""

    with pytest.raises(SpecError, match="top level of a file"):
        tool_from_function(inner)
