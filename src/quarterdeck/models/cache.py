"""The same question is asked once: identical calls in flight share one answer, and answers may be kept for a while."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import orjson

from quarterdeck.errors import LimitReached, ModelError
from quarterdeck.journal import replies
from quarterdeck.journal.events import TextArrived
from quarterdeck.models.kept import Kept
from quarterdeck.models.port import ModelReply, ToolRequest, Usage
from quarterdeck.models.strategies import treatment_of
from quarterdeck.models.wire import reply_to_json, request_to_json, storable

if TYPE_CHECKING:
    from quarterdeck.journal.call import CallContext
    from quarterdeck.models.port import ModelRequest
    from quarterdeck.models.stages import Stage
    from quarterdeck.spec.models import CacheSpec

PRUNE_AFTER_WRITES = 200
PRUNE_AFTER_BYTES = replies.MAX_TOTAL_BYTES // 20

Outcome = ModelReply | ModelError | None
"""What came of a shared call; None when the one who made it stopped for a reason of its own."""
_Flights = dict[str, tuple[asyncio.Future[Outcome], float]]
"""By what is asked: the call in flight, and the event loop's time at which the run that makes it must have ended."""

LONGEST_WAIT = 20.0
"""Seconds between two attempts at most: whoever has less time left may have given up for that reason alone."""


class Cache:
    """Gives the answer of an identical call that is in flight, or one that is kept, in the place of a new one.

    What it gives costs nothing, and its tokens were counted where they were used. Whether calls are identical is told
    by all that the request says and by the tenant; a temperature above 0 makes every call one of its own, unless the
    group says `sampled`.

    Args:
        proceed: The next stage.
        cache_of: How long the answers of a group are kept; None for not at all.
    """

    def __init__(self, proceed: Stage, cache_of: Callable[[str], CacheSpec | None]) -> None:
        self._proceed = proceed
        self._cache_of = cache_of
        self._lock = threading.Lock()
        self._flights: WeakKeyDictionary[asyncio.AbstractEventLoop, _Flights] = WeakKeyDictionary()
        self._kept = Kept()
        self._writes = 0
        self._bytes = 0

    async def complete(self, request: ModelRequest, context: CallContext) -> ModelReply:
        """Share, look up, or proceed and keep.

        Raises:
            ModelError: The call failed, this one or the identical one that it shared.
            LimitReached: The run's time was up before the shared call was answered.
        """
        spec = self._cache_of(context.group)
        if request.temperature > 0 and not (spec is not None and spec.sampled):
            return await self._proceed.complete(request, context)
        key = replies.key_of(context.journal.tenant, request_to_json(request))
        flights = self._flights_here()
        flight = f"{key}/{context.group}"  # another group has other fallbacks
        while (flown := flights.get(flight)) is not None:
            shared, ends = flown
            outcome = await _wait_for(shared, context)
            if isinstance(outcome, ModelReply):
                return _given_again(outcome, "cache" if outcome.source == "cache" else "shared", context)
            if isinstance(outcome, ModelError) and not _own_affair(outcome, ends, context):
                raise ModelError(str(outcome), outcome.kind, retry_after=outcome.retry_after) from outcome
        landing: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        flights[flight] = landing, context.deadline
        outcome = None
        try:
            outcome = await self._answer(request, context, spec, key)
            return outcome
        except ModelError as error:
            outcome = error
            raise
        finally:
            del flights[flight]
            landing.set_result(outcome)

    def _flights_here(self) -> _Flights:
        """Return the calls in flight in this event loop: threads share this stage, but never a future."""
        loop = asyncio.get_running_loop()
        with self._lock:
            flights = self._flights.get(loop)
            if flights is None:
                flights = self._flights[loop] = {}
            return flights

    async def _answer(
        self, request: ModelRequest, context: CallContext, spec: CacheSpec | None, key: str
    ) -> ModelReply:
        if spec is None:
            return await self._proceed.complete(request, context)
        store = context.journal.store
        held: tuple[str, str] | None = None
        if await self._kept.may_hold(store, key):
            held = await store.writer.ask(partial(replies.get, key=key))
        reply = None if held is None else _decoded(*held)
        if reply is not None:
            return _given_again(reply, "cache", context)
        reply = storable(await self._proceed.complete(request, context))
        if reply.finish != "length" and not reply.degraded:
            body = orjson.dumps(reply_to_json(reply)).decode()
            put = partial(replies.put, key=key, model=reply.model, reply=body, seconds=spec.seconds)
            context.journal.along(put, f"reply/{key}")
            self._kept.add(store, key)
            if self._prune_is_due(len(body)):
                await store.writer.ask(replies.prune)
        return reply

    def _prune_is_due(self, size: int) -> bool:
        with self._lock:
            self._writes += 1
            self._bytes += size
            due = self._writes >= PRUNE_AFTER_WRITES or self._bytes >= PRUNE_AFTER_BYTES
            if due:
                self._writes = self._bytes = 0
            return due


async def _wait_for(shared: asyncio.Future[Outcome], context: CallContext) -> Outcome:
    try:
        async with asyncio.timeout_at(context.deadline):
            return await asyncio.shield(shared)  # whoever stops waiting does not stop the others
    except TimeoutError:
        raise LimitReached("The run's time is up (limits.seconds).", "seconds") from None


def _own_affair(error: ModelError, ends: float, context: CallContext) -> bool:
    """Return whether a failure is that of the run that made the call, and another run may fare better.

    Args:
        error: The failure.
        ends: When the run that made the call must have ended.
        context: Of the other run.
    """
    if error.kind == "unknown_price":
        return True
    gave_up = asyncio.get_running_loop().time() + max(error.retry_after or 0.0, LONGEST_WAIT) >= ends
    return gave_up and treatment_of(error).recoverable and context.deadline > ends


def _given_again(reply: ModelReply, source: Any, context: CallContext) -> ModelReply:
    """Return a reply as it costs nothing, and show its text to whoever listens to the run."""
    if reply.text and context.journal.streaming:
        place = {"path": context.path, "task": context.task, "agent": context.agent}
        context.journal.publish(TextArrived(**place, text=reply.text))
    return replace(reply, usage=Usage(), cost_usd=Decimal(0), source=source)


def _decoded(model: str, body: str) -> ModelReply | None:
    """Return a kept reply; None when it cannot be read, for then it is better asked for again."""
    try:
        data = orjson.loads(body)
        calls = tuple(
            ToolRequest(call["id"], call["name"], call["arguments"], call["raw"]) for call in data.get("tool_calls", ())
        )
        text, finish = data["text"], data["finish"]
    except (orjson.JSONDecodeError, AttributeError, KeyError, TypeError):
        return None
    sound = isinstance(text, str) and finish in ("stop", "tool_calls") and (text or calls)
    return ModelReply(text, calls, model=model, finish=finish) if sound else None
