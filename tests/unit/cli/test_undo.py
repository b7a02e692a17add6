"""Taking back what a run did, from the command line."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.unit.tools.test_confined import tree

from quarterdeck.journal.events import EffectUndone, RunWaiting, ToolCalled
from quarterdeck.journal.run import RunJournal
from quarterdeck.journal.store import Store, default_url
from quarterdeck.testing import text
from quarterdeck.tools.backups import transact
from quarterdeck.tools.tool import RootFolder, ToolContext

CREW = """
crew: keeper
agents:
  clerk:
    role: Clerk
    goal: Keep the books.
    backstory: Careful.
    tools: [files.write, files.edit, files.delete, output.write, desk.refund, desk.note, desk.look]
tasks:
  keep:
    agent: clerk
    begin:
      - {tool: desk.look, arguments: {}}
      - {tool: desk.note, arguments: {words: hello}}
      - {tool: files.edit, arguments: {root: books, path: a.md, old: one, new: two}}
      - {tool: desk.refund, arguments: {order: "1182"}}
      - {tool: files.write, arguments: {root: books, path: new/b.md, content: fresh}}
      - {tool: files.edit, arguments: {root: books, path: a.md, old: two, new: three}}
      - {tool: files.delete, arguments: {root: books, path: c.bin}}
      - {tool: files.delete, arguments: {root: books, path: c.bin, preview: false}}
    description: Keep them.
    expected_output: A word.
    save_as: report.md
"""
DESK = '''
from pathlib import Path

from quarterdeck.tools.manifest import tool


def _take_back(arguments, result, context):
    Path("noted.txt").unlink()
    return "restored"


@tool(effect="write", owner="desk", sinks={}, undo=_take_back)
def note(words: str) -> str:
    """Note something.

    Args:
        words: What.
    """
    Path("noted.txt").write_text(words)
    return "noted"


@tool(effect="external", owner="desk", sinks={})
def refund(order: str) -> str:
    """Refund an order.

    Args:
        order: Which.
    """
    return "refunded"


@tool(effect="read", owner="desk", sinks={})
def look() -> str:
    """Look around."""
    return "quiet"
'''
GOVERNANCE = """
roots:
  books: {path: books, write: true}
tools:
  "files.*": {sinks: {}}
rules:
  - {tools: ["*"], tier: autonomous}
"""


@pytest.fixture
def kept(cli: Any, workspace: Path, script: Callable[..., Any]) -> tuple[Path, str, str]:
    """Leave a run that changed files, noted something and refunded an order; return the tree's hash before it."""
    (workspace / "crews" / "keeper.yaml").write_text(CREW)
    (workspace / "tools" / "desk.py").write_text(DESK)
    (workspace / "config" / "governance.yaml").write_text(GOVERNANCE)
    books = workspace / "books"
    books.mkdir()
    (books / "a.md").write_text("one\r\n")
    (books / "a.md").chmod(0o600)
    (books / "c.bin").write_bytes(b"\x00\xff" * 100)
    before = tree(books)
    script([text("Kept.")])
    done = cli("run", "keeper", "--json")
    assert done.code == 0, done.err + done.out
    assert tree(books) != before and (workspace / "noted.txt").exists()
    assert (books / "a.md").read_bytes() == b"three\r\n" and not (books / "c.bin").exists()
    return workspace, json.loads(done.out.splitlines()[-1])["run_id"], before


def test_a_run_is_undone_in_reverse_and_byte_by_byte(cli: Any, kept: tuple[Path, str, str]) -> None:
    workspace, run_id, before = kept
    would = cli("runs", "undo", run_id, "--dry-run")
    assert would.code == 0 and would.out.startswith("Would be undone, in reverse: output.write")
    assert would.out.count("files.delete") == 1  # its preview is nothing to undo
    asked = cli("runs", "undo", run_id)
    assert asked.code == 2 and "--yes" in asked.err and tree(workspace / "books") != before
    done = cli("runs", "undo", run_id, "--yes")
    assert done.code == 0, done.out + done.err
    assert done.out == (
        "Undone, in reverse: output.write (restored), files.delete c.bin (restored), files.edit a.md (restored), "
        "files.write new/b.md (restored), files.edit a.md (restored), desk.note (restored). "
        "Not undoable: desk.refund.\n"
    )
    assert tree(workspace / "books") == before
    assert not (workspace / "noted.txt").exists() and not (workspace / "runs" / run_id / "report.md").exists()
    assert "effect.undone" in cli("runs", "show", run_id, "--json").out
    assert "undone: restored" in cli("runs", "show", run_id).out
    assert cli("audit", "verify", run_id).code == 0


def test_undoing_twice_is_harmless(cli: Any, kept: tuple[Path, str, str]) -> None:
    workspace, run_id, _ = kept
    assert cli("runs", "undo", run_id, "--yes").code == 0
    (workspace / "books" / "a.md").write_text("a person's work")
    again = cli("runs", "undo", run_id, "--yes")
    assert again.code == 0 and again.out == f"Nothing to undo in run {run_id}. Not undoable: desk.refund.\n"
    assert (workspace / "books" / "a.md").read_text() == "a person's work"


def test_what_somebody_has_changed_since_stays_unless_forced(cli: Any, kept: tuple[Path, str, str]) -> None:
    workspace, run_id, before = kept
    (workspace / "books" / "a.md").write_text("a person's work")
    done = cli("runs", "undo", run_id, "--yes")
    assert done.code == 1
    assert done.out.count("Refused: files.edit a.md at keep/begin-") == 2 and "a.md was changed since" in done.out
    assert (workspace / "books" / "a.md").read_text() == "a person's work" and (workspace / "books" / "c.bin").exists()
    forced = json.loads(cli("runs", "undo", run_id, "--yes", "--force", "--json").out)
    assert [(call["tool"], call["state"]) for call in forced["calls"]] == [
        ("files.edit", "undone"), ("desk.refund", "impossible"), ("files.edit", "undone"),
    ]  # fmt: skip
    assert tree(workspace / "books") == before


def test_a_run_that_is_worked_on_is_not_undone(cli: Any, kept: tuple[Path, str, str]) -> None:
    workspace, run_id, before = kept

    async def hold() -> str:
        with Store.open(default_url(workspace)) as store:
            async with await RunJournal.take(store, run_id):
                return str((await asyncio.to_thread(cli, "runs", "undo", run_id, "--yes")).err)

    assert "is being worked on" in asyncio.run(hold())
    assert tree(workspace / "books") != before


def test_a_run_that_waits_is_cancelled_and_cannot_go_on(cli: Any, kept: tuple[Path, str, str]) -> None:
    workspace, run_id, _ = kept

    async def wait() -> None:
        with Store.open(default_url(workspace)) as store:
            async with await RunJournal.take(store, run_id) as journal:
                await journal.wait(RunWaiting(code="approval"))

    asyncio.run(wait())
    assert cli("runs", "undo", run_id, "--yes").code == 0
    assert cli("runs", "list", "--status", "cancelled").out.startswith(run_id)
    refused = cli("runs", "resume", run_id)
    assert refused.code != 0 and "was undone, so it cannot go on" in refused.err


def test_a_write_that_died_before_it_was_recorded_is_undone_too(cli: Any, kept: tuple[Path, str, str]) -> None:
    workspace, run_id, before = kept
    roots = {"books": RootFolder(workspace / "books", write=True)}
    dead = ToolContext(
        run_id, f"{run_id}:keep/turn-2/tool-1", {}, workspace / "runs" / run_id, path="keep/turn-2/tool-1"
    )
    dead.roots = roots
    transact(dead, "files.write", "books", "a.md", lambda old: b"of the dead")
    done = cli("runs", "undo", run_id, "--yes")
    assert done.code == 0 and done.out.startswith("Undone, in reverse: files.write a.md (restored), output.write")
    assert tree(workspace / "books") == before


def test_a_fork_undoes_only_its_own_calls(cli: Any, kept: tuple[Path, str, str], script: Callable[..., Any]) -> None:
    _, run_id, _ = kept
    script([text("Kept again.")])
    forked = cli("runs", "fork", run_id, "--at", "keep/turn-1", "--json")
    assert forked.code == 0, forked.out + forked.err
    fork = json.loads(forked.out.splitlines()[-1])["run_id"]
    would = json.loads(cli("runs", "undo", fork, "--dry-run", "--json").out)
    assert [call["tool"] for call in would["calls"]] == ["output.write"]


def test_an_undo_that_fails_is_told_and_recorded_and_the_others_go_on(cli: Any, kept: tuple[Path, str, str]) -> None:
    workspace, run_id, before = kept
    (workspace / "noted.txt").unlink()
    done = cli("runs", "undo", run_id, "--yes")
    assert done.code == 1 and "Refused: desk.note at keep/begin-2: its undo failed: FileNotFoundError" in done.out
    assert tree(workspace / "books") == before
    with Store.open(default_url(workspace), read_only=True) as store:
        events = [row.event for row in store.events(run_id)]
    undone = {event.path: event.done for event in events if isinstance(event, EffectUndone)}
    calls = [event.path for event in events if isinstance(event, ToolCalled) and event.effect != "read"]
    assert list(undone) == [path for path in reversed(calls) if path in undone] and undone["keep/begin-2"] is False
