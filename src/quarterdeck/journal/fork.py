"""What a fork takes over from its parent, with the changes that were asked for."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from quarterdeck.errors import JournalError
from quarterdeck.journal.events import (
    ApprovalAnswered,
    ApprovalAsked,
    Event,
    RunEnded,
    RunForked,
    RunResumed,
    RunStarted,
    RunWaiting,
    TaskEnded,
)
from quarterdeck.journal.record import RunRecord, StoredEvent, to_json
from quarterdeck.journal.rows import new_row

_OF_THE_PARENT = {
    model.model_fields["kind"].default
    for model in (RunStarted, RunForked, RunResumed, RunWaiting, RunEnded, ApprovalAsked, ApprovalAnswered)
}
"""An approval holds for the run in which it was asked for, and for no other."""
_PATHS_SHOWN = 20


@dataclass(frozen=True, slots=True)
class Taken:
    """What a fork begins with: its inputs, and the events before the point where it leaves its parent."""

    inputs: dict[str, Any]
    events: list[Event]


def beginning(parent: RunRecord, taken: Taken, at: str, changed: dict[str, Any]) -> tuple[dict[str, Any], list[Event]]:
    """Return the row of a fork, but for its id, and its first events.

    Args:
        parent: The run that it leaves.
        taken: What it takes over.
        at: Where it leaves its parent.
        changed: What was changed.
    """
    now = time.time()
    row = new_row(parent.crew, parent.spec_hash, parent.version, now, parent.spec_json, to_json(taken.inputs))
    row |= {"parent": parent.id, "fork_at": at, "tenant": parent.tenant}
    started = RunStarted(
        crew=parent.crew,
        inputs=taken.inputs,
        spec_hash=parent.spec_hash,
        version=parent.version,
        tenant=parent.tenant,
        at=now,
    )
    forked = RunForked(parent=parent.id, fork_at=at, changed=changed, copied=len(taken.events), at=now)
    return row, [started, forked, *taken.events]


def take_over(
    run_id: str, rows: Sequence[StoredEvent], at: str, inputs: dict[str, Any], changed: dict[str, Any]
) -> Taken:
    """Return what a fork of a run begins with.

    Args:
        run_id: The parent.
        rows: All its events.
        at: The path from which the fork goes its own way: a task, or a step of one.
        inputs: The parent's inputs.
        changed: New values: `name` of an input, `task.field` of the recorded output of a task before `at`.

    Raises:
        JournalError: Nothing is recorded at the path, or there is nothing to change under a name.
    """
    end = next((n for n, row in enumerate(rows) if at and (row.path == at or row.path.startswith(f"{at}/"))), None)
    if end is None:
        known = list(dict.fromkeys(row.path.split("/")[0] for row in rows if row.path))
        listed = ", ".join(known[:_PATHS_SHOWN]) + (" ..." if len(known) > _PATHS_SHOWN else "")
        raise JournalError(
            f"Run {run_id} has recorded nothing at {at!r}, so it cannot be forked there. "
            + (f"It can be forked at: {listed}, or a step below." if known else "It has recorded no step yet.")
        )
    copied = [row.event for row in rows[:end] if row.kind not in _OF_THE_PARENT]
    new_inputs = dict(inputs)
    for key, value in changed.items():
        task, dot, field = key.partition(".")
        if not dot:
            new_inputs[key] = value
            continue
        position = _end_of(task, copied, at, run_id)
        copied[position] = _changed(copied[position], task, field.split("."), value)
    return Taken(new_inputs, list(copied))


def _end_of(task: str, copied: Sequence[Event], at: str, run_id: str) -> int:
    ended = [n for n, event in enumerate(copied) if isinstance(event, TaskEnded)]
    found = [n for n in ended if copied[n].path == task] or [n for n in ended if copied[n].task == task]
    if found:
        return found[-1]
    names = ", ".join(dict.fromkeys(copied[n].task or copied[n].path for n in ended)) or "none"
    raise JournalError(
        f"Run {run_id}: no task {task!r} ended before {at!r}, so its output cannot be set. Before it ended: {names}."
    )


def _changed(event: Event, task: str, field: Sequence[str], value: Any) -> TaskEnded:
    assert isinstance(event, TaskEnded)
    output = orjson.loads(orjson.dumps(event.output))
    place = output
    for name in field[:-1]:
        place = place.get(name) if isinstance(place, dict) else None
    if not isinstance(place, dict):
        raise JournalError(f"The recorded output of task {task!r} has no field {'.'.join(field)!r} to set.")
    place[field[-1]] = value
    # the text was written for the old output; whoever shows this task shows the new one
    text = orjson.dumps(output, option=orjson.OPT_INDENT_2).decode()
    return event.model_copy(update={"output": output, "text": text})
