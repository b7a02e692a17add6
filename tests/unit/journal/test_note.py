"""What nobody waits for: recorded in its place all the same, in the commit of what comes next."""

from __future__ import annotations

from pathlib import Path

from quarterdeck.journal.events import TaskEnded, TaskStarted
from quarterdeck.journal.run import RunJournal
from quarterdeck.journal.store import Store


async def start(store: Store) -> RunJournal:
    return await RunJournal.start(store, crew="trial", spec={}, inputs={}, spec_hash="", version="0")


async def test_a_note_returns_before_its_commit_and_keeps_its_place(tmp_path: Path) -> None:
    with Store.open(f"sqlite:///{tmp_path}/journal.db") as store:
        async with await start(store) as journal:
            heard: list[str] = []
            journal.listen(lambda event: heard.append(event.path))
            journal.note(TaskStarted(path="noted"))
            assert heard == []
            await journal.append(TaskEnded(path="after", status="succeeded", code="goal_met", output=1))
            assert heard == ["noted", "after"]
        assert [row.path for row in store.events(journal.id)] == ["", "noted", "after"]
        assert store.verify(journal.id) is None


async def test_closing_commits_what_was_noted_last(tmp_path: Path) -> None:
    with Store.open(f"sqlite:///{tmp_path}/journal.db") as store:
        async with await start(store) as journal:
            journal.note(TaskStarted(path="noted"))
        assert [row.path for row in store.events(journal.id)] == ["", "noted"]
