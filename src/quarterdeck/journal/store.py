"""The store: the database of all runs, read by anyone, written by the runs of this process."""

from __future__ import annotations

import difflib
import weakref
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from sqlalchemy import Select, select, update
from sqlalchemy.exc import SQLAlchemyError

from quarterdeck.errors import JournalError, RunNotFound
from quarterdeck.journal import schema
from quarterdeck.journal.chain import Broken, verify
from quarterdeck.journal.database import connect, default_url, sqlite_path
from quarterdeck.journal.failures import translate
from quarterdeck.journal.hold import FileHolds, Holds, ServerHolds
from quarterdeck.journal.record import RunRecord, StoredEvent
from quarterdeck.journal.tables import events, runs
from quarterdeck.journal.totals import Totals
from quarterdeck.journal.writer import Writer

if TYPE_CHECKING:
    from sqlalchemy import Engine, Row

    from quarterdeck.journal.events import RunStatus

__all__ = ["Store", "default_url"]

RUNS_LIMIT = 10_000


class Store:
    """All runs of one database. Threads may share it; close it to commit what is queued.

    Use `Store.open`. The reading methods are synchronous and take milliseconds; events are written by `RunJournal`.

    Attributes:
        writer: Commits for the runs of this process.
        holds: Which process works on which run.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.writer = Writer(engine)
        self.holds: Holds = (
            FileHolds(sqlite_path(engine.url)) if engine.dialect.name == "sqlite" else ServerHolds(self.writer, engine)
        )
        # a store that nobody closes does not keep its thread and its files for ever
        self._finalizer = weakref.finalize(self, _let_go, self.writer, engine)

    @classmethod
    def open(cls, url: str, *, read_only: bool = False) -> Store:
        """Open a database; create it, or bring its schema up to date, unless it is read only.

        Args:
            url: `sqlite:///path/journal.db` or `postgresql://user@host/name`; see `default_url`.
            read_only: Write nothing. A SQLite file that does not exist is an error with the code `no_journal`.

        Raises:
            JournalError: The database cannot be used; its `code` says why. Nothing was touched.
        """
        engine = connect(url, read_only=read_only)
        try:
            schema.ensure(engine, read_only=read_only)
        except BaseException:
            engine.dispose()
            raise
        return cls(engine)

    @property
    def url(self) -> str:
        """The database, without its password."""
        return self._engine.url.render_as_string(hide_password=True)

    @property
    def folder(self) -> Path | None:
        """The folder of the SQLite file; None for a server."""
        return sqlite_path(self._engine.url).parent if self._engine.dialect.name == "sqlite" else None

    def run(self, run_id: str) -> RunRecord:
        """Return a run by its id, or by the beginning of it when no other run begins so.

        Raises:
            RunNotFound: No run, or more than one, begins so.
        """
        found = self._records(select(runs).where(runs.c.id == run_id))
        if not found and run_id:
            found = self._records(select(runs).where(runs.c.id.startswith(run_id, autoescape=True)).limit(6))
        if len(found) == 1:
            return found[0]
        raise RunNotFound(self._not_found(run_id, found))

    def runs(self, limit: int = 50, status: RunStatus | None = None) -> list[RunRecord]:
        """Return the newest runs, newest first.

        Args:
            limit: At most so many, up to 10,000.
            status: Only runs whose recorded status this is.
        """
        query = select(runs).order_by(runs.c.created_at.desc(), runs.c.id).limit(min(max(limit, 0), RUNS_LIMIT))
        return self._records(query if status is None else query.where(runs.c.status == status))

    def events(self, run_id: str, *, after: int = 0) -> list[StoredEvent]:
        """Return the events of a run in their order.

        Args:
            run_id: The run, or the beginning of its id.
            after: Leave out the events up to this number.

        Raises:
            RunNotFound: No such run.
        """
        return self.chain(self.run(run_id).id, after=after)[0]

    def chain(self, run_id: str, *, after: int = 0) -> tuple[list[StoredEvent], str, int]:
        """Return the events of a run with its head and last number, all as of the same moment."""
        own = (events.c.run_id == runs.c.id) & (events.c.seq > after)
        query = (
            select(runs.c.head, runs.c.last_seq, events)
            .select_from(runs.outerjoin(events, own))
            .where(runs.c.id == run_id)
            .order_by(events.c.seq)
        )
        rows = [tuple(row) for row in self.read(query)]
        if not rows:
            raise RunNotFound(self._not_found(run_id, []))
        head, last_seq = rows[0][:2]
        return [StoredEvent(*row[2:]) for row in rows if row[2] is not None], head, last_seq

    def verify(self, run_id: str) -> Broken | None:
        """Return the first event of a run that was changed, dropped or inserted; None if there is none."""
        run_id = self.run(run_id).id
        return verify(run_id, *self.chain(run_id))

    def request_cancel(self, run_id: str) -> RunRecord:
        """Ask whichever process works on a run to stop; it sees this within about half a second.

        A run that nobody works on keeps the request: whoever resumes it is told so at once.

        Raises:
            RunNotFound: No such run.
            JournalError: It has ended already, or the database cannot be written.
        """
        record = self.run(run_id)
        if record.status not in ("running", "waiting"):
            raise JournalError(f"Run {record.id} has ended already ({record.status}). There is nothing to cancel.")
        try:
            with self._engine.begin() as connection:
                connection.execute(update(runs).where(runs.c.id == record.id).values(cancel_requested=True))
        except SQLAlchemyError as error:
            raise translate(error, self._engine.url) from error
        return self.run(record.id)

    def close(self) -> None:
        """Commit what is queued and let the database go."""
        self._finalizer.detach()
        self.writer.close()
        self._engine.dispose()

    def __enter__(self) -> Store:
        """Return the store; the end of the block closes it."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the store."""
        self.close()

    def read(self, query: Select[Any]) -> list[Row[Any]]:
        """Return the rows of a query; for the rooms' own questions, which bound their answers themselves.

        Raises:
            JournalError: The database cannot be read.
        """
        try:
            with self._engine.connect() as connection:
                return list(connection.execute(query).all())
        except SQLAlchemyError as error:
            raise translate(error, self._engine.url) from error

    def reconnect(self) -> None:
        """Let the idle connections go: what they know of the tables may be out of date."""
        self._engine.dispose()

    def _records(self, query: Select[Any]) -> list[RunRecord]:
        rows = [row._mapping for row in self.read(query)]
        held = self.holds.held([row["id"] for row in rows if row["status"] == "running"])
        return [
            RunRecord(
                id=row["id"],
                crew=row["crew"],
                status=row["status"],
                code=row["code"],
                version=row["version"],
                spec_hash=row["spec_hash"],
                created_at=row["created_at"],
                updated_at=row["updated_at"],
                cancel_requested=bool(row["cancel_requested"]),
                interrupted=row["status"] == "running" and row["id"] not in held,
                parent=row["parent"],
                fork_at=row["fork_at"],
                last_path=row["last_path"],
                last_seq=row["last_seq"],
                head=row["head"],
                tenant=row["tenant"],
                totals=Totals.from_json(row["totals"]),
                spec_json=row["spec"],
                inputs_json=row["inputs"],
                summary_json=row["summary"],
            )
            for row in rows
        ]

    def _not_found(self, run_id: str, several: list[RunRecord]) -> str:
        if several:
            return f"{run_id!r} begins more than one run: {', '.join(run.id for run in several)}. Type more of the id."
        recent = self.runs(limit=200)
        if not recent:
            return f"There is no run {run_id!r}: nothing has been run here yet. Begin one with: quarterdeck run CREW"
        near = set(difflib.get_close_matches(run_id, [run.id for run in recent], n=3, cutoff=0.6))
        listed = [run for run in recent if run.id in near] or recent[:3]
        names = ", ".join(f"{run.id} ({run.crew}, {run.status})" for run in listed)
        return f"There is no run {run_id!r}. {'Near' if near else 'Most recent'}: {names}. All: quarterdeck runs list"


def _let_go(writer: Writer, engine: Engine) -> None:
    writer.stop()
    engine.dispose()
