"""A total that is never passed, whatever runs side by side."""

from __future__ import annotations

import asyncio
from decimal import Decimal

from quarterdeck.evaluation.purse import Purse


async def test_no_more_runs_start_than_can_be_paid() -> None:
    purse = Purse(Decimal("1.00"), Decimal("0.30"))
    under_way = most = 0
    spent = Decimal(0)

    async def run(cost: Decimal | None) -> bool:
        nonlocal under_way, most, spent
        if not await purse.take():
            return False
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(0)
        under_way -= 1
        spent += Decimal("0.30") if cost is None else cost
        await purse.settle(cost)
        return True

    ran = await asyncio.gather(*(run(cost) for cost in [Decimal("0.1"), None, Decimal("0.3"), Decimal("0.2")] * 3))
    assert most == 3 and spent <= Decimal("1.00")
    assert 3 < sum(ran) < 12 and Decimal("1.00") - spent < Decimal("0.30")


async def test_without_a_total_everything_runs() -> None:
    purse = Purse()
    assert await purse.take()
    await purse.settle(None)
    assert await purse.take()
