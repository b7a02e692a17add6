"""What runs of a crew did: tools called, models asked, how runs and tasks ended, turns, tokens and cost."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING

import orjson
from sqlalchemy import select, tuple_

from quarterdeck.errors import JournalError
from quarterdeck.journal.spending import ModelCall, RunRow, Sum, spending
from quarterdeck.journal.tables import events, runs

if TYPE_CHECKING:
    from quarterdeck.journal.store import Store

ENDED = ("succeeded", "partial", "failed", "cancelled")
"""Only such runs are looked at: what waits or is at work has not done all that it will."""

_RUNS_A_QUERY = 50
_EVENTS_A_PAGE = 100
_TOOL, _TASK, _RUN = "tool.called", "task.ended", "run.ended"
_TURN = re.compile(r"(?:^|/)turn-\d+$")
_OF_A_PROPOSAL = '{"proposal":'  # a run that a person's yes to one call has made is not the crew's own


@dataclass(slots=True)
class Behaviour:
    """What one run did.

    Attributes:
        tools: Calls by tool, the denied ones too: it is what the agents want that counts.
        models: Answers by model.
        tasks: Ends of tasks, such as `failed output_rejected`.
        end: How the run ended, likewise.
        turns: By task, how often its agent was asked in turn.
        used: Its tokens and its cost.
    """

    run: RunRow
    tools: Counter[str] = field(default_factory=Counter)
    models: Counter[str] = field(default_factory=Counter)
    tasks: Counter[str] = field(default_factory=Counter)
    end: str = ""
    turns: Counter[str] = field(default_factory=Counter)
    used: Sum = field(default_factory=Sum)

    @property
    def turns_a_task(self) -> float | None:
        """The mean over its tasks that had turns; None when none had."""
        return self.turns.total() / len(self.turns) if self.turns else None


def ended_runs(store: Store, crew: str, limit: int, *, since: float = 0.0, before: float | None = None) -> list[RunRow]:
    """Return a crew's own runs that have ended, newest first; forks are left out, for part of them is another run's.

    Args:
        store: Where they are kept.
        crew: The crew's name.
        limit: At most so many.
        since: Only runs that began since then, in seconds since 1970.
        before: Only runs that began before then, likewise; None for all.
    """
    query = select(*(runs.c[one.name] for one in fields(RunRow))).where(
        runs.c.crew == crew, runs.c.parent == "", runs.c.status.in_(ENDED), runs.c.created_at >= since,
        ~runs.c.spec.startswith(_OF_A_PROPOSAL, autoescape=True),
    )  # fmt: skip
    if before is not None:
        query = query.where(runs.c.created_at < before)
    query = query.order_by(runs.c.created_at.desc(), runs.c.id).limit(limit)
    return [RunRow(**row._mapping) for row in store.read(query)]


def behaviour(store: Store, of: Sequence[RunRow]) -> list[Behaviour]:
    """Return what some runs did, in their order. A page of a hundred events is held at a time.

    Args:
        store: Where they are kept.
        of: The runs.

    Raises:
        JournalError: An event is not what was written.
    """
    found = {run.id: Behaviour(run) for run in of}
    for row in spending(store, of):
        one = found[row.run.id]
        one.used.add(row)
        if isinstance(row, ModelCall):
            one.models[row.model] += 1
            if row.task and _TURN.search(row.path):
                one.turns[row.task] += 1
    for run_id, kind, name in _named(store, list(found)):
        one = found[run_id]
        if kind == _RUN:
            one.end = name  # a run that was resumed has ended more than once: the last one holds
        else:
            (one.tools if kind == _TOOL else one.tasks)[name] += 1
    return list(found.values())


def _named(store: Store, ids: Sequence[str]) -> Iterator[tuple[str, str, str]]:
    """Yield the run, the kind and the name of what counts: the tool, or status and code of an end."""
    for run_id, seq, kind, text in _events(store, ids):
        try:
            body = orjson.loads(text)
            name = str(body["tool"]) if kind == _TOOL else f"{body['status']} {body['code']}".strip()
        except (ValueError, KeyError, TypeError):
            raise JournalError(
                f"Event {seq} of run {run_id} cannot be read. See which row was changed: "
                f"quarterdeck audit verify {run_id}",
                code="corrupt",
            ) from None
        yield run_id, kind, name


def _events(store: Store, ids: Sequence[str]) -> Iterator[tuple[str, int, str, str]]:
    place = tuple_(events.c.run_id, events.c.seq)
    for first in range(0, len(ids), _RUNS_A_QUERY):
        query = (
            select(events.c.run_id, events.c.seq, events.c.kind, events.c.body)
            .where(events.c.run_id.in_(ids[first : first + _RUNS_A_QUERY]), events.c.kind.in_((_TOOL, _TASK, _RUN)))
            .order_by(events.c.run_id, events.c.seq)
            .limit(_EVENTS_A_PAGE)
        )
        page = store.read(query)
        while page:
            yield from map(tuple, page)
            page = store.read(query.where(place > tuple_(*page[-1][:2]))) if len(page) == _EVENTS_A_PAGE else []
