"""A model that fails one time in five, in every way: each run ends in a named status, in time, and leaves nothing."""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from tests.crash.voyages import CREWS, crew_of, step

from quarterdeck.engine import equipment
from quarterdeck.engine.member import crewai_classes
from quarterdeck.engine.result import Result
from quarterdeck.models.port import ModelReply, ModelRequest, OnText
from quarterdeck.models.stack import build_port
from quarterdeck.testing import ScriptedModel, Step, call, cut_off, error, hang, malformed_call, text

RUNS = 300
AT_ONCE = 25
SECONDS = 1.0
GRACE_SECONDS = 60.0
"""Far more than a loaded machine needs, and far less than what a run would take that waits for a fault to pass."""
FAULTS: dict[str, Step] = {
    "garbage": text("\x00\ufffd}{ lorem [[ ipsum"),
    "truncated JSON": cut_off('{"ports": ["Kiel", "Ri'),
    "truncated JSON that claims to be whole": text('{"ports": ["Kiel", "Ri'),
    "unknown tool": call("depth.divine", port="Kiel"),
    "malformed arguments": malformed_call("depth.sound", '{"port": '),
    "wrong arguments": call("depth.sound", harbour=7),
    "empty": text(""),
    "unreadable": error("malformed"),
    "429": error("rate_limited", retry_after=0.01),
    "429 for long": error("rate_limited", retry_after=900.0),
    "500": error("server"),
    "refused": error("refused"),
    "hang": hang(),
}


class Faulty:
    """Answers as it should, but one time in five in one of the ways above."""

    def __init__(self, seed: int, probability: float) -> None:
        self._random = random.Random(seed)
        self._probability = probability
        self.seen: Counter[str] = Counter()

    async def answer(self, request: ModelRequest, on_text: OnText | None = None) -> ModelReply:
        said = step(request)
        if self._random.random() < self._probability:
            fault = self._random.choice(list(FAULTS))
            self.seen[fault] += 1
            said = FAULTS[fault]
        return await ScriptedModel([said]).answer(request, on_text)

    async def close(self) -> None:
        """Hold nothing."""


async def test_every_run_ends_in_a_named_status_in_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(equipment, "build_port", partial(build_port, retry_base=0.01))
    crewai_classes()
    await _all_runs(tmp_path / "warm", Faulty(1, 0.0), len(CREWS))  # starts CrewAI's own threads
    threads = set(threading.enumerate())
    stray: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: stray.append(context))
    model = Faulty(2, 0.2)
    runs = await _all_runs(tmp_path / "faults", model, RUNS)

    assert set(model.seen) == set(FAULTS)
    for result, seconds in runs:
        assert result.status in ("succeeded", "partial", "failed") and result.code and result.evidence, result
        assert seconds <= SECONDS + GRACE_SECONDS, (seconds, result.code)
    assert {result.status for result, _ in runs} == {"succeeded", "partial", "failed"}
    assert any(result.code == "limit_seconds" for result, _ in runs)
    assert asyncio.all_tasks() == {asyncio.current_task()} and not stray
    left = _threads_left(threads)
    assert not left, left


async def _all_runs(folder: Path, model: Faulty, number: int) -> list[tuple[Result, float]]:
    crews = []
    for name in CREWS:
        (folder / name).mkdir(parents=True)
        crews.append(crew_of(name, folder / name, model, limits={"seconds": SECONDS}))
    some = asyncio.Semaphore(AT_ONCE)

    async def one(number: int) -> tuple[Result, float]:
        async with some:
            started = time.monotonic()
            result = await crews[number % len(crews)].akickoff()
            return result, time.monotonic() - started

    try:
        return await asyncio.gather(*map(one, range(number)))
    finally:
        for crew in crews:
            await crew.aclose()


def _threads_left(before: set[threading.Thread]) -> set[threading.Thread]:
    """Return what runs still; idle tool threads have been told to end and get a moment to do so."""
    end = time.monotonic() + 5
    while (left := set(threading.enumerate()) - before) and time.monotonic() < end:
        for thread in left:
            thread.join(0.1)
    return {thread for thread in left if not thread.name.startswith("CrewAI")}
