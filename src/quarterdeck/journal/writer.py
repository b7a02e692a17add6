"""The one thread that writes: what many runs have to record at the same moment shares one commit.

An append that waits while another commit is on its way joins the next one (group commit). If a shared commit fails,
each run is tried alone, so that the failure of one does not hurt the others.
"""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar, cast

from sqlalchemy import insert
from sqlalchemy.exc import DBAPIError, IntegrityError

from quarterdeck.errors import JournalError, RunBusy
from quarterdeck.journal.failures import shown, translate
from quarterdeck.journal.inbox import letters_to
from quarterdeck.journal.lane import Lane, Letter
from quarterdeck.journal.statement import Statement, change_run
from quarterdeck.journal.tables import events, runs

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop

    from sqlalchemy import Connection, Engine, Executable

    from quarterdeck.journal.rows import Mask
    from quarterdeck.journal.signature import Signer

QUEUE_LIMIT = 10_000
"""Above so many waiting writes, appends wait before they join the queue."""

BATCH_LIMIT = 500
POLL_SECONDS = 0.4
_STOP_SECONDS = 30.0
_CANCELLED = "SELECT id FROM runs WHERE cancel_requested = {true} AND status = 'running'"

T = TypeVar("T")
Done = Callable[[JournalError | None], None]

_log = logging.getLogger(__name__)


@dataclass(slots=True, eq=False)
class Write:
    """What one run wants committed as a whole.

    Attributes:
        done: Called on the lane's loop once it is committed, or with the reason why it is not.
        progress: The run's new head and totals, or None.
        create: The run's first row, or None.
        transition: The run's new status, or None.
        along: What else belongs into the same transaction, each with the key of the row that it locks.
    """

    lane: Lane
    done: Done
    events: Sequence[dict[str, Any]] = ()
    progress: dict[str, Any] | None = None
    create: dict[str, Any] | None = None
    transition: dict[str, Any] | None = None
    along: Sequence[tuple[str, Callable[[Connection], Any]]] = ()


@dataclass(slots=True, eq=False)
class _Ask:
    """Something to do on the writer's own connection, in a transaction of its own."""

    loop: AbstractEventLoop
    work: Callable[[Connection], Any]
    done: Done
    result: Any = None


@dataclass(slots=True)
class _Answers:
    """Outcomes, grouped so that each event loop is woken once a commit."""

    by_loop: dict[AbstractEventLoop, list[tuple[Done, JournalError | None]]] = field(default_factory=dict)

    def add(self, loop: AbstractEventLoop, done: Done, error: JournalError | None) -> None:
        self.by_loop.setdefault(loop, []).append((done, error))

    def send(self) -> None:
        for loop, outcomes in self.by_loop.items():
            _call(loop, partial(_tell, outcomes))


class Writer:
    """Commits the writes of all runs of one store, in the order in which they came.

    Args:
        engine: The database.

    Attributes:
        mask: Takes secrets out of every text before it is recorded or shown; None for none.
        signer: Signs each run that ends or waits; None for nobody.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._queue: queue.SimpleQueue[Write | _Ask | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._lanes: dict[str, Lane] = {}
        self._thread: threading.Thread | None = None
        self._closed = False
        self._connection: Connection | None = None
        self._next_poll = 0.0
        self._compiled: dict[Executable, Statement] = {}
        self.session = 0
        self.mask: Mask | None = None
        self.signer: Signer | None = None
        dialect = engine.dialect
        self._driver_error: type[Exception] = cast("type[Exception]", dialect.loaded_dbapi.Error)
        self._create = Statement(insert(runs), dialect)
        self._insert = Statement(insert(events), dialect)
        self._progress = Statement(change_run("updated_at", "totals", "last_path", "last_seq", "head"), dialect)
        self._transition = Statement(change_run("status", "code", "summary", "cancel_requested"), dialect)
        self._cancelled = _CANCELLED.format(true="1" if dialect.name == "sqlite" else "true")

    @property
    def full(self) -> bool:
        """Whether a caller has to wait before it adds to the queue."""
        return self._queue.qsize() >= QUEUE_LIMIT

    def submit(self, job: Write | _Ask) -> None:
        """Queue a job; its `done` is called when it is committed, or with the reason why it is not.

        Raises:
            JournalError: The store is closed.
        """
        with self._lock:
            if self._closed:
                raise JournalError("The journal is closed. Open a Store again to write to it.")
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="quarterdeck-journal", daemon=True)
                self._thread.start()
            self._queue.put(job)

    def compiled(self, statement: Executable) -> Statement:
        """Return a statement compiled for this database; once, however often it is asked for."""
        if statement not in self._compiled:
            self._compiled[statement] = Statement(statement, self._engine.dialect)
        return self._compiled[statement]

    async def ask(self, work: Callable[[Connection], T]) -> T:
        """Do something on the writer's connection, after everything queued before; return what it returns.

        Raises:
            JournalError: The database cannot be used, or `work` raised it.
        """
        loop = asyncio.get_running_loop()
        answered: asyncio.Future[None] = loop.create_future()

        def done(error: JournalError | None) -> None:
            if not answered.done():
                answered.set_result(None) if error is None else answered.set_exception(error)

        job = _Ask(loop, work, done)
        self.submit(job)
        await answered
        result: T = job.result
        return result

    def watch(self, lane: Lane) -> None:
        """Look from now on whether somebody cancels this run, or has something to say to it."""
        self._lanes[lane.run_id] = lane

    def forget(self, lane: Lane) -> None:
        """Stop looking."""
        self._lanes.pop(lane.run_id, None)

    def stop(self) -> None:
        """Take nothing more; what is queued is still committed."""
        with self._lock:
            if not self._closed:
                self._closed = True
                self._queue.put(None)

    def close(self) -> None:
        """Commit what is queued and end the thread; waits for it at most 30 s."""
        self.stop()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(_STOP_SECONDS)

    # Everything below runs on the writer's thread.

    def _work(self) -> None:
        stopped = False
        while not stopped:
            batch, stopped = self._take()
            answers = _Answers()
            try:
                self._answer(batch, answers)
            except Exception as error:  # a mistake of ours must reach whoever waits, not end the thread
                _log.exception("the journal's writer failed")
                broken = JournalError(f"The journal failed: {error}. Please report this, with the log.")
                for job in batch:
                    _fail(job, broken, answers)
            answers.send()
            if not stopped and self._lanes and time.monotonic() >= self._next_poll:
                self._look_for_news()
        self._disconnect()

    def _take(self) -> tuple[list[Write | _Ask], bool]:
        batch: list[Write | _Ask] = []
        try:
            job = self._queue.get(timeout=POLL_SECONDS if self._lanes else None)
            while job is not None:
                batch.append(job)
                if len(batch) >= BATCH_LIMIT:
                    break
                job = self._queue.get_nowait()
        except queue.Empty:
            return batch, False
        return batch, job is None

    def _answer(self, batch: list[Write | _Ask], answers: _Answers) -> None:
        writes: list[Write] = []
        for job in batch:
            if isinstance(job, Write):
                writes.append(job)
                continue
            self._commit(writes, answers)
            writes = []
            answers.add(job.loop, job.done, self._do(job))
        self._commit(writes, answers)

    def _do(self, job: _Ask) -> JournalError | None:
        def work(connection: Connection) -> None:
            job.result = job.work(connection)

        return self._transaction(work)

    def _commit(self, writes: list[Write], answers: _Answers) -> None:
        lanes: dict[Lane, list[Write]] = {}
        for write in writes:
            lane = write.lane
            if lane.failure is None and lane.session not in (None, self.session):
                lane.failure = self._lost(lane)
            if lane.failure is not None:
                _fail(write, lane.failure, answers)
            else:
                lanes.setdefault(lane, []).append(write)
        if not lanes:
            return
        error = self._transaction(partial(self._record, lanes=lanes))
        for lane, own in lanes.items():
            # what has to do with the rows themselves may be the fault of one run; a lock or a dead server is not
            if error is not None and len(lanes) > 1 and error.code in ("journal", "run_busy", "full"):
                alone = self._transaction(partial(self._record, lanes={lane: own}))
            else:
                alone = error
            for write in own:
                if alone is None:
                    answers.add(lane.loop, write.done, None)
                else:
                    _fail(write, alone, answers)

    def _record(self, connection: Connection, lanes: dict[Lane, list[Write]]) -> None:
        writes = [write for own in lanes.values() for write in own]
        # the driver's own cursor: SQLAlchemy's bookkeeping a statement costs as much as SQLite's work
        cursor = connection.connection.cursor()
        try:
            self._create.run(cursor, [write.create for write in writes if write.create])
            self._insert.run(cursor, [event for write in writes for event in write.events])
            last = {write.lane: write.progress for write in writes if write.progress}
            self._progress.run(cursor, [row for row in last.values() if row])
            self._transition.run(cursor, [write.transition for write in writes if write.transition])
        finally:
            cursor.close()
        # in one order for all processes: two that lock the same rows otherwise could wait for each other for ever
        for _, work in sorted((job for write in writes for job in write.along), key=lambda job: job[0]):
            work(connection)

    def _transaction(self, work: Callable[[Connection], None]) -> JournalError | None:
        """Do something as one transaction; return why it was not committed."""
        try:
            if self._connection is None:
                self._connection = self._engine.connect()
            try:
                work(self._connection)
                self._end(self._connection)
            except self._driver_error as error:  # of a statement that went past SQLAlchemy
                raise self._wrapped(error) from error
            return None
        except IntegrityError as error:
            self._undo()
            return RunBusy(
                f"{shown(self._engine.url)} already holds this event: another process has taken the run over. "
                f"This process stops working on it ({' '.join(str(error.orig).split())[:100]})."
            )
        except JournalError as error:
            self._undo()
            return error
        except DBAPIError as error:
            problem = translate(error, self._engine.url)
            self._undo(broken=error.connection_invalidated or problem.code == "unreachable")
            return problem

    def _end(self, connection: Connection) -> None:
        if connection.in_transaction():
            connection.commit()
        else:  # SQLAlchemy saw none of the statements
            connection.connection.commit()

    def _wrapped(self, error: Exception) -> DBAPIError:
        dialect = self._engine.dialect
        lost = dialect.is_disconnect(error, None, None)  # type: ignore[arg-type]
        wrapped = DBAPIError.instance(
            None, None, error, self._driver_error, connection_invalidated=lost, dialect=dialect
        )
        return wrapped if isinstance(wrapped, DBAPIError) else DBAPIError(None, None, error)

    def _undo(self, *, broken: bool = False) -> None:
        try:
            if self._connection is not None and not broken:
                self._connection.rollback()
                self._connection.connection.rollback()
        except DBAPIError:
            broken = True
        if broken:
            self._disconnect()
            self.session += 1
            for lane in list(self._lanes.values()):
                if lane.session not in (None, self.session):
                    lane.failure = lane.failure or self._lost(lane)

    def _lost(self, lane: Lane) -> JournalError:
        return JournalError(
            f"The connection to the database was lost, and with it the hold on run {lane.run_id}: another process may "
            "go on with it. Nothing recorded is lost. When the database answers: "
            f"quarterdeck runs resume {lane.run_id}",
            code="unreachable",
        )

    def _disconnect(self) -> None:
        if self._connection is not None:
            try:
                self._connection.invalidate()  # never back to the pool: its session may hold locks
                self._connection.close()
            except DBAPIError:
                _log.debug("closing a broken connection failed", exc_info=True)
            self._connection = None

    def _look_for_news(self) -> None:
        cancelled: list[str] = []
        letters: dict[str, list[Letter]] = {}

        def read(connection: Connection) -> None:
            cancelled.extend(row[0] for row in connection.exec_driver_sql(self._cancelled))
            for letter in letters_to(connection, self._lanes):
                letters.setdefault(letter.run_id, []).append(letter)

        self._transaction(read)  # a failure shows at the next append
        self._next_poll = time.monotonic() + POLL_SECONDS
        for run_id, arrived in letters.items():
            if (lane := self._lanes.get(run_id)) is not None:
                _call(lane.loop, partial(lane.on_letters, arrived))
        for run_id in cancelled:
            lane = self._lanes.pop(run_id, None)
            if lane is not None:
                _call(lane.loop, lane.on_cancel)


def _fail(job: Write | _Ask, error: JournalError, answers: _Answers) -> None:
    if isinstance(job, Write):
        job.lane.failure = job.lane.failure or error
        answers.add(job.lane.loop, job.done, job.lane.failure)
    else:
        answers.add(job.loop, job.done, error)


def _tell(outcomes: list[tuple[Done, JournalError | None]]) -> None:
    for done, error in outcomes:
        done(error)


def _call(loop: AbstractEventLoop, function: Callable[[], Any]) -> None:
    try:
        loop.call_soon_threadsafe(function)
    except RuntimeError:
        _log.debug("an event loop was closed before its write was done")
