"""What a run has recorded already, by logical path, for the process that goes on with it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar, cast

import orjson

from quarterdeck.errors import Diverged
from quarterdeck.journal.events import (
    Decision,
    EffectStarted,
    Event,
    LimitsRaised,
    MemoryRecalled,
    MemoryWritten,
    ModelCalled,
    PlanMade,
    PlanReviewed,
    RunForked,
    StepEnded,
    TaskEnded,
    ToolCalled,
)
from quarterdeck.journal.record import StoredEvent

_CALLS = (ModelCalled.model_fields["kind"].default, ToolCalled.model_fields["kind"].default)
_TASK = TaskEnded.model_fields["kind"].default
_DECISION = Decision.model_fields["kind"].default
_PLAN = tuple(model.model_fields["kind"].default for model in (PlanMade, PlanReviewed, StepEnded, EffectStarted))
_MEMORY = tuple(model.model_fields["kind"].default for model in (MemoryRecalled, MemoryWritten))
_RAISED = LimitsRaised.model_fields["kind"].default
_FORK = RunForked.model_fields["kind"].default

Found = TypeVar("Found", bound=Event)


class Replay:
    """The recorded calls and outputs of a run. Rows are only parsed when they are asked for.

    A call that a fork took over is pinned: it is replayed by its path alone, because what was changed in the fork may
    well have changed its request.

    Args:
        rows: All events of the run.
    """

    def __init__(self, rows: Sequence[StoredEvent]) -> None:
        self._rows: dict[tuple[str, str], StoredEvent] = {}
        self.pinned = _pinned(rows)
        self._raised = [row for row in rows if row.kind == _RAISED and row.seq not in self.pinned]
        for row in rows:
            if row.kind in _CALLS or row.kind in (_TASK, _DECISION, *_PLAN, *_MEMORY):
                self._rows[row.kind, row.path] = row

    @property
    def raised(self) -> LimitsRaised | None:
        """The last total of each limit that people gave the run; None when they gave none."""
        totals: dict[str, float | None] = {}
        for row in self._raised:
            totals |= {name: value for name in ("usd", "tokens") if (value := getattr(row.event, name)) is not None}
        return LimitsRaised.model_validate(totals) if totals else None

    @property
    def calls(self) -> int:
        """How many model and tool calls are recorded."""
        return sum(kind in _CALLS for kind, _ in self._rows)

    def model(self, path: str, request_hash: str, request: object = None) -> ModelCalled | None:
        """Return the recorded model call at a path; see `RunJournal.recorded_model`."""
        row = self._call(_CALLS[0], path, request_hash, request)
        return None if row is None else cast(ModelCalled, row.event)

    def tool(self, path: str, request_hash: str, request: object = None) -> ToolCalled | None:
        """Return the recorded tool call at a path; see `RunJournal.recorded_tool`."""
        row = self._call(_CALLS[1], path, request_hash, request)
        return None if row is None else cast(ToolCalled, row.event)

    def tools(self, name: str) -> list[ToolCalled]:
        """Return the recorded calls of one tool, oldest first."""
        events = (cast(ToolCalled, row.event) for (kind, _), row in self._rows.items() if kind == _CALLS[1])
        return [event for event in events if event.tool == name]

    def task(self, path: str) -> TaskEnded | None:
        """Return how the task at a path ended, if it did."""
        row = self._rows.get((_TASK, path))
        return None if row is None else cast(TaskEnded, row.event)

    def decision(self, path: str) -> Decision | None:
        """Return what was decided at a path, if anything was."""
        row = self._rows.get((_DECISION, path))
        return None if row is None else cast(Decision, row.event)

    def recorded(self, kind: type[Found], path: str) -> Found | None:
        """Return the last event of a kind at a path, if there is one; of the kinds of plans and memory."""
        row = self._rows.get((kind.model_fields["kind"].default, path))
        return None if row is None else cast(Found, row.event)

    def tools_below(self, path: str) -> list[ToolCalled]:
        """Return the recorded tool calls below a path, oldest first; all of them for an empty path."""
        below = f"{path}/" if path else ""
        rows = (row for (kind, at), row in self._rows.items() if kind == _CALLS[1] and at.startswith(below))
        return [cast(ToolCalled, row.event) for row in rows]

    def _call(self, kind: str, path: str, request_hash: str, request: object) -> StoredEvent | None:
        row = self._rows.get((kind, path))
        if row is None or row.request_hash == request_hash or row.seq in self.pinned:
            return row
        body = orjson.loads(row.body)
        recorded = body["request"] if "request" in body else {"tool": body["tool"], "arguments": body["arguments"]}
        before, now = orjson.dumps(recorded).decode(), _text(request) or f"a request with the hash {request_hash}"
        raise Diverged(
            f"Run {row.run_id} diverged at {path}: it now asks {_short(now)}, but recorded is {_short(before)} "
            f"(hash {row.request_hash[:12]}, now {request_hash[:12]}). The crew or its tools have changed since. Undo "
            "the change and resume, or go on with it from there: "
            f"quarterdeck runs fork {row.run_id} --at {path.split('/')[0]}",
            recorded=before,
            requested=now,
        )


def _pinned(rows: Sequence[StoredEvent]) -> range:
    for row in rows[:3]:  # a fork says so right after its start
        if row.kind == _FORK and isinstance(fork := row.event, RunForked):
            return range(row.seq + 1, row.seq + 1 + fork.copied)
    return range(0)


def _text(request: object) -> str:
    return "" if request is None else orjson.dumps(request, default=str).decode()


def _short(text: str) -> str:
    return text if len(text) <= 160 else f"{text[:100]} ... {text[-50:]}"
