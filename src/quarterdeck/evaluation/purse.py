"""A total of money for runs that go on side by side: set aside before each, settled after it."""

from __future__ import annotations

import asyncio
from decimal import Decimal


class Purse:
    """Never lets more runs start than it can pay for; belongs to one event loop.

    Args:
        usd: What all runs may cost together; None for no cap.
        a_run: What one run can cost at most, by its own limit.
    """

    def __init__(self, usd: Decimal | None = None, a_run: Decimal = Decimal(0)) -> None:
        self._left = usd
        self._a_run = a_run
        self._out = 0
        self._changed = asyncio.Condition()

    async def take(self) -> bool:
        """Set the money of one run aside; wait while runs under way may give some back.

        Returns:
            Whether there is enough for one more run.
        """
        if self._left is None:
            return True
        async with self._changed:
            await self._changed.wait_for(lambda: self._enough() or not self._out)
            if not self._enough():
                return False
            self._left -= self._a_run
            self._out += 1
            return True

    async def settle(self, spent: Decimal | None) -> None:
        """Give back what a run did not use.

        Args:
            spent: What it cost; None when that is not known: then all that was set aside counts as spent.
        """
        if self._left is None:
            return
        async with self._changed:
            self._out -= 1
            self._left += self._a_run - (self._a_run if spent is None else spent)
            self._changed.notify_all()

    def _enough(self) -> bool:
        return self._left is not None and self._left >= self._a_run
