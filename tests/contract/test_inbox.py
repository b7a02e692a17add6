"""What people say to a run that a process works on, on every database: taken within half a second, recorded, once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import insert, select, text, update

from quarterdeck.errors import JournalError, RunBusy
from quarterdeck.governance.queue import answer, instruct, questions
from quarterdeck.journal.events import ApprovalAnswered, ApprovalAsked, Decision, Instructed, RunEnded, RunWaiting
from quarterdeck.journal.inbox import WAITING_LIMIT, post
from quarterdeck.journal.run import RunJournal
from quarterdeck.journal.store import Store
from quarterdeck.journal.tables import inbox

SOON = 1.5
"""Seconds: the writer looks every 0.4, and machines are busy."""


def asked(**more: Any) -> ApprovalAsked:
    from quarterdeck.governance.approvals import arguments_hash

    given = {"to": "ann"}
    return ApprovalAsked(
        path="tell/turn-1/tool-1", id="a2b3c4", reason="tier", tool="mail.send", arguments=given,
        arguments_hash=arguments_hash("mail.send", given), expires_at=time.time() + 3600, **more,
    )  # fmt: skip


async def ask(journal: RunJournal) -> None:
    event = asked()
    await journal.append(event)
    journal.dialogue.add(event)


async def until(holds: Callable[[], Any]) -> float:
    began = time.monotonic()
    while not holds():
        assert time.monotonic() - began < SOON
        await asyncio.sleep(0.01)
    return time.monotonic() - began


def left(store: Store) -> int:
    return len(store.read(select(inbox.c.id)))


async def test_an_answer_to_a_run_at_work_is_recorded_by_it(store: Store, url: str, begin: Callable[..., Any]) -> None:
    with Store.open(url) as elsewhere:
        async with await begin() as journal:
            await ask(journal)
            assert not await answer(elsewhere, questions(elsewhere)[0], "approved", by="ann"), "some process holds it"
            await until(lambda: journal.dialogue.approvals)
            await until(lambda: left(store) == 0)
            await journal.wait(RunWaiting(code="approval"))
        kinds = [row.kind for row in store.events(journal.id)]
        assert kinds == ["run.started", "approval.asked", "approval.answered", "run.waiting"]
        assert store.verify(journal.id) is None and questions(elsewhere) == []
        async with await RunJournal.resume(store, journal.id) as again:
            ((_, said),) = again.dialogue.approvals
            assert (said.answer, said.by) == ("approved", "ann")


async def test_an_instruction_to_a_run_at_work(store: Store, url: str, begin: Callable[..., Any]) -> None:
    with Store.open(url) as elsewhere:
        async with await begin() as journal:
            assert not await instruct(elsewhere, journal.id, "Write in French.", "ann")
            await until(lambda: journal.dialogue.instructions)
            assert not await instruct(elsewhere, journal.id, "Be brief.", "ann")
            await until(lambda: len(journal.dialogue.instructions) == 2 and left(store) == 0)
        assert [event.text for event in journal.dialogue.instructions] == ["Write in French.", "Be brief."]
        assert await instruct(elsewhere, journal.id, "Sign it.", "bob"), "nobody holds it now"
        async with await RunJournal.resume(store, journal.id) as again:
            assert [one.text for one in again.dialogue.instructions] == ["Write in French.", "Be brief.", "Sign it."]


async def test_what_came_while_nobody_looked_is_taken_with_the_run(store: Store, begin: Callable[..., Any]) -> None:
    async with await begin() as journal:
        await ask(journal)
    said = ApprovalAnswered(
        path=asked().path, id="a2b3c4", answer="approved", arguments_hash=asked().arguments_hash, by="ann"
    )
    await post(store, journal.id, said)
    async with await RunJournal.resume(store, journal.id) as again:
        assert [one.by for _, one in again.dialogue.approvals] == ["ann"]
    assert left(store) == 0


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"id": "a9z9z9"}, "asked nothing by the id"),
        ({"path": "tell/turn-2/tool-1"}, "asked nothing by the id"),
        ({"arguments_hash": "0" * 64}, "for other arguments"),
        ({"answer": "edited"}, "does not say what"),
    ],
)
async def test_an_answer_that_does_not_fit_is_refused_and_that_recorded(
    store: Store, begin: Callable[..., Any], change: dict[str, Any], why: str
) -> None:
    said = ApprovalAnswered(path=asked().path, id="a2b3c4", answer="approved", arguments_hash=asked().arguments_hash)
    async with await begin() as journal:
        await ask(journal)
        await post(store, journal.id, said.model_copy(update=change))
        await until(lambda: left(store) == 0)
        assert journal.dialogue.approvals == []
    (refused,) = [row.event for row in store.events(journal.id) if isinstance(row.event, Decision)]
    assert refused.what == "answer refused" and why in refused.why


async def test_of_two_answers_the_first_counts(store: Store, begin: Callable[..., Any]) -> None:
    said = ApprovalAnswered(path=asked().path, id="a2b3c4", answer="approved", arguments_hash=asked().arguments_hash)
    async with await begin() as journal:
        await ask(journal)
        await post(store, journal.id, said.model_copy(update={"answer": "rejected", "by": "first"}))
        await post(store, journal.id, said.model_copy(update={"by": "second"}))
        await until(lambda: left(store) == 0)
    assert [(one.answer, one.by) for _, one in journal.dialogue.approvals] == [("rejected", "first")]


@pytest.mark.parametrize("how", ["body", "run", "kind", "inserted"])
async def test_a_row_that_somebody_forged_is_not_taken(store: Store, begin: Callable[..., Any], how: str) -> None:
    said = ApprovalAnswered(path=asked().path, id="a2b3c4", answer="rejected", arguments_hash=asked().arguments_hash)
    async with await begin() as other:
        pass
    async with await begin() as journal:
        await ask(journal)
    await post(store, other.id if how == "run" else journal.id, said)
    body = said.model_dump_json()
    changes = {
        "body": update(inbox).values(body=said.model_copy(update={"answer": "approved"}).model_dump_json()),
        "run": update(inbox).values(run_id=journal.id),
        "kind": update(inbox).values(body='{"kind": "run.ended", "status": "succeeded", "code": ""}'),
        "inserted": insert(inbox).values(id="f" * 32, run_id=journal.id, body=body, at=0.0),
    }
    if how == "inserted":
        await store.writer.ask(lambda connection: connection.execute(text("DELETE FROM inbox")))
    await store.writer.ask(lambda connection: connection.execute(changes[how]))
    async with await RunJournal.resume(store, journal.id) as again:
        assert again.dialogue.approvals == []
    refused = [row.event for row in store.events(journal.id) if isinstance(row.event, Decision)]
    assert len(refused) == 1 and "not as it was written" in refused[0].why


async def test_nothing_is_said_to_what_has_ended(store: Store, begin: Callable[..., Any]) -> None:
    async with await begin() as journal:
        await ask(journal)
        item = questions(store)[0]
        await journal.end(RunEnded(status="failed", code="x"))
    with pytest.raises(JournalError, match="has ended"):
        await answer(store, item, "approved")
    with pytest.raises(JournalError, match="has ended"):
        await instruct(store, journal.id, "Go on.")
    async with await begin() as cancelled:
        await ask(cancelled)
    store.request_cancel(cancelled.id)
    with pytest.raises(JournalError, match="has ended"):
        await answer(store, item, "approved")
    assert questions(store) == []


async def test_the_inbox_is_bounded(store: Store, begin: Callable[..., Any]) -> None:
    async with await begin() as journal:
        pass
    for number in range(WAITING_LIMIT):
        await post(store, journal.id, Instructed(text=str(number)))
    with pytest.raises(JournalError, match="has not taken the last 100"):
        await post(store, journal.id, Instructed(text="one more"))
    with pytest.raises(JournalError, match="at most"):
        await post(store, "other", Instructed(text="x" * 200_000))
    async with await RunJournal.resume(store, journal.id) as again:
        assert len(again.dialogue.instructions) == WAITING_LIMIT
        with pytest.raises(RunBusy):
            await RunJournal.take(store, journal.id)
    assert left(store) == 0
