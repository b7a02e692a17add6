"""What one run has recorded and not committed yet, on its way to the writer."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from quarterdeck.errors import JournalError
from quarterdeck.journal.chain import link
from quarterdeck.journal.record import to_json
from quarterdeck.journal.rows import event_row, masked, walk, with_body
from quarterdeck.journal.signature import signed
from quarterdeck.journal.writer import Write

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from quarterdeck.journal.events import Event
    from quarterdeck.journal.lane import Lane
    from quarterdeck.journal.listeners import Listeners
    from quarterdeck.journal.totals import Totals
    from quarterdeck.journal.writer import Writer

PATIENCE_SECONDS = 0.02
"""How long what can wait does so for an event that shares its commit."""

_log = logging.getLogger(__name__)

_Entry = tuple["Event", dict[str, Any]]


class Outbox:
    """The end of a run's chain: numbers and links events, and hands them to the writer.

    Args:
        writer: Commits them.
        lane: The run, as the writer sees it.
        end: The number of the run's last event, and its hash.
        totals: Counts each event that goes out.
        listeners: Hear of each event once it is committed.
    """

    def __init__(self, writer: Writer, lane: Lane, end: tuple[int, str], totals: Totals, listeners: Listeners) -> None:
        self._writer = writer
        self._lane = lane
        self._seq, self._head = end
        self._totals = totals
        self._listeners = listeners
        self._noted: list[_Entry] = []  # in the chain already, but not queued yet
        self._along: list[tuple[str, Callable[[Connection], Any]]] = []
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False
        self.unsettled = 0

    async def record(
        self,
        new: Sequence[Event],
        *,
        create: dict[str, Any] | None = None,
        transition: dict[str, Any] | None = None,
    ) -> None:
        """Commit events, and with them whatever waited.

        Args:
            new: The events.
            create: The run's first row.
            transition: The run's new status.

        Raises:
            JournalError: They are not committed, and nothing after them will be.
        """
        while self._writer.full:
            await asyncio.sleep(0.005)
        create, transition = self._without_secrets(create), self._without_secrets(transition)
        entries = self._enter(new, create=create is not None)
        transition = signed(transition, self._writer.signer, self._lane.run_id, self._seq, self._head)
        committed: asyncio.Future[None] = self._lane.loop.create_future()
        self._submit(entries, committed, create=create, transition=transition)
        await committed

    def note(self, event: Event) -> None:
        """Record an event with the next commit, or by itself within about 20 ms."""
        self._noted.extend(self._enter([event]))
        self._expect_submit()

    def along(self, work: Callable[[Connection], Any], key: str = "") -> None:
        """Do something in the transaction of the next commit, or by itself within about 20 ms."""
        self._along.append((key, work))
        self._expect_submit()

    def flush(self) -> bool:
        """Hand on what waited; return whether anything did."""
        waited = bool(self._noted or self._along)
        self._submit_waiting()
        return waited

    def close(self) -> None:
        """Hand on what waited, and take nothing more."""
        self._closed = True
        self._submit_waiting()

    def masked(self, event: Event) -> Event:
        """Return an event as others may see it: without secrets."""
        return masked(event, self._writer.mask)

    def _without_secrets(self, row: dict[str, Any] | None) -> dict[str, Any] | None:
        """Return a run's row with its texts masked; they are JSON, and stay so."""
        mask = self._writer.mask
        if row is None or mask is None:
            return row
        texts = {name: row[name] for name in ("spec", "inputs", "summary") if name in row}
        return row | {name: to_json(walk(json.loads(text), mask)) for name, text in texts.items() if mask(text) != text}

    def _enter(self, new: Sequence[Event], *, create: bool = False) -> list[_Entry]:
        if self._lane.failure is not None:
            raise self._lane.failure
        if self._closed:
            raise JournalError(f"Run {self._lane.run_id} is no longer held by this process. Resume it to go on.")
        whole = [with_body(event, self._writer.mask) for event in new]
        # a fork's own past begins with itself: what it took over is in the rows, not in its totals
        for event, _ in whole[:2] if create else whole:
            self._totals.add(event)
        return [(event, self._row(event, body)) for event, body in whole]

    def _row(self, event: Event, body: str) -> dict[str, Any]:
        self._seq += 1
        previous, self._head = self._head, link(self._head, body)
        return event_row(self._lane.run_id, self._seq, event, body, previous, self._head)

    def _expect_submit(self) -> None:
        if self._timer is None:
            self._timer = self._lane.loop.call_later(PATIENCE_SECONDS, self._submit_waiting)

    def _submit_waiting(self) -> None:
        if (self._noted or self._along) and self._lane.failure is None:
            try:
                self._submit([], None)
            except JournalError as error:  # the store was closed under the run; its next append says so too
                _log.debug("run %s: %s", self._lane.run_id, error)

    def _submit(
        self,
        entries: list[_Entry],
        committed: asyncio.Future[None] | None,
        *,
        create: dict[str, Any] | None = None,
        transition: dict[str, Any] | None = None,
    ) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        entries, self._noted = [*self._noted, *entries], []
        along, self._along = self._along, []

        def done(error: JournalError | None) -> None:
            self.unsettled -= 1
            if error is None:
                for event, _ in entries:
                    self._listeners.tell(event)
            if committed is not None and not committed.done():
                committed.set_result(None) if error is None else committed.set_exception(error)

        progress = self._progress(entries, create is not None) if entries else None
        rows = [row for _, row in entries]
        self._writer.submit(Write(self._lane, done, rows, progress, create, transition, along))
        self.unsettled += 1

    def _progress(self, entries: list[_Entry], create: bool) -> dict[str, Any]:
        return {
            "run_id": self._lane.run_id,
            "updated_at": entries[0 if create else -1][0].at,
            "totals": self._totals.to_json(),
            "last_path": entries[-1][0].path,
            "last_seq": self._seq,
            "head": self._head,
        }


def stamped(event: Event) -> Event:
    """Return an event with the time of now."""
    return event.model_copy(update={"at": time.time()})
