"""One part of a crew that has to wait for a person lets what runs beside it finish."""

from __future__ import annotations

import asyncio

import pytest

from quarterdeck.engine.concurrency import side_by_side
from quarterdeck.errors import Waiting


async def test_waiting_lets_the_others_finish() -> None:
    finished: list[str] = []

    async def waits() -> str:
        raise Waiting("a person has to answer", "plan_review")

    async def works() -> str:
        await asyncio.sleep(0.01)
        finished.append("worked")
        return "done"

    with pytest.raises(Waiting, match="a person"):
        await side_by_side([waits(), works()])
    assert finished == ["worked"]


async def test_a_failure_still_cancels_the_others() -> None:
    finished: list[str] = []

    async def fails() -> str:
        raise ValueError("broken")

    async def works() -> str:
        await asyncio.sleep(0.05)
        finished.append("worked")
        return "done"

    with pytest.raises(ValueError, match="broken"):
        await side_by_side([fails(), works()])
    assert finished == []
