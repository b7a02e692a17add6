"""Unusual patterns: a tool that is called far more often a minute than in the earlier runs of the same crew."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import orjson
from sqlalchemy import BigInteger, cast, func, or_, select

from quarterdeck.errors import JournalError
from quarterdeck.governance.escalation import ESCALATE
from quarterdeck.journal.events import Decision
from quarterdeck.journal.tables import events, runs

if TYPE_CHECKING:
    from quarterdeck.governance.notify import Notifier
    from quarterdeck.journal.run import RunJournal
    from quarterdeck.journal.store import Store
    from quarterdeck.spec.governance import MonitorSpec

SECONDS = 60.0
EARLIER_RUNS = 50
MAX_CALLS = 10_000
"""Of one tool that are kept in memory: more than any limit of the file asks for."""
MAX_LISTED = 1000
_WHAT = "burst of "
_HEAD = 2000
"""Characters of an event in which its tool is looked for: what it returned stands after that."""


class Monitor:
    """Counts the calls of one run, and raises one alert a tool when it is called in a burst.

    Counting is in memory. The journal is asked for a baseline at most once a tool, and only when the tool is called
    more often than `least`; a call never waits for that.

    Args:
        spec: What counts as a burst.
        journal: Of the run; the alert is recorded there.
        notifier: Tells people of it.
        clock: Gives seconds.
    """

    def __init__(
        self, spec: MonitorSpec, journal: RunJournal, notifier: Notifier, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._spec = spec
        self._journal = journal
        self._notifier = notifier
        self._clock = clock
        self._calls: dict[str, deque[float]] = {}
        self._baselines: dict[str, float | None] = {}

    def count(self, tool: str) -> None:
        """Count a call that is about to be made.

        Args:
            tool: Its tool.
        """
        if self._spec.burst is None:
            return
        calls = self._calls.setdefault(tool, deque(maxlen=MAX_CALLS))
        now = self._clock()
        calls.append(now)
        while calls[0] <= now - SECONDS:
            calls.popleft()
        if len(calls) <= self._spec.least:
            return
        if tool not in self._baselines:
            self._baselines[tool] = None  # it is being read
            self._notifier.attend(self._read(tool))
        else:
            self._compare(tool, len(calls))

    async def _read(self, tool: str) -> None:
        if self._journal.recorded_decision(_place(tool)) is not None:
            return  # an earlier process of this run has raised it
        try:
            found = await asyncio.to_thread(baseline, self._journal.store, self._journal.crew, self._journal.id, tool)
        except JournalError:
            return  # a database that cannot be read fails the run at its next call, and says why
        self._baselines[tool] = found
        self._compare(tool, len(self._calls[tool]))

    def _compare(self, tool: str, calls: int) -> None:
        usual = self._baselines[tool]
        if usual is None or self._spec.burst is None or calls < max(self._spec.least, self._spec.burst * usual):
            return
        self._baselines[tool] = None  # one alert a tool and run
        earlier = f"earlier runs of {self._journal.crew} made {usual:.3g}" if usual else "there is no earlier run"
        why = f"{calls} calls in a minute; {earlier}"
        try:
            self._journal.note(Decision(path=_place(tool), what=f"{_WHAT}{tool}", why=why, chosen="alert"))
        except JournalError:
            return  # the run says so itself
        self._notifier.alert(f"Unusual: {tool}: {why}. See: quarterdeck runs show {self._journal.id}", tool)


@dataclass(frozen=True, slots=True)
class Alert:
    """An alert that was raised.

    Attributes:
        run_id: In which run.
        crew: Of which crew.
        tool: What was called so often; of an escalation, what is wrong.
        why: How often, and how often it usually is; of an escalation, why.
        at: Seconds since 1970 (UTC).
    """

    run_id: str
    crew: str
    tool: str
    why: str
    at: float


def baseline(store: Store, crew: str, run_id: str, tool: str) -> float:
    """Return the calls a minute of a tool in the earlier runs of a crew, where it was called at all; 0 for none.

    Args:
        store: The database.
        crew: The crew.
        run_id: The run that is looked at; it does not count.
        tool: The tool.
    """
    latest = (
        select(runs.c.id)
        .where(runs.c.crew == crew, runs.c.id != run_id)
        .order_by(runs.c.created_at.desc())
        .limit(EARLIER_RUNS)
    )
    minute = cast(events.c.at / SECONDS, BigInteger)
    same = func.substr(events.c.body, 1, _HEAD).contains(f'"tool":{orjson.dumps(tool).decode()},', autoescape=True)
    query = (
        select(func.count().label("calls"))
        .where(events.c.run_id.in_(select(latest.subquery().c.id)), events.c.kind == "tool.called", same)
        .group_by(events.c.run_id, minute)
        .limit(10_000)
    )
    counts = [row.calls for row in store.read(query)]
    return sum(counts) / len(counts) if counts else 0.0


def alerts(store: Store, since: float) -> list[Alert]:
    """Return the alerts of all runs, and what was escalated, newest first, at most `MAX_LISTED`.

    Args:
        store: The database.
        since: Seconds since 1970 (UTC); older ones are left out.
    """
    raised = events.c.path.startswith(_place(""), autoescape=True)
    escalated = events.c.body.contains(f'"chosen":"{ESCALATE}"', autoescape=True)
    query = (
        select(events.c.run_id, runs.c.crew, events.c.body, events.c.at)
        .select_from(events.join(runs, runs.c.id == events.c.run_id))
        .where(events.c.kind == "decision", events.c.at >= since, or_(raised, escalated))
        .order_by(events.c.at.desc())
        .limit(MAX_LISTED)
    )
    found = []
    for row in store.read(query):
        body = orjson.loads(row.body)
        found.append(Alert(row.run_id, row.crew, str(body["what"]).removeprefix(_WHAT), str(body["why"]), row.at))
    return found


def _place(tool: str) -> str:
    return f"monitor/{tool}"
