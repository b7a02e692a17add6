"""A call that failed in a way that may pass is made again, within bounds."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from quarterdeck.errors import ModelError
from quarterdeck.models.strategies import Strategy, treatment_of

if TYPE_CHECKING:
    from quarterdeck.journal.call import CallContext
    from quarterdeck.models.port import ModelReply, ModelRequest
    from quarterdeck.models.stages import Stage

NUDGE = 0.2
MAX_TEMPERATURE = 2.0


class Retry:
    """Makes a call to one model again as the kind of its failure asks for; see `strategies`.

    Waits grow exponentially and are drawn with full jitter: anything between nothing and twice the last bound. A
    wait that the provider asks for is kept, and the jitter comes on top, so that not all callers return at once.

    Args:
        proceed: The next stage.
        attempts: Attempts at most, the first included.
        base: Seconds that the first wait takes at most; doubled each time.
        ceiling: Seconds that a wait takes at most, unless the provider asked for more and no other model is left.
        rng: Draws the jitter; a seeded one makes it repeatable.
        sleep: Waits so many seconds.
    """

    def __init__(
        self,
        proceed: Stage,
        attempts: int = 3,
        base: float = 0.5,
        ceiling: float = 20.0,
        *,
        rng: random.Random | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._proceed = proceed
        self._attempts = attempts
        self._base = base
        self._ceiling = ceiling
        self._rng = rng or random.Random()
        self._sleep = sleep

    async def complete(self, request: ModelRequest, context: CallContext) -> ModelReply:
        """Proceed, at most `attempts` times, never waiting past the run's deadline.

        Raises:
            ModelError: Of the last attempt.
        """
        strategies: list[Strategy] = []
        for left in reversed(range(self._attempts)):
            try:
                return await self._proceed.complete(request, context)
            except ModelError as error:
                strategies.append(_strategy(error, strategies, context))
                wait = self._wait(error, strategies)
                if not left or wait is None or not self._worth_it(wait, error, context):
                    raise
            if strategies[-1] == "retry_changed":
                request = changed(request)
            elif wait:
                await self._sleep(wait)
        raise AssertionError("unreachable: the last attempt returns or raises")

    def _wait(self, error: ModelError, strategies: list[Strategy]) -> float | None:
        """Return the seconds until the next attempt; None for no other attempt."""
        match strategies[-1]:
            case "retry_now":
                return 0.0
            case "retry_changed":
                return None if "retry_changed" in strategies[:-1] else 0.0
            case "retry_later":
                bound = min(self._ceiling, self._base * 2 ** (strategies.count("retry_later") - 1))
                return (error.retry_after or 0.0) + self._rng.uniform(0, bound)
            case _:
                return None

    def _worth_it(self, wait: float, error: ModelError, context: CallContext) -> bool:
        if asyncio.get_running_loop().time() + wait >= context.deadline:
            return False
        asked_for_long = (error.retry_after or 0.0) > self._ceiling
        return not asked_for_long or (context.last_resort and error.kind != "circuit_open")


def _strategy(error: ModelError, before: list[Strategy], context: CallContext) -> Strategy:
    strategy = treatment_of(error).strategy
    if strategy == "retry_now" and "retry_now" in before:
        return "retry_later"
    if error.kind == "circuit_open" and context.last_resort:
        return "retry_later"  # nobody else can answer, and the breaker says when it will ask this model again
    return strategy


def changed(request: ModelRequest) -> ModelRequest:
    """Return a request in another form: in one piece instead of streamed, and a little warmer, to leave a rut."""
    return replace(request, stream=False, temperature=min(request.temperature + NUDGE, MAX_TEMPERATURE))
