"""What the store hands out: one stored event, one run."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import orjson
from pydantic import ValidationError

from quarterdeck.errors import JournalError
from quarterdeck.journal.totals import Totals

if TYPE_CHECKING:
    from quarterdeck.journal.events import Recorded, RunStatus


@dataclass(frozen=True, slots=True)
class StoredEvent:
    """One row of the journal.

    Attributes:
        seq: The row's number in its run, counted from 1.
        at: Seconds since 1970 (UTC).
        request_hash: Of the request of a call; empty for other kinds.
        body: The event as JSON text, exactly as it was hashed.
        previous_hash: The hash of the row before.
        hash: SHA-256 over `previous_hash` and `body`, in hexadecimal.
    """

    run_id: str
    seq: int
    kind: str
    path: str
    at: float
    request_hash: str
    body: str
    previous_hash: str
    hash: str

    @property
    def event(self) -> Recorded:
        """Read the event from its body.

        Raises:
            JournalError: The row is not what was written.
        """
        from quarterdeck.journal.events import recorded_event

        try:
            return recorded_event.validate_json(self.body)
        except ValidationError as error:
            raise JournalError(
                f"Event {self.seq} of run {self.run_id} cannot be read ({error.errors()[0]['msg']}). "
                f"See which row was changed: quarterdeck audit verify {self.run_id}",
                code="corrupt",
            ) from None


@dataclass(frozen=True, slots=True)
class RunRecord:
    """What is known about a run without reading its events.

    Attributes:
        status: As recorded; a run whose process died still says `running`.
        interrupted: The status is `running`, but no process is working on the run.
        created_at: Seconds since 1970 (UTC).
        updated_at: Seconds since 1970 (UTC) of the last event.
        parent: The run that this one was forked from, or empty.
        fork_at: The path at which it was forked, or empty.
        last_path: The path of the last event.
        last_seq: The number of recorded events.
        head: The hash of the last event.
        tenant: On whose behalf it runs, or empty.
    """

    id: str
    crew: str
    status: RunStatus
    code: str
    version: str
    spec_hash: str
    created_at: float
    updated_at: float
    cancel_requested: bool
    interrupted: bool
    parent: str
    fork_at: str
    last_path: str
    last_seq: int
    head: str
    tenant: str
    totals: Totals
    spec_json: str = field(repr=False)
    inputs_json: str = field(repr=False)
    summary_json: str = field(repr=False)

    @property
    def spec(self) -> dict[str, Any]:
        """The crew as it was when the run began."""
        return _object(self.spec_json)

    @property
    def inputs(self) -> dict[str, Any]:
        """The inputs of the run."""
        return _object(self.inputs_json)

    @property
    def summary(self) -> dict[str, Any]:
        """What was recorded when the run ended; empty before."""
        return _object(self.summary_json)


def to_json(value: object) -> str:
    """Return JSON text of plain data; keys keep their order.

    Raises:
        JournalError: The value holds something that JSON cannot carry.
    """
    try:
        return orjson.dumps(value).decode()
    except TypeError as error:
        raise JournalError(
            f"The journal keeps JSON only: {error}. Pass plain dicts, lists, text and numbers."
        ) from None


def _object(text: str) -> dict[str, Any]:
    value = orjson.loads(text)
    if not isinstance(value, dict):
        raise JournalError("A row of the table `runs` holds no JSON object where one belongs.", code="corrupt")
    return value
