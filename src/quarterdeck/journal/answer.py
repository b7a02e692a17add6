"""What a person has to say to a run that waits."""

from __future__ import annotations

from typing import TYPE_CHECKING

from quarterdeck.errors import JournalError
from quarterdeck.journal.run import RunJournal
from quarterdeck.journal.signature import sign_head

if TYPE_CHECKING:
    from quarterdeck.journal.events import Event
    from quarterdeck.journal.store import Store


async def answer(store: Store, run_id: str, event: Event) -> str:
    """Record an answer; whoever resumes the run after that goes on by it.

    Args:
        store: Where the run is kept.
        run_id: The run, or the beginning of its id.
        event: The answer, such as `PlanReviewed` or `LimitsRaised`.

    Returns:
        The whole id of the run.

    Raises:
        RunNotFound: No such run.
        RunBusy: A process is working on it.
        JournalError: It does not wait for anybody (code `not_waiting`), or the database cannot be written.
    """
    async with await RunJournal.take(store, run_id) as journal:
        if journal.status != "waiting":
            raise JournalError(
                f"Run {journal.id} waits for nobody: it is recorded as {journal.status}. "
                f"See: quarterdeck runs show {journal.id}",
                code="not_waiting",
            )
        await journal.append(event)
        await sign_head(store, journal.id)
        return journal.id
