"""The hash chain of a run: each event carries the hash of the one before, so that a later change shows."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import orjson

from quarterdeck.journal.record import StoredEvent


@dataclass(frozen=True, slots=True)
class Broken:
    """The first row of a run that is not as it was written.

    Attributes:
        seq: The row's number; for a dropped row the number that is missing.
        how: What was done to it.
    """

    run_id: str
    seq: int
    how: Literal["changed", "dropped", "inserted"]

    def __str__(self) -> str:
        """Return one line for a person."""
        return f"run {self.run_id}: event {self.seq} was {self.how} after it was recorded"


def genesis(run_id: str) -> str:
    """Return what stands before the first event: no event of one run fits into another."""
    return hashlib.sha256(f"quarterdeck run {run_id}".encode()).hexdigest()


def link(previous_hash: str, body: str) -> str:
    """Return the hash of the event `body` that follows the event with `previous_hash`."""
    return hashlib.sha256(f"{previous_hash}\n{body}".encode()).hexdigest()


def verify(run_id: str, rows: Sequence[StoredEvent], head: str, last_seq: int) -> Broken | None:
    """Check the rows of a run, in the order of their numbers, against their chain.

    Args:
        run_id: The run.
        rows: All its rows as they are now.
        head: The hash of the last event, as the run's own row has it.
        last_seq: The number of events, as the run's own row has it.

    Returns:
        The first row that is wrong, or None.
    """
    # The last row that claims a predecessor is the one the rest of the chain was built on.
    follower = {row.previous_hash: position for position, row in enumerate(rows)}
    previous = genesis(run_id)
    for position, row in enumerate(rows):
        seq = position + 1
        if row.seq != seq:
            return Broken(run_id, seq, "dropped")
        if follower.get(previous, position) > position or seq > last_seq:
            return Broken(run_id, seq, "inserted")
        if not _as_written(row):
            return Broken(run_id, seq, "changed")
        if row.previous_hash != previous:
            if len(rows) < last_seq:
                return Broken(run_id, seq, "dropped")
            return Broken(run_id, max(1, seq - 1), "changed")
        previous = row.hash
    if len(rows) < last_seq:
        return Broken(run_id, len(rows) + 1, "dropped")
    return None if previous == head else Broken(run_id, last_seq, "changed")


def _as_written(row: StoredEvent) -> bool:
    if row.hash != link(row.previous_hash, row.body):
        return False
    try:
        body = orjson.loads(row.body)
        written = (body["kind"], body["path"], body["at"], body.get("request_hash", ""))
    except (ValueError, KeyError, TypeError, AttributeError):
        return False
    return bool(written == (row.kind, row.path, row.at, row.request_hash))
