"""What the model calls of runs cost: typed rows, read from the journal in bounded pages, and their sums."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import orjson
from sqlalchemy import select, tuple_

from quarterdeck.errors import JournalError
from quarterdeck.journal.quantile import quantile
from quarterdeck.journal.tables import events, runs
from quarterdeck.journal.totals import usd_of

if TYPE_CHECKING:
    from quarterdeck.journal.events import AnswerSource
    from quarterdeck.journal.store import Store

MAX_RUNS = 10_000
"""Runs that one question looks at, the newest of them."""

_RUNS_A_QUERY = 50
_EVENTS_A_PAGE = 100
_CALL, _FAILURE, _DECISION, _FORK = "model.called", "model.failed", "decision", "run.forked"


@dataclass(frozen=True, slots=True)
class RunRow:
    """A run, as far as its costs are concerned.

    Attributes:
        parent: The run that it was forked from, or empty.
        created_at: Seconds since 1970 (UTC).
        updated_at: Seconds since 1970 (UTC) of the last event.
    """

    id: str
    crew: str
    status: str
    tenant: str
    parent: str
    spec_hash: str
    created_at: float
    updated_at: float


@dataclass(frozen=True, slots=True)
class ModelCall:
    """An answered call.

    Attributes:
        at: Seconds since 1970 (UTC).
        usd: None when the price is not known.
        cached_tokens: Those of `prompt_tokens` that came from the provider's cache.
        source: A model, the stored cache, or an identical call in flight.
        degraded: Another model than the one asked for answered.
    """

    run: RunRow
    path: str
    task: str
    agent: str
    at: float
    model: str
    usd: Decimal | None
    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int
    seconds: float
    source: AnswerSource
    degraded: bool


@dataclass(frozen=True, slots=True)
class FailedAttempt:
    """A physical attempt that failed; nothing is known to be charged for it."""

    run: RunRow
    path: str
    task: str
    agent: str
    at: float
    model: str
    kind: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Choice:
    """A decision of code, such as which model to ask."""

    run: RunRow
    path: str
    task: str
    agent: str
    at: float
    what: str
    why: str
    chosen: str
    alternatives: tuple[str, ...]


_COLUMNS = [runs.c[field.name] for field in fields(RunRow)]

Spent = ModelCall | FailedAttempt | Choice


@dataclass(slots=True)
class Sum:
    """What some calls used together. Latencies are those of calls that a model answered.

    Attributes:
        calls: Answered calls.
        failed: Failed attempts.
        known_usd: The sum of the known prices.
        unpriced: Calls whose price is not known.
    """

    calls: int = 0
    failed: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    known_usd: Decimal = field(default_factory=Decimal)
    unpriced: int = 0
    _seconds: array[float] = field(default_factory=lambda: array("d"), repr=False)

    @property
    def usd(self) -> Decimal | None:
        """The exact cost, or None when the price of any of the calls is not known."""
        return None if self.unpriced else self.known_usd

    def add(self, row: Spent) -> None:
        """Count a call or a failed attempt; decisions cost nothing."""
        if isinstance(row, FailedAttempt):
            self.failed += 1
        elif isinstance(row, ModelCall):
            self.calls += 1
            self.prompt_tokens += row.prompt_tokens
            self.completion_tokens += row.completion_tokens
            self.cached_tokens += row.cached_tokens
            if row.usd is None:
                self.unpriced += 1
            else:
                self.known_usd += row.usd
            if row.source == "model":
                self._seconds.append(row.seconds)

    def latency(self, share: float) -> float | None:
        """Return a quantile of the seconds that calls took; None when no model answered any."""
        return quantile(self._seconds, share)


def find_runs(store: Store, *, begun_since: float = 0.0, active_since: float = 0.0, crew: str = "") -> list[RunRow]:
    """Return runs, newest first, at most `MAX_RUNS`.

    Args:
        store: Where they are kept.
        begun_since: Only runs that began since then, in seconds since 1970.
        active_since: Only runs in which something was recorded since then.
        crew: Only runs of this crew; empty for all.
    """
    query = select(*_COLUMNS).where(runs.c.created_at >= begun_since, runs.c.updated_at >= active_since)
    if crew:
        query = query.where(runs.c.crew == crew)
    query = query.order_by(runs.c.created_at.desc(), runs.c.id).limit(MAX_RUNS)
    return [RunRow(**row._mapping) for row in store.read(query)]


def find_run(store: Store, run_id: str) -> RunRow:
    """Return one run.

    Raises:
        RunNotFound: No run, or more than one, begins so.
    """
    query = select(*_COLUMNS).where(runs.c.id == store.run(run_id).id)
    return RunRow(**store.read(query)[0]._mapping)


def spending(store: Store, of: Sequence[RunRow], *, since: float = 0.0) -> Iterator[Spent]:
    """Yield what some runs spent, each run's rows in their order; what a fork took over is not its own.

    A page of a hundred events is held at a time.

    Args:
        store: Where they are kept.
        of: The runs.
        since: Only what was recorded since then, in seconds since 1970.

    Raises:
        JournalError: An event is not what was written.
    """
    for first in range(0, len(of), _RUNS_A_QUERY):
        some = {run.id: run for run in of[first : first + _RUNS_A_QUERY]}
        taken_over: dict[str, int] = {}  # by run: the last event that it took over from its parent
        for run_id, seq, kind, text in _events(store, list(some), since):
            try:
                body = orjson.loads(text)
                if kind == _FORK:
                    taken_over[run_id] = seq + int(body["copied"])
                    continue
                row = _row(kind, body, some[run_id])
            except (ValueError, KeyError, TypeError):
                raise JournalError(
                    f"Event {seq} of run {run_id} cannot be read. See which row was changed: "
                    f"quarterdeck audit verify {run_id}",
                    code="corrupt",
                ) from None
            if seq > taken_over.get(run_id, 0):
                yield row


def _events(store: Store, ids: list[str], since: float) -> Iterator[tuple[str, int, str, str]]:
    # a fork's mark is read however old it is: it says which events are not its own
    wanted = ((events.c.at >= since) & events.c.kind.in_((_CALL, _FAILURE, _DECISION))) | (events.c.kind == _FORK)
    place = tuple_(events.c.run_id, events.c.seq)
    query = (
        select(events.c.run_id, events.c.seq, events.c.kind, events.c.body)
        .where(events.c.run_id.in_(ids), wanted)
        .order_by(events.c.run_id, events.c.seq)
        .limit(_EVENTS_A_PAGE)
    )
    page = store.read(query)
    while page:
        yield from map(tuple, page)
        if len(page) < _EVENTS_A_PAGE:
            return
        page = store.read(query.where(place > tuple_(*page[-1][:2])))


def _row(kind: str, body: dict[str, Any], run: RunRow) -> Spent:
    path, task, agent, at = (body.get("path", ""), body.get("task", ""), body.get("agent", ""), body.get("at", 0.0))
    if kind == _FAILURE:
        return FailedAttempt(run, path, task, agent, at, body["model"], body["error_kind"], body["seconds"])
    if kind == _DECISION:
        alternatives = tuple(body.get("alternatives", ()))
        return Choice(run, path, task, agent, at, body["what"], body["why"], body.get("chosen", ""), alternatives)
    return ModelCall(
        run=run,
        path=path,
        task=task,
        agent=agent,
        at=at,
        model=body["model"],
        usd=usd_of(body["cost_usd"]),
        prompt_tokens=body["prompt_tokens"],
        completion_tokens=body["completion_tokens"],
        cached_tokens=body.get("cached_tokens", 0),
        seconds=body["seconds"],
        source=body.get("source", "model"),
        degraded=body.get("degraded", False),
    )
