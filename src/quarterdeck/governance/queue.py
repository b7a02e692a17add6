"""The queue of what waits for a person, over all runs of a database, and how it is answered."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from sqlalchemy import select

from quarterdeck.errors import InputError, JournalError, RunBusy
from quarterdeck.governance.approvals import ABOUT_CALLS, arguments_hash
from quarterdeck.journal.dialogue import ANSWERED, ASKED, Dialogue
from quarterdeck.journal.events import ApprovalAnswered, ApprovalAsked, Instructed
from quarterdeck.journal.inbox import post
from quarterdeck.journal.record import StoredEvent
from quarterdeck.journal.run import RunJournal
from quarterdeck.journal.signature import sign_head
from quarterdeck.journal.tables import events, runs

if TYPE_CHECKING:
    from quarterdeck.journal.events import RunStatus
    from quarterdeck.journal.record import RunRecord
    from quarterdeck.journal.store import Store

GOING_ON: tuple[RunStatus, ...] = ("running", "waiting")
MAX_TEXT = 4000
"""Characters of a reason or an instruction."""
OF_THE_RUN = ("plan_review", "limit_usd", "limit_tokens")
"""Codes of runs that wait for something that is no question of the gate."""


@dataclass(frozen=True, slots=True)
class Item:
    """A question of a run, with what became of it.

    Attributes:
        run: The run that asked.
        asked: The question.
        answer: What a person said; None as long as nobody did.
    """

    run: RunRecord
    asked: ApprovalAsked
    answer: ApprovalAnswered | None = None

    @property
    def is_call(self) -> bool:
        """Whether it asks if a call may be made, so that its arguments can be edited."""
        return self.asked.reason in (*ABOUT_CALLS, "timeout")

    @property
    def state(self) -> Literal["open", "expired", "approved", "rejected", "edited", "ended"]:
        """What became of it; `ended` when its run ended without an answer."""
        if self.answer is not None:
            return self.answer.answer
        if self.run.status not in GOING_ON or self.run.cancel_requested:
            return "ended"
        return "expired" if time.time() > self.asked.expires_at else "open"


def questions(store: Store) -> list[Item]:
    """Return the questions that nobody has answered, of all runs that go on, oldest first; expired ones too."""
    records = {record.id: record for status in GOING_ON for record in store.runs(10_000, status)}
    return [item for item in _items(store, records) if item.state in ("open", "expired")]


def waiting_runs(store: Store) -> list[RunRecord]:
    """Return the runs that wait for the review of a plan, or for more to spend, oldest first."""
    waiting = [record for record in store.runs(10_000, "waiting") if record.code in OF_THE_RUN]
    return sorted(waiting, key=lambda record: record.updated_at)


def find(store: Store, beginning: str) -> Item:
    """Return a question by its id, or by the beginning of it when no other open question begins so.

    Raises:
        InputError: None, or more than one, begins so.
    """
    records = {record.id: record for status in GOING_ON for record in store.runs(10_000, status)}
    items = [item for item in _items(store, records) if beginning and item.asked.id.startswith(beginning)]
    exact = [item for item in items if item.asked.id == beginning]
    still = [item for item in items if item.answer is None]
    found = exact or (still if len(still) == 1 else items) or _of_ended_runs(store, beginning)
    if len(found) == 1:
        return found[0]
    if found:
        names = ", ".join(f"{item.asked.id} (run {item.run.id})" for item in found[:6])
        raise InputError(f"{beginning!r} begins more than one question: {names}. Type more of the id.")
    still = questions(store)[:6]
    listed = f" Open: {', '.join(item.asked.id for item in still)}." if still else " Nothing waits for a person."
    raise InputError(f"There is no question {beginning[:40]!r}.{listed} All: quarterdeck approvals list")


async def answer(
    store: Store,
    item: Item,
    said: Literal["approved", "rejected", "edited"],
    *,
    arguments: dict[str, Any] | None = None,
    choice: str = "",
    by: str = "",
    reason: str = "",
) -> bool:
    """Give the answer to a question: for exactly what is shown in `item`, once.

    Args:
        store: Where the run is kept.
        item: The question as it was shown.
        said: The answer.
        arguments: Of an edited call: what is done in its place, as the tool would get it.
        choice: Of several options, the one chosen.
        by: Who says so.
        reason: Why.

    Returns:
        True when it is recorded; False when it lies in the inbox of the process that works on the run.

    Raises:
        JournalError: The run has ended, the question is answered or has expired, or what was shown is not what the run
            asked; nothing was recorded.
    """
    asked = item.asked
    event = ApprovalAnswered(
        path=asked.path,
        task=asked.task,
        agent=asked.agent,
        id=asked.id,
        answer=said,
        arguments=arguments,
        arguments_hash=_bound(item, arguments if said == "edited" else asked.arguments, rejected=said == "rejected"),
        choice=choice[:200],
        by=by[:200],
        reason=reason[:MAX_TEXT],
    )
    try:
        async with await RunJournal.take(store, item.run.id) as journal:
            _refuse_ended(store, journal.id)
            why = journal.dialogue.refusal(event, time.time())
            if why:
                raise JournalError(f"Run {journal.id}: {why} Nothing was recorded.", code="not_waiting")
            await journal.append(event)
            await sign_head(store, journal.id)
        return True
    except RunBusy:
        await post(store, item.run.id, event)
        return False


async def instruct(store: Store, run_id: str, text: str, by: str = "") -> bool:
    """Tell a run something: its agents hear it with their next model call.

    Args:
        store: Where the run is kept.
        run_id: Its whole id.
        text: What to tell.
        by: Who says so.

    Returns:
        True when it is recorded and heard once the run goes on; False when a process works on the run and hears it now.

    Raises:
        InputError: There is nothing to tell, or too much.
        JournalError: The run has ended, or the database cannot be written.
    """
    text = text.strip()
    if not 0 < len(text) <= MAX_TEXT:
        raise InputError(f"Say what to do, in at most {MAX_TEXT} characters. Nothing was sent.")
    event = Instructed(text=text, by=by[:200])
    try:
        async with await RunJournal.take(store, run_id) as journal:
            _refuse_ended(store, run_id)
            await journal.append(event.model_copy(update={"id": f"{time.time_ns():x}"}))
            await sign_head(store, journal.id)
        return True
    except RunBusy:
        await post(store, run_id, event)
        return False


def _refuse_ended(store: Store, run_id: str) -> None:
    record = store.run(run_id)
    if record.status in GOING_ON and not record.cancel_requested:
        return
    state = record.status if record.status not in GOING_ON else "cancelled"
    raise JournalError(f"Run {run_id} has ended ({state}), so nothing can be said to it any more.", code="ended")


def _bound(item: Item, arguments: dict[str, Any] | None, *, rejected: bool) -> str:
    """Return the hash of what a person was shown, so that an answer to anything else is refused."""
    asked = item.asked
    if rejected:
        return asked.arguments_hash
    about = "" if item.is_call else asked.reason
    if arguments_hash(asked.tool, asked.arguments, about) != asked.arguments_hash:
        raise JournalError(
            f"{asked.id} cannot be approved: what can be shown of its arguments is not exactly what would be done (a "
            "secret in it is masked, or it was changed in the database). Reject it: "
            f"quarterdeck approvals reject {asked.id} --reason TEXT",
            code="corrupt",
        )
    return arguments_hash(asked.tool, arguments or {}, about)


def _items(store: Store, records: dict[str, RunRecord]) -> list[Item]:
    going_on = select(runs.c.id).where(runs.c.status.in_(GOING_ON))
    query = select(events).where(events.c.run_id.in_(going_on), events.c.kind.in_((ASKED, ANSWERED)))
    return _read(store, query.order_by(events.c.at, events.c.run_id, events.c.seq), records.get)


def _of_ended_runs(store: Store, beginning: str) -> list[Item]:
    """Look through all runs: slower, and only for what goes on no longer."""
    if len(beginning) < 3:
        return []
    same = events.c.body.contains(f'"id":"{beginning[:40]}', autoescape=True)
    query = select(events).where(events.c.kind.in_((ASKED, ANSWERED)), same).order_by(events.c.at).limit(100)
    return _read(store, query, store.run)


def _read(store: Store, query: Any, record_of: Callable[[str], RunRecord | None]) -> list[Item]:
    by_run: dict[str, list[StoredEvent]] = {}
    for row in store.read(query):
        by_run.setdefault(row.run_id, []).append(StoredEvent(*tuple(row)))
    items = []
    for run_id, rows in by_run.items():
        record = record_of(run_id)
        if record is None:  # it ended between the two queries
            continue
        dialogue = Dialogue(rows)
        items += [Item(record, asked, said) for asked, said in dialogue.approvals]
        items += [Item(record, asked) for asked in dialogue.open]
    return sorted(items, key=lambda item: item.asked.at)
