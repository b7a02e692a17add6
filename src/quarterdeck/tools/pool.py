"""Warm processes in which sync tools are called, so that a call that hangs can be killed.

Each process belongs to one thread, which starts it, hands it one call after the other and waits for the answers. So no
pipe belongs to an event loop, and an executor may be used from any number of them.
"""

from __future__ import annotations

import asyncio
import os
import queue
import select
import subprocess
import sys
import threading
from collections import deque
from typing import Any

import orjson

from quarterdeck.errors import ToolError
from quarterdeck.tools.isolation import MAX_ANSWER, ended_early, kill_tree, too_large, worker_command
from quarterdeck.tools.orders import result_of

MAX_WORKERS = 8
"""Processes of one executor; more calls wait, within their own deadlines."""
IDLE_SECONDS = 60.0
"""After which a process ends that nobody needs."""
START_SECONDS = 60.0
"""That a process may take until it is ready."""
KILL_SECONDS = 5.0
"""That a call waits at most until its killed process is gone."""

Surroundings = tuple[str, tuple[str, ...], dict[str, str]]


class Call:
    """One call on its way to a process and back. Belongs to the event loop on which it is made.

    Args:
        name: Of the tool, for errors.
        order: One line, as `orders.order_of` makes it.
    """

    def __init__(self, name: str, order: bytes) -> None:
        self.name = name
        self.order = order
        self.surroundings = surroundings()
        self.begun = False
        self._loop = asyncio.get_running_loop()
        self._settled: asyncio.Future[Any] = self._loop.create_future()
        self._lock = threading.Lock()
        self._worker: Worker | None = None
        self._left = False

    async def result(self) -> Any:
        """Wait for what the tool returns; when this is cancelled, its process is killed, and is gone afterwards.

        Raises:
            ToolError: As `orders.result_of`; or the process died (class `killed`), or could not be started.
            RuntimeError: The tool raised something else; this one is of a kind of that name.
        """
        try:
            await asyncio.wait([self._settled])
        except asyncio.CancelledError:
            if self._leave():
                await asyncio.wait([self._settled], timeout=KILL_SECONDS)
            self._settled.cancel()
            raise
        return self._settled.result()()

    def begin(self, worker: Worker) -> bool:
        """Give it to a process; return False when nobody waits for it any more."""
        with self._lock:
            if not self._left:
                self._worker, self.begun = worker, True
            return not self._left

    def end(self) -> None:
        """Take it from its process, which from now on is not killed on its account."""
        with self._lock:
            self._worker = None

    def settle(self, said: dict[str, Any] | Exception) -> None:
        """Tell whoever waits what became of it; may be called from any thread."""

        def result() -> Any:
            if isinstance(said, Exception):
                raise said
            return result_of(said)

        def tell() -> None:
            if not self._settled.done():
                self._settled.set_result(result)

        try:
            self._loop.call_soon_threadsafe(tell)
        except RuntimeError:
            return  # the loop is gone, and with it everyone who waited

    def _leave(self) -> bool:
        """Kill its process, else see that it is never begun; return whether it had been begun."""
        with self._lock:
            self._left = True
            if self._worker is not None:
                self._worker.kill()
            return self.begun


class Worker:
    """A process that serves calls. Starting it waits until it is ready.

    Args:
        around: The working folder, the import path and the environment that it starts with.

    Raises:
        OSError: It cannot be started.
    """

    def __init__(self, around: Surroundings) -> None:
        self._around = around
        self._lock = threading.Lock()
        self._killed = self._gone = False
        self._process = subprocess.Popen(
            worker_command(),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            start_new_session=True, cwd=around[0] or None, env=around[2],
        )  # fmt: skip
        assert self._process.stdin is not None and self._process.stdout is not None
        self._orders, self._answers = self._process.stdin, self._process.stdout
        poll = select.poll()
        poll.register(self._answers, select.POLLIN)
        if not poll.poll(START_SECONDS * 1000) or not self._answers.readline(MAX_ANSWER):
            self.end()
            raise OSError("a process for tools ended, or was not ready in time")

    def ask(self, call: Call) -> dict[str, Any]:
        """Hand it a call; return its answer.

        Raises:
            ToolError: It died (class `killed`), or says more than is read.
        """
        try:
            self._orders.write(call.order)
            self._orders.flush()
            line = self._answers.readline(MAX_ANSWER)
        except OSError:
            line = b""
        if len(line) == MAX_ANSWER:
            raise too_large(call.name)
        try:
            said = orjson.loads(line)
        except orjson.JSONDecodeError:
            said = None
        if not isinstance(said, dict):
            raise ended_early(call.name)
        return said

    def serves(self, around: Surroundings) -> bool:
        """Return whether it can serve a call that is made in such surroundings."""
        return self._around == around and not self._killed and self._process.poll() is None

    def kill(self) -> None:
        """Kill it with everything that it started; harmless when repeated."""
        with self._lock:
            self._killed = True
            if not self._gone and self._process.returncode is None:  # else its number may be another's by now
                kill_tree(self._process.pid)

    def end(self) -> None:
        """Kill it, and wait until it is gone."""
        self.kill()
        for pipe in (self._orders, self._answers):
            try:
                pipe.close()
            except OSError:
                continue  # an order that it never read
        with self._lock:
            self._process.wait()
            self._gone = True


class Pool:
    """At most so many threads, each with its process; they are made when they are needed and end when they are idle.

    Args:
        limit: How many.
        idle_seconds: How long one is kept that has nothing to do.
    """

    def __init__(self, limit: int = MAX_WORKERS, idle_seconds: float = IDLE_SECONDS) -> None:
        self._limit = limit
        self._idle_seconds = idle_seconds
        self._lock = threading.Lock()
        self._lanes = 0
        self._idle: list[queue.SimpleQueue[Call | None]] = []
        self._waiting: deque[Call] = deque()
        self._closed = False

    def submit(self, call: Call) -> None:
        """Have a call made as soon as a process is free.

        Raises:
            RuntimeError: The pool is closed.
        """
        with self._lock:
            if self._closed:
                raise RuntimeError("the executor is closed")
            if self._idle:
                self._idle.pop().put(call)  # the one that was at work last: its process is warm, and others may end
            else:
                self._waiting.append(call)
                if self._lanes < self._limit:
                    threading.Thread(target=self._serve, name=f"tool-process-{self._lanes}", daemon=True).start()
                    self._lanes += 1

    def close(self) -> None:
        """Let the processes end: at once where they are idle, else with the calls that have been submitted."""
        with self._lock:
            self._closed = True
            while self._idle:
                self._idle.pop().put(None)

    def _serve(self) -> None:
        lane: queue.SimpleQueue[Call | None] = queue.SimpleQueue()
        worker: Worker | None = None
        self._free(lane)
        while (call := self._next(lane)) is not None:
            worker, said = _carry_out(call, worker)
            self._free(lane)  # before its caller goes on, whose next call then finds this process and not a new one
            if said is not None:
                call.settle(said)
            del call, said  # its arguments and result must not live on while this thread is idle
        if worker is not None:
            worker.end()

    def _free(self, lane: queue.SimpleQueue[Call | None]) -> None:
        """Give a lane the next call that waits, else note that it is idle."""
        with self._lock:
            if self._waiting:
                lane.put(self._waiting.popleft())
            elif self._closed:
                lane.put(None)
            else:
                self._idle.append(lane)

    def _next(self, lane: queue.SimpleQueue[Call | None]) -> Call | None:
        """Return what a lane was given; None when it is to end."""
        try:
            return lane.get(timeout=self._idle_seconds)
        except queue.Empty:
            with self._lock:
                if lane in self._idle:
                    self._idle.remove(lane)
                    self._lanes -= 1
                    return None
            return lane.get()  # it was given a call at the last moment


def surroundings() -> Surroundings:
    """Return what a process must have been started with, so that tools find in it what they find in this one."""
    try:
        folder = os.getcwd()
    except FileNotFoundError:
        folder = ""
    return folder, tuple(sys.path), dict(os.environ)


def _carry_out(call: Call, worker: Worker | None) -> tuple[Worker | None, dict[str, Any] | Exception | None]:
    """Make a call; return the process if it can serve more, and what became of the call; None if nobody waits."""
    said: dict[str, Any] | Exception
    try:
        if worker is not None and not worker.serves(call.surroundings):
            worker.end()
            worker = None
        worker = worker or Worker(call.surroundings)
    except Exception as error:
        what = f"{call.name}: no process could be started for it: {error}"
        return None, ToolError(what, error_class="unavailable", unsent=True)
    if not call.begin(worker):
        return worker, None
    try:
        said = worker.ask(call)
    except Exception as error:
        said = error
    call.end()
    if isinstance(said, Exception) or said["left_behind"] or not worker.serves(call.surroundings):
        worker.end()
        return None, said
    return worker, said
