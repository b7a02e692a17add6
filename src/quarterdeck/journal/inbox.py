"""What a person has to say to a run that a process works on: only that process may write to the run's chain."""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from pydantic import ValidationError
from sqlalchemy import delete, func, insert, select

from quarterdeck.errors import JournalError
from quarterdeck.journal.events import ApprovalAnswered, Decision, Instructed, recorded_event
from quarterdeck.journal.lane import Letter
from quarterdeck.journal.tables import inbox

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from quarterdeck.journal.run import RunJournal
    from quarterdeck.journal.store import Store

LETTER_LIMIT = 128 * 1024
"""The largest letter, in bytes of JSON."""
WAITING_LIMIT = 100
"""Letters to one run that its process has not taken yet."""
AT_ONCE = 500

_log = logging.getLogger(__name__)


async def post(store: Store, run_id: str, event: ApprovalAnswered | Instructed) -> None:
    """Leave an event for the process that works on a run; it looks within half a second.

    Args:
        store: Where the run is kept.
        run_id: The run's whole id.
        event: What is to be recorded.

    Raises:
        JournalError: It is too large, too many wait already, or the database cannot be written.
    """
    body = event.model_copy(update={"at": time.time()}).model_dump_json()
    if len(body) > LETTER_LIMIT:
        raise JournalError(
            f"What you say to run {run_id} has {len(body):,} bytes; at most {LETTER_LIMIT:,} can be sent."
        )

    def write(connection: Connection) -> None:
        waiting = select(func.count()).select_from(inbox).where(inbox.c.run_id == run_id)
        if connection.execute(waiting).scalar_one() >= WAITING_LIMIT:
            raise JournalError(
                f"Run {run_id} has not taken the last {WAITING_LIMIT} things that it was told. See whether it "
                f"is alive: quarterdeck runs show {run_id}"
            )
        row = {"id": _seal(run_id, body), "run_id": run_id, "body": body, "at": time.time()}
        connection.execute(insert(inbox).values(row))

    await store.writer.ask(write)


def letters_to(connection: Connection, run_ids: Collection[str]) -> list[Letter]:
    """Return what lies in the inbox for some runs, oldest first; at most 500 for 500 of them."""
    found: list[Letter] = []
    wanted = list(run_ids)
    for start in range(0, len(wanted), AT_ONCE):
        query = select(inbox.c.id, inbox.c.run_id, inbox.c.body).where(
            inbox.c.run_id.in_(wanted[start : start + AT_ONCE])
        )
        rows = connection.execute(query.order_by(inbox.c.at, inbox.c.id).limit(AT_ONCE))
        found += [Letter(*row) for row in rows]
    return found


class Inbox:
    """Records what people say to a run, and takes it out of the inbox in the same transaction.

    Args:
        journal: Of the run; held by this process.
    """

    def __init__(self, journal: RunJournal) -> None:
        self._journal = journal
        self._taken: set[str] = set()

    async def fetch(self) -> None:
        """Record what came while nobody worked on the run."""
        letters = await self._journal.store.writer.ask(lambda connection: letters_to(connection, [self._journal.id]))
        self.arrived(letters)

    def arrived(self, letters: Sequence[Letter]) -> None:
        """Record letters, each once, on the loop of the run; one that is not in order is refused, and that recorded."""
        try:
            for letter in letters:
                if letter.id not in self._taken:
                    self._take(letter)
        except JournalError as error:  # the run says so itself at its next append
            _log.debug("run %s cannot take what it is told: %s", self._journal.id, error)

    def _take(self, letter: Letter) -> None:
        event = _opened(letter)
        if self._journal.status in ("running", "waiting"):
            self._record(event, letter)
        self._journal.along(lambda connection: connection.execute(delete(inbox).where(inbox.c.id == letter.id)))
        self._taken.add(letter.id)

    def _record(self, event: ApprovalAnswered | Instructed | None, letter: Letter) -> None:
        dialogue = self._journal.dialogue
        if isinstance(event, ApprovalAnswered):
            why = dialogue.refusal(event, time.time())
        else:
            why = "" if event else "It is not as it was written: somebody changed it in the database."
        if event is None or why:
            path = event.path if event else ""
            self._journal.note(Decision(path=path, what="answer refused", why=why))
            return
        if isinstance(event, Instructed):
            event = event.model_copy(update={"id": letter.id[:8], "path": ""})
        self._journal.note(event)
        dialogue.add(event)


def _seal(run_id: str, body: str) -> str:
    """Return the id of a letter: it fits no other run and no other text."""
    return hashlib.sha256(f"quarterdeck inbox {run_id}\n{body}".encode()).hexdigest()[:32]


def _opened(letter: Letter) -> ApprovalAnswered | Instructed | None:
    if letter.id != _seal(letter.run_id, letter.body):
        return None
    try:
        event = recorded_event.validate_json(letter.body)
    except ValidationError:
        return None
    return event if isinstance(event, ApprovalAnswered | Instructed) else None
