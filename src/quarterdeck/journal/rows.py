"""The rows of a run as it writes and reads them."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from pydantic_core import PydanticSerializationError

from quarterdeck.errors import JournalError
from quarterdeck.journal.chain import verify
from quarterdeck.journal.record import RunRecord, StoredEvent
from quarterdeck.journal.totals import Totals

if TYPE_CHECKING:
    from quarterdeck.journal.events import Event
    from quarterdeck.journal.store import Store

Mask = Callable[[str], str]
"""Takes secrets out of a text."""

EVENT_LIMIT = 16 * 1024 * 1024
"""The largest event, in bytes of JSON."""


def read_whole(store: Store, run_id: str) -> tuple[RunRecord, list[StoredEvent]]:
    """Return a run with all its events.

    Raises:
        JournalError: They are not as they were recorded.
    """
    record = store.run(run_id)
    rows, head, last_seq = store.chain(run_id)
    broken = verify(run_id, rows, head, last_seq)
    if broken is not None:
        raise JournalError(
            f"{str(broken).capitalize()}, so nothing can be built on it. See: quarterdeck audit verify {run_id}",
            code="corrupt",
        )
    return record, rows


def to_body(event: Event) -> str:
    """Return an event as the JSON text that is hashed and kept.

    Raises:
        JournalError: It is too large, or holds what JSON cannot carry.
    """
    try:
        body = event.model_dump_json()
    except PydanticSerializationError as error:
        raise JournalError(f"An event at {event.path!r} cannot be written as JSON: {error}.") from None
    if len(body) > EVENT_LIMIT:
        raise JournalError(
            f"An event at {event.path!r} has {len(body):,} bytes; the journal takes at most {EVENT_LIMIT:,}. "
            "Let the tool or model return less."
        )
    return body


def masked(event: Event, mask: Mask | None) -> Event:
    """Return an event without what must not be kept: the very same one where there is nothing of the kind.

    Args:
        event: The event.
        mask: Returns a text without it, and the very same object where there is nothing to do; None for none.
    """
    return event if mask is None else with_body(event, mask)[0]


def with_body(event: Event, mask: Mask | None) -> tuple[Event, str]:
    """Return an event without what must not be kept, and its JSON text. Raises as `to_body`."""
    body = to_body(event)
    if mask is None or mask(body) is body:
        return event, body
    event = type(event).model_validate(walk(json.loads(body), mask))
    return event, to_body(event)


def walk(value: Any, mask: Mask) -> Any:
    """Return JSON-able data with all its texts masked, keys too."""
    if isinstance(value, str):
        return mask(value)
    if isinstance(value, dict):
        return {mask(key): walk(part, mask) for key, part in value.items()}
    return [walk(part, mask) for part in value] if isinstance(value, list) else value


def event_row(run_id: str, seq: int, event: Event, body: str, previous: str, head: str) -> dict[str, Any]:
    """Return the row of one event of a run."""
    return {
        "run_id": run_id,
        "seq": seq,
        "kind": event.kind,  # type: ignore[attr-defined]
        "path": event.path,
        "at": event.at,
        "request_hash": getattr(event, "request_hash", ""),
        "body": body,
        "previous_hash": previous,
        "hash": head,
    }


def new_row(crew: str, spec_hash: str, version: str, now: float, spec: str, inputs: str) -> dict[str, Any]:
    """Return the row of a run that begins, but for its id."""
    return {
        "id": "",
        "crew": crew,
        "status": "running",
        "code": "",
        "version": version,
        "spec_hash": spec_hash,
        "created_at": now,
        "updated_at": now,
        "cancel_requested": False,
        "spec": spec,
        "inputs": inputs,
        "summary": "{}",
        "parent": "",
        "fork_at": "",
        "totals": Totals().to_json(),
        "last_path": "",
        "last_seq": 0,
        "head": "",
        "tenant": "",
    }


def as_record(row: dict[str, Any]) -> RunRecord:
    """Return what `Store.run` would make of a row that this process has just made."""
    texts = {"spec", "inputs", "summary"}
    plain = {name: value for name, value in row.items() if name not in texts}
    raw = {f"{name}_json": row[name] for name in texts}
    return RunRecord(**{**plain, **raw, "totals": Totals.from_json(row["totals"]), "interrupted": False})
