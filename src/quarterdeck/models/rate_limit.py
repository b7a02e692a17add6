"""Never faster than declared: a call waits for its turn, held across all processes on the same database."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from quarterdeck.journal.rates import Pace
from quarterdeck.models.budget import prompt_tokens_at_most
from quarterdeck.models.turns import Turns

if TYPE_CHECKING:
    from quarterdeck.journal.call import CallContext
    from quarterdeck.journal.store import Store
    from quarterdeck.models.port import ModelReply, ModelRequest
    from quarterdeck.models.stages import Stage
    from quarterdeck.spec.models import RateSpec

_OfLoop = WeakKeyDictionary["Store", dict[str, Turns]]


class RateLimit:
    """Lets a call start when its model's declared rate allows it, each run in its turn.

    Args:
        proceed: The next stage.
        rate_of: How fast a model may be called; None for as fast as one likes.
    """

    def __init__(self, proceed: Stage, rate_of: Callable[[str], RateSpec | None]) -> None:
        self._proceed = proceed
        self._rate_of = rate_of
        self._lock = threading.Lock()
        self._turns: WeakKeyDictionary[asyncio.AbstractEventLoop, _OfLoop] = WeakKeyDictionary()
        self._paces: dict[str, Pace] = {}

    async def complete(self, request: ModelRequest, context: CallContext) -> ModelReply:
        """Wait for the turn, proceed, and correct what was booked by what was used.

        Raises:
            ModelError: The turn would come after the run's deadline (`rate_limited`).
            JournalError: The database cannot be used.
        """
        rate = self._rate_of(request.model)
        if rate is None or not (rate.requests or rate.tokens):
            return await self._proceed.complete(request, context)
        turns, pace = self._turns_of(request.model, rate, context)
        tokens = min(prompt_tokens_at_most(request) + request.max_tokens, pace.tokens) if pace.tokens else 0
        slot = await turns.take(context.journal.id, tokens, context.deadline)
        reply = await self._proceed.complete(request, context)
        used = reply.usage.prompt_tokens + reply.usage.completion_tokens
        if used and pace.tokens:
            turns.settle(slot, used)
        return reply

    def _turns_of(self, model: str, rate: RateSpec, context: CallContext) -> tuple[Turns, Pace]:
        """Return the line of a model in this event loop: threads share this stage, but never a line."""
        loop, store = asyncio.get_running_loop(), context.journal.store
        with self._lock:
            pace = self._paces.get(model)
            if pace is None:
                pace = self._paces[model] = Pace.of(rate)
            of_loop = self._turns.get(loop)
            if of_loop is None:
                of_loop = self._turns[loop] = WeakKeyDictionary()
            lines = of_loop.get(store)
            if lines is None:
                lines = of_loop[store] = {}
            turns = lines.get(model)
            if turns is None:
                turns = lines[model] = Turns(model, pace, store.writer)
        return turns, pace
