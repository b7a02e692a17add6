"""Whose turn it is: the calls of one model that wait in one event loop, served run by run."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter, OrderedDict, deque
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice
from math import inf
from typing import TYPE_CHECKING

from quarterdeck.errors import JournalError, ModelError
from quarterdeck.journal.rates import BURST_SHARE, Pace, Slot, book

if TYPE_CHECKING:
    from quarterdeck.journal.writer import Writer

GIVE_BACK_SECONDS = 0.05
"""How long tokens that were not needed wait for the next booking to give them back with it."""

_log = logging.getLogger(__name__)


@dataclass(slots=True, eq=False)
class _Call:
    """A call that waits.

    Attributes:
        deadline: The event loop's time at which it is too late.
        slot: Gets its slot, or why it gets none.
    """

    run: str
    tokens: int
    deadline: float
    slot: asyncio.Future[Slot] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class Turns:
    """Books starts for the calls that wait and hands them out, to each run in its turn.

    At most one booking is open at a time, so that processes take turns too. Belongs to one event loop.

    Args:
        model: The model's name.
        pace: How fast it may be called.
        writer: Of the database that all processes share.
    """

    def __init__(self, model: str, pace: Pace, writer: Writer) -> None:
        self._model = model
        self._pace = pace
        self._writer = writer
        self._waiting: OrderedDict[str, deque[_Call]] = OrderedDict()
        self._slots: deque[Slot] = deque()
        self._block = 1
        self._booking = False
        self._booked_until = 0.0
        self._first_since = 0.0
        self._unused: Counter[int] = Counter()
        self._given_back = asyncio.Event()
        self._server: asyncio.Task[None] | None = None
        self._giving_back: asyncio.TimerHandle | None = None
        self._gift: asyncio.Task[None] | None = None  # held: the loop itself holds its tasks only weakly

    async def take(self, run: str, tokens: int, deadline: float) -> Slot:
        """Wait until a call may start, and return its slot; the call must start at once.

        Args:
            run: Whose call it is.
            tokens: What it needs at most, prompt and answer together; 0 when tokens are not limited.
            deadline: The event loop's time at which it must have started.

        Raises:
            ModelError: Its turn would come after the deadline (`rate_limited`).
            JournalError: The database cannot be used.
        """
        slot = self._spare(tokens)
        again = False
        while slot is None:
            call = _Call(run, tokens, deadline)
            self._join(call, first=again)
            slot = await self._turn_of(call)
            if time.monotonic() > slot.closes:  # the machine was busy: starting now could be one too many
                self._drop(slot)
                slot, again = None, True
        self._correct(slot.bucket, slot.tokens - tokens)
        return replace(slot, tokens=tokens)

    def settle(self, slot: Slot, used: int) -> None:
        """Correct what was booked for a call by the tokens that it really used."""
        self._correct(slot.bucket, slot.tokens - used)

    def _spare(self, tokens: int) -> Slot | None:
        """Return a slot of the last block that is open and that nobody waits for."""
        while self._slots and not self._waiting:
            now = time.monotonic()
            slot = self._slots[0]
            if slot.opens > now:
                break
            self._slots.popleft()
            if now <= slot.closes and tokens <= slot.tokens:
                return slot
            self._drop(slot)
        return None

    def _join(self, call: _Call, *, first: bool) -> None:
        """Stand in line; a run's first waiting call comes after the runs that wait already."""
        loop = asyncio.get_running_loop()
        if not first and loop.time() + (least := self._least(call)) > call.deadline:
            raise self._too_late(least)
        calls = self._waiting.setdefault(call.run, deque())
        if first:  # it had its turn already
            calls.appendleft(call)
            self._waiting.move_to_end(call.run, last=False)
        else:
            calls.append(call)
        if self._server is None:
            self._server = loop.create_task(self._serve(), name=f"rate of {self._model}")

    def _least(self, call: _Call) -> float:
        """Return the seconds that a call would have to wait at least if it joined now."""
        place = len(self._waiting.get(call.run, ())) + 1
        before = sum(min(place, len(calls)) for calls in self._waiting.values())
        tokens = call.tokens
        if self._pace.tokens:
            tokens += sum(one.tokens for calls in self._waiting.values() for one in islice(calls, place))
        least = self._pace.at_least(before, tokens)
        if before >= len(self._slots):  # it has to book, behind what is booked already
            booked = self._booked_until - time.monotonic() - self._pace.ahead
            least = max(least, booked + (before - len(self._slots)) * self._pace.interval)
        return least

    async def _turn_of(self, call: _Call) -> Slot:
        try:
            async with asyncio.timeout_at(call.deadline):
                return await call.slot
        except TimeoutError:
            self._leave(call)
            raise self._too_late() from None
        except asyncio.CancelledError:
            self._leave(call)
            raise

    def _leave(self, call: _Call) -> None:
        """Free the place of a call that does not wait any more, and its slot if it has got one."""
        if call.slot.done() and not call.slot.cancelled() and call.slot.exception() is None:
            self._slots.appendleft(call.slot.result())
        calls = self._waiting.get(call.run)
        if calls is not None and call in calls:
            calls.remove(call)
            if not calls:
                del self._waiting[call.run]
        if not self._waiting and self._server is not None and not self._booking:
            self._server.cancel()
            self._server = None

    async def _serve(self) -> None:
        """Book and hand out for as long as somebody waits."""
        try:
            self._first_since = time.monotonic()
            while self._waiting:
                if not self._slots:
                    await self._book()
                await self._hand_out()
            self._server = None
        except Exception as error:  # a mistake of ours must reach whoever waits, too
            self._server = None
            calls = [call for calls in self._waiting.values() for call in calls]
            self._waiting.clear()
            for call in calls:
                if not call.slot.done():
                    call.slot.set_exception(error)

    async def _book(self) -> None:
        """Book for the calls whose turn comes next; wait a moment where tokens are not to be had soon."""
        calls = list(islice(self._in_turn(), self._pace.block))
        needs = [call.tokens for call in calls]
        needs += self._for_those_to_come(calls[0].tokens, min(self._block, self._pace.block) - len(needs))
        self._block = 2 * len(needs)
        # who has been first for a whole window books for certain: else small calls of others could always be faster
        firm = time.monotonic() - self._first_since > self._pace.window
        slots, wait = await self._ask(needs, inf if firm else self._pace.patience)
        self._slots.extend(slots)
        if slots:
            self._booked_until = slots[-1].opens
        elif asyncio.get_running_loop().time() + wait > calls[0].deadline and not calls[0].slot.done():
            calls[0].slot.set_exception(self._too_late(wait))
            self._leave(calls[0])
        else:
            self._given_back.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(min(wait, self._pace.patience)):
                    await self._given_back.wait()

    def _for_those_to_come(self, tokens: int, count: int) -> list[int]:
        """Return what is booked beyond the calls that wait: calls that come soon then need no booking of their own."""
        if not self._pace.tokens:
            return [0] * count
        tokens += tokens // 4  # conversations grow
        return [tokens] * min(count, int(BURST_SHARE * self._pace.tokens) // tokens)

    async def _ask(self, needs: list[int], ahead: float = inf) -> tuple[list[Slot], float]:
        unused, self._unused = self._unused, Counter()
        work = partial(book, model=self._model, pace=self._pace, needs=needs, unused=unused, ahead=ahead)
        self._booking = True
        try:
            return await self._writer.ask(work)
        finally:
            self._booking = False

    async def _hand_out(self) -> None:
        """Give each slot, when it opens, to the call whose turn it is then."""
        while self._slots and self._waiting:
            slot = self._slots[0]
            call = next(self._in_turn())
            wait = slot.opens - time.monotonic()
            if call.slot.done():  # it was cancelled a moment ago
                self._pop(call)
            elif asyncio.get_running_loop().time() + wait > call.deadline:
                self._pop(call).set_exception(self._too_late(wait))
            elif wait > 0:
                await asyncio.sleep(wait)
            else:
                self._slots.popleft()
                if time.monotonic() > slot.closes or call.tokens > slot.tokens:
                    self._drop(slot)
                else:
                    self._pop(call).set_result(slot)

    def _pop(self, call: _Call) -> asyncio.Future[Slot]:
        """Take the call whose turn it is out of the line; its run goes to the end."""
        self._first_since = time.monotonic()
        calls = self._waiting[call.run]
        calls.popleft()
        if calls:
            self._waiting.move_to_end(call.run)
        else:
            del self._waiting[call.run]
        return call.slot

    def _in_turn(self) -> Iterator[_Call]:
        """Yield the waiting calls in the order in which they will be served."""
        for place in range(max(map(len, self._waiting.values()), default=0)):
            for calls in self._waiting.values():
                if place < len(calls):
                    yield calls[place]

    def _drop(self, slot: Slot) -> None:
        """Let a slot go that nobody can use any more."""
        self._correct(slot.bucket, slot.tokens)
        self._block = max(1, self._block // 2)

    def _correct(self, bucket: int, unused: int) -> None:
        """Give tokens back with the next booking, or by themselves when there is none soon."""
        if not unused or not self._pace.tokens:
            return
        self._unused[bucket] += unused
        self._given_back.set()
        if self._giving_back is None:
            self._giving_back = asyncio.get_running_loop().call_later(GIVE_BACK_SECONDS, self._give_back)

    def _give_back(self) -> None:
        self._giving_back = None
        if self._unused and not self._booking:
            self._gift = asyncio.get_running_loop().create_task(self._only_give_back())

    async def _only_give_back(self) -> None:
        try:
            await self._ask([])
        except JournalError as error:  # what is not given back leaves the window by itself
            _log.debug("rate of %s: %s", self._model, error)

    def _too_late(self, seconds: float = 0.0) -> ModelError:
        return ModelError(
            f"{self._model} may be called again in some {max(seconds, 0.0):.1f} s at the earliest, by its declared "
            "rate, and the run must have ended before. Raise models.rate in config/models.yaml or limits.seconds, "
            "or give the group a fallback.",
            "rate_limited",
            retry_after=max(seconds, 0.0),
        )
