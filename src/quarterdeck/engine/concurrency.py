"""Awaiting several things at once, with the errors of the first that failed."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any, TypeVar, cast

from quarterdeck.errors import Waiting
from quarterdeck.journal.sync import run_sync

__all__ = ["all_settled", "run_sync", "side_by_side"]

Result = TypeVar("Result")


async def side_by_side(work: Sequence[Coroutine[Any, Any, Result]]) -> list[Result]:
    """Run coroutines at once and return their results in order.

    When one raises, the others are cancelled and awaited, and its error is raised as it is. Only one that has to wait
    for a person lets the others finish first: what they have begun is paid for.
    """
    if len(work) == 1:
        return [await work[0]]
    waits: list[Waiting] = []

    async def settled(part: Coroutine[Any, Any, Result]) -> Result | None:
        try:
            return await part
        except Waiting as waiting:
            waits.append(waiting)
            return None

    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(settled(part)) for part in work]
    except BaseExceptionGroup as failed:
        raise failed.exceptions[0] from None
    if waits:
        raise waits[0]
    return [cast(Result, task.result()) for task in tasks]


async def all_settled(work: Sequence[Coroutine[Any, Any, Result]]) -> list[Result]:
    """Run coroutines at once and return their results in order.

    When some raise, the others still run to their end: what they have begun must not go unrecorded. Then the first
    error, in the order of the work, is raised.
    """
    if len(work) == 1:
        return [await work[0]]
    settled = await asyncio.gather(*work, return_exceptions=True)
    results = []
    for outcome in settled:
        if isinstance(outcome, BaseException):
            raise outcome
        results.append(outcome)
    return results
