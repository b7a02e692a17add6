"""One run in this process: what it records, what it has recorded, and who hears of it."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any

from quarterdeck.errors import JournalError, RunBusy
from quarterdeck.journal.chain import genesis
from quarterdeck.journal.dialogue import Dialogue
from quarterdeck.journal.events import (
    Decision,
    Event,
    LimitsRaised,
    ModelCalled,
    RunEnded,
    RunResumed,
    RunStarted,
    RunStatus,
    RunWaiting,
    TaskEnded,
    ToolCalled,
)
from quarterdeck.journal.fork import beginning, take_over
from quarterdeck.journal.ids import checked_id, new_id
from quarterdeck.journal.inbox import Inbox
from quarterdeck.journal.lane import Lane
from quarterdeck.journal.listeners import Listener, Listeners
from quarterdeck.journal.outbox import Outbox, stamped
from quarterdeck.journal.record import RunRecord, StoredEvent, to_json
from quarterdeck.journal.replay import Found, Replay
from quarterdeck.journal.rows import as_record, new_row, read_whole
from quarterdeck.journal.store import Store
from quarterdeck.journal.totals import Totals

if TYPE_CHECKING:
    from sqlalchemy import Connection

_ID_ATTEMPTS = 5

_log = logging.getLogger(__name__)


class RunJournal:
    """The journal of one run, held by this process until `close`.

    Made by `start`, `resume` or `fork`; belongs to the event loop on which it was made. After an append has failed,
    each later one raises the same error: the chain would have a gap.

    Attributes:
        id: The run's id.
        crew: The crew's name.
        spec: The crew as it was when the run began.
        spec_hash: Identifies that crew.
        inputs: The run's inputs.
        parent: The run that this one was forked from, or empty.
        tenant: On whose behalf it runs, or empty.
        store: Where it is kept.
        status: As last recorded.
        totals: What the run used so far, up to its last event; earlier processes included.
        cancel_requested: Somebody asked for the run to stop.
        dialogue: What it asked people, and what they said.
        inbox: Takes what they say while this process holds the run.
    """

    def __init__(self, store: Store, record: RunRecord, rows: Sequence[StoredEvent] = ()) -> None:
        self.id = record.id
        self.crew = record.crew
        self.spec = record.spec
        self.spec_hash = record.spec_hash
        self.inputs = record.inputs
        self.parent = record.parent
        self.tenant = record.tenant
        self.status: RunStatus = record.status
        self.cancel_requested = False
        self.store = store
        self._replay = Replay(rows)
        self.totals = Totals()
        for row in rows:
            if row.seq not in self._replay.pinned:
                self.totals.add(row.event)
        self.dialogue = Dialogue(rows, self._replay.pinned)
        self.inbox = Inbox(self)
        self._lane = Lane(record.id, asyncio.get_running_loop(), self._cancel, self.inbox.arrived)
        self._closed = False
        self._began = time.monotonic()
        self._seconds_before = self.totals.seconds
        self._listeners = Listeners()
        self._outbox = Outbox(store.writer, self._lane, (record.last_seq, record.head), self.totals, self._listeners)
        self._on_cancel: list[Callable[[], None]] = []

    @classmethod
    async def start(
        cls,
        store: Store,
        *,
        crew: str,
        spec: dict[str, Any],
        inputs: dict[str, Any],
        spec_hash: str,
        version: str,
        run_id: str | None = None,
        tenant: str = "",
    ) -> RunJournal:
        """Begin a run: it is held by this process and recorded.

        Args:
            store: Where it is kept.
            crew: The crew's name.
            spec: The complete crew, as JSON-able data.
            inputs: The run's inputs, as JSON-able data.
            spec_hash: Identifies the crew.
            version: Of Quarterdeck.
            run_id: Lower-case letters, digits and dashes; a new one of eight characters when None.
            tenant: On whose behalf it runs; for budgets and memory.

        Raises:
            ValueError: The id has other characters.
            RunBusy: There is a run of this id already.
            JournalError: The database cannot be written.
        """
        now = time.time()
        row = new_row(crew, spec_hash, version, now, to_json(spec), to_json(inputs)) | {"tenant": tenant}
        started = RunStarted(crew=crew, inputs=inputs, spec_hash=spec_hash, version=version, tenant=tenant, at=now)
        return await cls._begin(store, row, [started], run_id)

    @classmethod
    async def resume(cls, store: Store, run_id: str) -> RunJournal:
        """Take up a run where its journal ends.

        Args:
            store: Where it is kept.
            run_id: The run, or the beginning of its id.

        Raises:
            RunNotFound: No such run.
            RunBusy: Another process works on it.
            JournalError: Its events were changed after they were recorded, or the database cannot be used.
        """
        journal = await cls.take(store, run_id)
        try:
            journal.status = "running"
            await journal._record([RunResumed(calls=journal._replay.calls, at=time.time())], summary={})
        except BaseException:
            await journal.close()
            raise
        return journal

    @classmethod
    async def take(cls, store: Store, run_id: str) -> RunJournal:
        """Hold a run without going on with it, to record what a person has to say of it. Raises as `resume`."""
        run_id = (await asyncio.to_thread(store.run, run_id)).id
        lane = Lane(run_id, asyncio.get_running_loop(), lambda: None)
        await store.holds.take(lane)
        try:
            record, rows = await asyncio.to_thread(read_whole, store, run_id)
            journal = cls(store, record, rows)
            journal._lane.session = lane.session
            journal._lane.failure = lane.failure
            journal.cancel_requested = record.cancel_requested and record.status == "running"
            store.writer.watch(journal._lane)
            await journal.inbox.fetch()
        except BaseException:
            store.writer.forget(lane)
            await store.holds.release(lane)
            raise
        return journal

    @classmethod
    async def fork(cls, store: Store, run_id: str, at: str, changed: dict[str, Any]) -> RunJournal:
        """Begin a new run that takes over what another recorded before a path, and goes its own way from there.

        Args:
            store: Where both are kept.
            run_id: The parent, or the beginning of its id. It is not changed, and may be running.
            at: A path that the parent recorded, such as `review`.
            changed: New values: `name` of an input, `task.field` of the recorded output of an earlier task.

        Raises:
            RunNotFound: No such run.
            JournalError: Nothing is recorded at the path or under a name, or the database cannot be used.
        """
        parent = await asyncio.to_thread(store.run, run_id)
        parent, rows = await asyncio.to_thread(read_whole, store, parent.id)
        row, begin = beginning(parent, take_over(parent.id, rows, at, parent.inputs, changed), at, changed)
        return await cls._begin(store, row, begin, None)

    @property
    def streaming(self) -> bool:
        """Whether anybody wants text as it arrives."""
        return self._listeners.read_text

    @property
    def recorded_calls(self) -> int:
        """How many model and tool calls were recorded when this process took the run."""
        return self._replay.calls

    @property
    def seconds(self) -> float:
        """Time in which processes worked on the run, until now."""
        return self._seconds_before + time.monotonic() - self._began

    def recorded_model(self, path: str, request_hash: str, request: object = None) -> ModelCalled | None:
        """Return what was recorded for a model call before this process took the run.

        Args:
            path: The call's logical path.
            request_hash: Of the request that is about to be made.
            request: The request itself, for the message when it differs from the recorded one.

        Raises:
            Diverged: Another request is recorded at this path, and it was not taken over by a fork.
        """
        return self._replay.model(path, request_hash, request)

    def recorded_tool(self, path: str, request_hash: str, request: object = None) -> ToolCalled | None:
        """Return what was recorded for a tool call; as `recorded_model`."""
        return self._replay.tool(path, request_hash, request)

    def recorded_tools(self, name: str) -> list[ToolCalled]:
        """Return the calls of one tool that were recorded before this process took the run, oldest first."""
        return self._replay.tools(name)

    def recorded_decision(self, path: str) -> Decision | None:
        """Return what was decided at a path before this process took the run, or None."""
        return self._replay.decision(path)

    def limits_raised(self) -> LimitsRaised | None:
        """Return what people gave this run before this process took it: the last total of each; None for nothing."""
        return self._replay.raised

    def ended_task(self, path: str) -> TaskEnded | None:
        """Return how a task ended before this process took the run, or None."""
        return self._replay.task(path)

    def recorded(self, kind: type[Found], path: str) -> Found | None:
        """Return the last event of a kind, of plans or memory, at a path before this process; or None."""
        return self._replay.recorded(kind, path)

    def recorded_tools_below(self, path: str) -> list[ToolCalled]:
        """Return the tool calls below a path that were recorded before this process took the run, oldest first."""
        return self._replay.tools_below(path)

    async def append(self, event: Event) -> None:
        """Record an event: when this returns, it is committed.

        If the caller is cancelled meanwhile, the event is recorded nevertheless.

        Raises:
            JournalError: It is not recorded, and nothing after it will be.
        """
        await self._record([stamped(event)])

    def note(self, event: Event) -> None:
        """Record an event without waiting: it is committed with the next one, or by itself within about 20 ms.

        For what can be made again from what is recorded: no later event is ever committed without it.

        Raises:
            JournalError: Nothing can be recorded any more.
        """
        self._outbox.note(stamped(event))

    async def decide(self, event: Decision) -> None:
        """Record a decision, unless an earlier process has recorded one at this path."""
        if self._replay.decision(event.path) is None:
            await self.append(event)

    def along(self, work: Callable[[Connection], Any], key: str = "") -> None:
        """Do something with the database in the transaction of the next event, or by itself within about 20 ms.

        Args:
            work: Called on the writer's thread with its connection; again when the commit has to be tried again.
            key: Of the one row that it locks and others may too; works are done in the order of their keys.
        """
        self._outbox.along(work, key)

    def flush(self) -> bool:
        """Have what waits for the next event committed now; return whether anything did wait."""
        return self._outbox.flush()

    async def wait(self, event: RunWaiting) -> None:
        """Record that the run stops until a person has answered; whoever resumes it goes on. Raises as `append`."""
        self.status = "waiting"
        summary = {"status": "waiting", "code": event.code, "evidence": event.evidence}
        await self._record([stamped(event)], code=event.code, summary=summary)

    async def end(self, event: RunEnded, summary: dict[str, Any] | None = None) -> None:
        """Record how the run ended, with its status.

        Args:
            event: The end.
            summary: What to show of the run later; status, code and evidence when None.

        Raises:
            JournalError: It is not recorded.
        """
        if summary is None:
            summary = {"status": event.status, "code": event.code, "evidence": event.evidence}
        self.status = event.status
        await self._record([stamped(event)], code=event.code, summary=summary)

    def publish(self, event: Event) -> None:
        """Tell listeners an event that is not kept."""
        if self._listeners:
            self._listeners.tell(self._outbox.masked(stamped(event)))

    def listen(self, listener: Listener) -> Callable[[], None]:
        """Call `listener` with each event that is committed or published, on this loop; return how to stop it.

        A listener that raises is logged and not called again: what shows a run must not fail it.
        """
        return self._listeners.add(listener)

    def on_cancel(self, callback: Callable[[], None]) -> None:
        """Call `callback` once, on this loop, when somebody cancels the run; soon, if that has happened already."""
        if self.cancel_requested:
            self._lane.loop.call_soon(callback)
        else:
            self._on_cancel.append(callback)

    async def close(self) -> None:
        """Let the run go, once all its events are settled; harmless when repeated."""
        if self._closed:
            return
        self._closed = True
        self._outbox.close()
        writer = self.store.writer
        try:
            if self._outbox.unsettled:  # appends whose callers were cancelled
                await writer.ask(lambda _: None)
        except JournalError as error:
            _log.debug("run %s is let go after: %s", self.id, error)
        finally:
            writer.forget(self._lane)
            await self.store.holds.release(self._lane)

    async def __aenter__(self) -> RunJournal:
        """Return the journal; the end of the block closes it."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the journal."""
        await self.close()

    @classmethod
    async def _begin(cls, store: Store, row: dict[str, Any], first: list[Event], run_id: str | None) -> RunJournal:
        for attempt in range(_ID_ATTEMPTS):
            row["id"] = new_id() if run_id is None else checked_id(run_id)
            row["head"] = genesis(row["id"])
            journal = cls(store, as_record(row))
            try:
                await store.holds.take(journal._lane)
                store.writer.watch(journal._lane)
                await journal._record(first, create=row)
                if len(first) > 1:
                    rows = await asyncio.to_thread(store.chain, journal.id)
                    journal._replay = Replay(rows[0])
                    journal.dialogue = Dialogue(rows[0], journal._replay.pinned)
                return journal
            except RunBusy:
                await journal.close()
                if run_id is not None:
                    raise RunBusy(f"There is a run {run_id} already. Choose another id, or resume it.") from None
                if attempt == _ID_ATTEMPTS - 1:
                    raise
            except BaseException:
                await journal.close()
                raise
        raise AssertionError("unreachable")

    async def _record(
        self,
        new: Sequence[Event],
        *,
        create: dict[str, Any] | None = None,
        code: str = "",
        summary: dict[str, Any] | None = None,
    ) -> None:
        transition = None if summary is None else {
            "run_id": self.id,
            "status": self.status,
            "code": code,
            "summary": to_json(summary),
            "cancel_requested": self.cancel_requested,
        }  # fmt: skip
        await self._outbox.record(new, create=create, transition=transition)

    def _cancel(self) -> None:
        self.cancel_requested = True
        callbacks, self._on_cancel = self._on_cancel, []
        for callback in callbacks:
            callback()
