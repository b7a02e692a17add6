"""The task graph at work: what is ready runs at once, loops go back, a failure stops what depends on it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TYPE_CHECKING, Any

from quarterdeck.engine.graph import span
from quarterdeck.engine.output import plain
from quarterdeck.engine.result import TaskResult
from quarterdeck.engine.tasks import agent_of, perform_task
from quarterdeck.errors import Waiting
from quarterdeck.journal.events import Decision
from quarterdeck.spec.conditions import Condition, lookup
from quarterdeck.spec.graph import dependencies

if TYPE_CHECKING:
    from quarterdeck.engine.scope import RunScope
    from quarterdeck.spec.crew import LoopSpec

NEEDS_FAILED = "needs_failed"


async def run_tasks(run: RunScope) -> None:
    """Run all tasks of a crew in the order that its process gives; results stand in `run.results`.

    Raises:
        LimitReached: The run's time is up.
        Cancelled: The run was cancelled.
        Waiting: A person has to answer; what ran beside it has been let finish first.
        JournalError: Something could not be recorded.
    """
    needs = dependencies(run.spec)
    pending = dict.fromkeys(run.spec.tasks)
    running: dict[asyncio.Task[TaskResult], str] = {}
    waits: list[Waiting] = []

    async def settle(name: str, work: Awaitable[TaskResult]) -> None:
        try:
            run.results[name] = await work
        except Waiting as waiting:
            waits.append(waiting)
            return
        pending.update(dict.fromkeys(await _go_back(name, run, needs)))

    try:
        while running or (pending and not waits):
            ready = [] if waits else _ready(run, pending, running, needs)
            for name in ready:
                del pending[name]
            if len(ready) == 1 and not running:  # nothing can run beside it, so it needs no asyncio task of its own
                await settle(ready[0], _perform(ready[0], needs[ready[0]], run))
                continue
            for name in ready:
                running[asyncio.create_task(_perform(name, needs[name], run), name=name)] = name
            finished, _ = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            for task in sorted(finished, key=lambda task: list(run.spec.tasks).index(running[task])):
                await settle(running.pop(task), task)
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
    if waits:
        raise waits[0]


def _ready(
    run: RunScope,
    pending: dict[str, None],
    running: dict[asyncio.Task[TaskResult], str],
    needs: dict[str, tuple[str, ...]],
) -> list[str]:
    """Return the tasks that can start now, as many as may run at once."""
    done = set(run.results) - pending.keys() - set(running.values())
    ready = [name for name in pending if done.issuperset(needs[name])]
    return ready[: run.spec.concurrency - len(running)]


async def _perform(name: str, needs: tuple[str, ...], run: RunScope) -> TaskResult:
    for need in needs:
        before = run.results[need]
        if before.status == "failed" or before.code == NEEDS_FAILED:
            return TaskResult(name, agent_of(name, run), "skipped", NEEDS_FAILED, why=f"{need} did not succeed")
    return await perform_task(name, run)


async def _go_back(name: str, run: RunScope, needs: dict[str, tuple[str, ...]]) -> list[str]:
    """Return the tasks to do again: none when the loop's condition holds or its rounds are used up."""
    loop = run.spec.tasks[name].loop
    result = run.results[name]
    if loop is None or result.status in ("failed", "skipped"):
        return []
    output = plain(result.output)
    values: dict[str, Any] = {**run.values(), "output": output, **(output if isinstance(output, dict) else {})}
    if Condition.parse(loop.until).holds(values):
        return []
    path = name if run.rounds[name] == 1 else f"{name}.{run.rounds[name]}"
    if run.rounds[name] > loop.max:
        why = f'"{loop.until}" does not hold after {loop.max} rounds back'
        await run.journal.append(Decision(path=path, task=name, what="loop ends", why=why))
        return []
    again = span(loop.back_to, name, needs)
    redo = _items_again(loop, values)
    if redo is not None:
        each = run.spec.tasks[loop.back_to].for_each
        run.redo.update({task: redo for task in again if run.spec.tasks[task].for_each == each})
    what = f"back to {loop.back_to} ({run.rounds[name]} of {loop.max})"
    why = f'"{loop.until}" does not hold'
    if redo:
        why += ": " + "; ".join(map(str, redo))
    await run.journal.append(Decision(path=path, task=name, what=what, why=why[:1000]))
    return again


def _items_again(loop: LoopSpec, values: dict[str, Any]) -> list[Any] | None:
    items = lookup(loop.only, values) if loop.only else None
    return items if isinstance(items, list) else None
