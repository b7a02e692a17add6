"""Sync tools run in a few processes that serve many calls, and whatever such a tool does, its process can be killed."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from tests.unit.tools import pooled_tools

from quarterdeck.engine.member import crewai_classes
from quarterdeck.errors import ToolError
from quarterdeck.spec.services import ServicesConfig, WebSpec
from quarterdeck.tools import backups, pool
from quarterdeck.tools.execution import Executor
from quarterdeck.tools.failures import failure_of
from quarterdeck.tools.isolation import _descendants, _is_alive
from quarterdeck.tools.loading import load_module
from quarterdeck.tools.places import place_of
from quarterdeck.tools.pool import MAX_WORKERS, Pool
from quarterdeck.tools.signature import tool_from_crewai, tool_from_function
from quarterdeck.tools.tool import RootFolder, Tool, ToolContext

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
FILE = Path(pooled_tools.__file__)
DESK = load_module(FILE, FILE.parent)
WORK = tool_from_function(DESK.work, "desk.work")


@pytest.fixture
def executor() -> Iterator[Executor]:
    executor = Executor(threads=2)
    yield executor
    executor.close()


def context(folder: Path, **more: Any) -> ToolContext:
    return ToolContext("r1", "r1:a/turn-1/tool-1", {"order": "1182"}, folder, path="a/turn-1/tool-1", **more)


async def ask(executor: Executor, folder: Path, timeout: float = 60, **arguments: Any) -> Any:
    return await executor.execute(WORK, arguments, context(folder), timeout)


async def pid_of(executor: Executor, folder: Path) -> int:
    pid: int = (await ask(executor, folder, what="add"))["pid"]
    return pid


async def gone(*pids: int) -> bool:
    until = time.monotonic() + 10
    while any(map(_is_alive, pids)) and time.monotonic() < until:
        await asyncio.sleep(0.02)
    return not any(map(_is_alive, pids))


async def ready(folder: Path) -> int:
    """Wait until the tool runs; return its process."""
    file = folder / "ready"
    while not (file.exists() and file.read_text()):
        await asyncio.sleep(0.02)
    return int(file.read_text())


async def test_one_process_serves_one_call_after_the_other(executor: Executor, tmp_path: Path) -> None:
    given = context(
        tmp_path,
        roots={"shop": RootFolder(tmp_path / "shop", write=True)},
        services=ServicesConfig(web=WebSpec(user_agent="desk")),
    )
    first = await executor.execute(WORK, {"what": "add", "n": 4}, given, 60)
    assert first.pop("pid") != os.getpid()
    assert first == {
        "sum": 4, "key": "r1:a/turn-1/tool-1", "calls": 1, "inputs": {"order": "1182"}, "path": "a/turn-1/tool-1",
        "roots": {"shop": [str(tmp_path / "shop"), True]}, "agent": "desk",
    }  # fmt: skip
    second = await ask(executor, tmp_path, what="add", n=5)
    third = await executor.execute(WORK, {"what": "add"}, replace(given, run_id="r2"), 60)
    assert second["pid"] == third["pid"]
    assert (second["sum"], second["calls"]) == (9, 2)  # what a module keeps, and a run's state, are the process's own
    assert (third["sum"], third["calls"]) == (9, 1)
    assert DESK.seen == [] and given.state == {}


@pytest.mark.parametrize("what", ["sleep", "spin", "hold the lock", "stop"])
async def test_at_its_deadline_it_is_killed_whatever_it_does(executor: Executor, tmp_path: Path, what: str) -> None:
    before = await pid_of(executor, tmp_path)
    with pytest.raises(TimeoutError, match=r"desk\.work did not finish within 1 s"):
        await ask(executor, tmp_path, timeout=1, what=what)
    assert not _is_alive(before)  # at once, not some time later
    after = await pid_of(executor, tmp_path)
    assert after != before


async def test_a_cancelled_call_is_killed_with_all_that_it_started(executor: Executor, tmp_path: Path) -> None:
    call = asyncio.create_task(ask(executor, tmp_path, what="sleep"))
    worker = await ready(tmp_path)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert not _is_alive(worker)


@pytest.mark.parametrize("what", ["exit", "crash"])
async def test_a_process_that_dies_is_an_error_of_its_call(executor: Executor, tmp_path: Path, what: str) -> None:
    with pytest.raises(ToolError, match="its process ended before it answered") as died:
        await ask(executor, tmp_path, what=what)
    assert died.value.error_class == "killed" and not died.value.unsent
    assert await pid_of(executor, tmp_path) != os.getpid()


async def test_a_process_that_died_while_it_was_idle_is_no_error(executor: Executor, tmp_path: Path) -> None:
    before = await pid_of(executor, tmp_path)
    os.kill(before, signal.SIGKILL)
    assert await gone(before)
    assert await pid_of(executor, tmp_path) != before


async def test_what_goes_wrong_in_it_arrives_typed(executor: Executor, tmp_path: Path) -> None:
    for what, expected in (
        ("refuse", ("rate_limited", "the desk is closed", True, 2.0)),
        ("break", ("bug", "desk.work failed: ValueError: bad luck", False, None)),
        ("leave", ("killed", "ended itself: SystemExit: 3", False, None)),
        ("unreachable", ("unavailable", "nobody there", True, None)),
    ):
        with pytest.raises(Exception) as raised:
            await ask(executor, tmp_path, what=what)
        failure = failure_of("desk.work", raised.value)
        assert (failure.error_class, failure.unsent, failure.retry_after) == (expected[0], *expected[2:])
        assert expected[1] in failure.text
    assert (await ask(executor, tmp_path, what="add"))["calls"] == 1  # and the process is there


@pytest.mark.parametrize("what", ["daemon", "fork", "thread"])
async def test_what_a_call_leaves_behind_ends_with_it(executor: Executor, tmp_path: Path, what: str) -> None:
    before = await pid_of(executor, tmp_path)
    await ask(executor, tmp_path, what=what)
    assert not _is_alive(before) and _descendants(os.getpid()) == []
    assert await pid_of(executor, tmp_path) != before


async def test_results_are_what_json_has_of_them(executor: Executor, tmp_path: Path) -> None:
    odd = await ask(executor, tmp_path, what="odd")
    assert odd == {"at": "2026-05-01", "in": "a/b", "set": [1], "what": "<class 'object'>", "3": "[3 bytes]"}
    large = await ask(executor, tmp_path, what="flood")
    assert 9_000_000 < len(str(large)) < 10_700_000 and large[-1].startswith("[cut:")


async def test_arguments_are_the_same_on_the_other_side(executor: Executor) -> None:
    tool = tool_from_function(DESK.until, "desk.until")
    assert place_of(tool) == "process"  # it is wrapped, and found again all the same
    said = await executor.execute(tool, {"day": date(2026, 5, 1), "least": 3}, None, 60)
    assert said["said"] == "01.05.2026 3" and said["pid"] != os.getpid()


async def test_a_process_has_the_surroundings_of_the_program(
    executor: Executor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = await ask(executor, tmp_path, what="around")
    monkeypatch.setenv("DESK", "open")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend("/somewhere/else")
    second = await ask(executor, tmp_path, what="around")
    assert first[0] == "" and second[:3] == ["open", str(tmp_path), True] and first[3] != second[3]


async def test_a_thousand_calls_take_few_processes_and_leave_none(tmp_path: Path) -> None:
    executor = Executor()
    said = await asyncio.gather(*(ask(executor, tmp_path, what="add", n=1) for _ in range(1000)))
    pids = {one["pid"] for one in said}
    assert 1 < len(pids) <= MAX_WORKERS
    later = [await pid_of(executor, tmp_path) for _ in range(5)]
    assert len(set(later)) == 1 and set(later) <= pids  # the warm one, so that the others may end
    executor.close()
    assert await gone(*pids)
    with pytest.raises(RuntimeError, match="closed"):
        await ask(executor, tmp_path, what="add")


async def test_idle_processes_end(tmp_path: Path) -> None:
    executor = Executor()
    executor._pool = Pool(idle_seconds=0.2)
    first = await pid_of(executor, tmp_path)
    assert await gone(first)
    assert await pid_of(executor, tmp_path) != first
    executor.close()


async def test_a_call_for_which_no_process_is_free_was_never_begun(tmp_path: Path) -> None:
    executor = Executor(processes=1)
    first = asyncio.create_task(ask(executor, tmp_path, what="sleep"))
    worker = await ready(tmp_path)
    with pytest.raises(ToolError, match=r"not begun within 0\.2 s") as late:
        await ask(executor, tmp_path, timeout=0.2, what="exit")
    assert (late.value.error_class, late.value.unsent) == ("timeout", True)
    assert _is_alive(worker)  # that of the other call
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    assert (await ask(executor, tmp_path, what="add"))["calls"] == 1
    executor.close()


async def test_a_process_that_cannot_start_is_an_error_of_its_call(
    executor: Executor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for command in (["/nowhere/python"], [sys.executable, "-c", "print()"], [sys.executable, "-c", "pass"]):
        monkeypatch.setattr(pool, "worker_command", lambda command=command: command)
        with pytest.raises(ToolError) as failed:
            await ask(executor, tmp_path, what="add")
        assert failed.value.error_class == ("killed" if "print()" in command else "unavailable")
        assert failed.value.unsent == ("print()" not in command)
    monkeypatch.setattr(pool, "START_SECONDS", 0.1)
    monkeypatch.setattr(pool, "worker_command", lambda: [sys.executable, "-c", "import time; time.sleep(60)"])
    with pytest.raises(ToolError, match="not ready in time"):
        await ask(executor, tmp_path, what="add")
    monkeypatch.undo()
    assert await pid_of(executor, tmp_path) != os.getpid()


def test_an_executor_serves_several_event_loops(executor: Executor, tmp_path: Path) -> None:
    said: list[int] = []

    def run() -> None:
        async def twice() -> None:
            said.extend([await pid_of(executor, tmp_path), await pid_of(executor, tmp_path)])

        asyncio.run(twice())

    run()
    threads = [threading.Thread(target=run) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(said) == 8 and os.getpid() not in said and len(set(said)) <= 4


async def test_a_loop_that_ended_keeps_nobody_waiting(executor: Executor, tmp_path: Path) -> None:
    def leave() -> None:
        loop = asyncio.new_event_loop()
        call = loop.create_task(ask(executor, tmp_path, what="sleep"))
        loop.run_until_complete(asyncio.wait_for(ready(tmp_path), 30))
        call.cancel()
        loop.run_until_complete(asyncio.gather(call, return_exceptions=True))
        loop.close()

    await asyncio.to_thread(leave)
    assert not _is_alive(int((tmp_path / "ready").read_text()))
    assert await pid_of(executor, tmp_path) != os.getpid()


def test_kill_9_of_the_program_leaves_no_process(tmp_path: Path) -> None:
    program = f"""
import asyncio
from pathlib import Path
from tests.unit.tools.test_pool import ask
from quarterdeck.tools.execution import Executor
asyncio.run(ask(Executor(), Path({str(tmp_path)!r}), what="sleep"))
"""
    root = Path(__file__).parents[3]
    running = subprocess.Popen([sys.executable, "-c", program], cwd=root)
    worker = asyncio.run(asyncio.wait_for(ready(tmp_path), 60))
    assert _is_alive(worker) and worker != running.pid
    running.kill()
    running.wait()
    assert asyncio.run(gone(worker))


async def test_verify_and_undo_are_killed_too(executor: Executor, tmp_path: Path) -> None:
    given = context(tmp_path, force=True)
    for function, what in ((DESK.looked, "add"), (DESK.looked, "hang")):
        look = Tool("desk.work.verify", "", {}, partial(function, {"what": what}, {"pid": 0}, given))
        if what == "add":
            assert await executor.execute(look, {}, None, 60) is True
        else:
            with pytest.raises(TimeoutError):
                await executor.execute(look, {}, None, 1)
    back = Tool("desk.work (undo)", "", {}, DESK.taken_back, manifest=WORK.manifest.beside())
    keywords = {"arguments": {"what": "add"}, "result": [1], "context": given}
    assert await executor.execute(back, keywords, None, 60) == "took back add of a/turn-1/tool-1"
    with pytest.raises(TimeoutError):
        await executor.execute(back, {**keywords, "arguments": {"what": "hang"}}, None, 2)
    assert '"force": true' in (tmp_path / "undo.json").read_text()


async def test_a_file_that_changed_meanwhile_is_not_run(executor: Executor, tmp_path: Path) -> None:
    file = tmp_path / "till.py"
    file.write_text('def count() -> int:\n    """Count."""\n    return 1\n')
    tool = tool_from_function(load_module(file, tmp_path).count, "till.count")
    file.write_text('def count() -> int:\n    """Count."""\n    return 2 * 1\n')
    with pytest.raises(ToolError, match=r"till\.py has changed since this run loaded it") as changed:
        await executor.execute(tool, {}, None, 60)
    assert changed.value.unsent
    again = tool_from_function(load_module(file, tmp_path).count, "till.count")
    assert await executor.execute(again, {}, None, 60) == 2


async def test_where_a_tool_runs(executor: Executor) -> None:
    """By its manifest, else by whether another process can find it."""

    def inner() -> int:
        """Return the process."""
        return os.getpid()

    kinds: dict[str, tuple[Callable[..., Any], ...]] = {
        "process": (DESK.work, DESK.until, DESK.taken_back, partial(DESK.looked, {})),
        "own process": (DESK.alone,),
        "event loop": (DESK.looped,),
        # state shared outright, no name of their own, given by the program, and Quarterdeck's own
        "thread: cannot be killed": (DESK.here, inner, lambda: 1, [].append, pooled_tools.until, backups.restore),
    }
    for place, functions in kinds.items():
        for function in functions:
            manifest = getattr(function, "__quarterdeck_manifest__", Tool("", "", {}, function).manifest)
            assert place_of(Tool("t.f", "", {}, function, manifest=manifest)) == place, function
    here = tool_from_function(DESK.here, "desk.here")
    assert await executor.execute(here, {}, None, 60) == os.getpid() and DESK.seen.pop() == 1


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # CrewAI deprecates what its own code uses
async def test_crewai_tools_run_in_a_process(executor: Executor, tmp_path: Path) -> None:
    """They are rebuilt there from their class and fields; those that hold more than data stay in a thread."""
    crewai_classes()
    import tests.unit.tools.crewai_tools as shop

    counter = tool_from_crewai(shop.Counter(shop="north", shelves=["a", "b"]), timeout=60)
    assert place_of(counter) == "process"
    said = await executor.execute(counter, {"what": "add", "n": 2}, None, 60)
    assert said == {"shop": "north", "shelves": ["a", "b"], "n": 2, "limit": 5, "pid": said["pid"]}
    assert said["pid"] != os.getpid()
    with pytest.raises(TimeoutError):
        await executor.execute(counter, {"what": "hang", "n": 2}, None, 2)
    decorated = tool_from_crewai(shop.double)
    assert place_of(decorated) == "process"
    assert (await executor.execute(decorated, {"n": 4}, None, 60))[0] == 8

    class Local(shop.Counter):
        pass

    connected = shop.Counter(shop="south", shelves=[])
    connected._line = object()
    for tool in (Local(shop="x", shelves=[]), connected, shop.Counter(shop="x", shelves=[], keeper=object())):
        assert place_of(tool_from_crewai(tool)) == "thread: cannot be killed"
    here = await executor.execute(tool_from_crewai(connected), {"what": "add", "n": 1}, None, 60)
    assert here["pid"] == os.getpid()
