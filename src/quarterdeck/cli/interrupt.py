"""Stopping a run from the keyboard: once cleanly, twice at once."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, TypeVar

T = TypeVar("T")
INTERRUPTED = 130
"""128 and the number of SIGINT, as shells count."""


class Interrupted(Exception):
    """Ctrl-C or SIGTERM ended the work; what was recorded stays."""


def run_until_interrupted(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine; Ctrl-C or SIGTERM cancels it, a second one ends the process on the spot.

    Raises:
        Interrupted: It was cancelled that way.
    """
    stopped = False

    async def watched() -> T:
        nonlocal stopped
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None

        def stop() -> None:
            nonlocal stopped
            stopped = True
            loop.call_soon_threadsafe(task.cancel)

        with _signals(stop):
            return await work

    # A handler of ours, not asyncio's: it also acts while a long import holds the event loop up.
    try:
        with asyncio.Runner() as runner:
            return runner.run(watched())
    except (asyncio.CancelledError, KeyboardInterrupt):
        if stopped:
            raise Interrupted from None
        raise


@contextmanager
def _signals(stop: Callable[[], None]) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    seen = 0

    def handle(number: int, frame: FrameType | None) -> None:
        nonlocal seen
        seen += 1
        if seen > 1:
            os._exit(INTERRUPTED)
        stop()

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
