"""`quarterdeck runs undo`: put back what a run has changed."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from quarterdeck.cli import options
from quarterdeck.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from quarterdeck.cli.screen import Screen
    from quarterdeck.governance.undo import Done, Undone
    from quarterdeck.journal.store import Store
    from quarterdeck.spec.workspace import Workspace
    from quarterdeck.tools.loading import Toolbox

OF_PROGRAM = "This is the run of a gate in a program: what the program's own functions did, it has to undo itself."


def undo_run(
    run_id: options.RunId,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be undone.")] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Also overwrite what somebody has changed since; it is kept as a backup.")
    ] = False,
    yes: options.Yes = False,
    json: options.Json = False,
    database: options.Database = None,
) -> None:
    """Put back what a run has changed.

    Its calls are undone one by one, the last one first. A file that somebody has changed since stays as it is.
    Repeating this is harmless. A run that had not ended is cancelled by it.
    """
    from quarterdeck.cli.runs import find_run, open_store
    from quarterdeck.cli.screen import Screen
    from quarterdeck.governance.undo import calls_to_undo
    from quarterdeck.spec.workspace import Workspace
    from quarterdeck.tools.loading import Toolbox

    screen = Screen()
    workspace = Workspace.find()
    tools = Toolbox.load([folder / "tools" for folder in workspace.folders], display_root=workspace.root)
    with open_store(database, read_only=dry_run) as store:
        record = find_run(store, run_id)
        calls = calls_to_undo(store.events(record.id), tools, workspace.runs / record.id)
        of_program = "gate" in record.spec and any(call.undo is None for call in calls) and not json
        if dry_run or not any(call.undo for call in calls):
            _show_calls(calls, screen, json=json, run_id=record.id, dry_run=dry_run)
            if of_program:
                screen.line(OF_PROGRAM)
            return
        _ask(calls, screen, record.id, yes=yes)
        outcomes = asyncio.run(_undo(store, record.id, tools, workspace, force=force))
    _show(outcomes, screen, json=json, run_id=record.id)
    if of_program:
        screen.line(OF_PROGRAM)
    if any(outcome.state == "refused" for outcome in outcomes):
        raise typer.Exit(1)


async def _undo(store: Store, run_id: str, tools: Toolbox, workspace: Workspace, *, force: bool) -> list[Undone]:
    from quarterdeck.governance.undo import calls_to_undo, undo_calls
    from quarterdeck.journal.run import RunJournal
    from quarterdeck.journal.signature import sign_head
    from quarterdeck.spec.load import load_governance
    from quarterdeck.tools.execution import Executor
    from quarterdeck.tools.roots import root_folders
    from quarterdeck.tools.tool import ToolContext

    executor = Executor()
    try:
        async with await RunJournal.take(store, run_id) as journal:
            folder = workspace.runs / journal.id
            calls = calls_to_undo(store.events(journal.id), tools, folder)
            roots = root_folders(load_governance(workspace).roots, workspace.root)
            context = ToolContext(journal.id, "", journal.inputs, folder, roots=roots, force=force)
            outcomes = await undo_calls(journal, calls, context, executor, by=options.user_name())
            await sign_head(store, journal.id)
            return outcomes
    finally:
        executor.close()


def _ask(calls: Sequence[Done], screen: Screen, run_id: str, *, yes: bool) -> None:
    if yes:
        return
    if not sys.stdin.isatty():
        raise InputError(
            f"Undoing run {run_id} changes files and more: say --yes to do it, or see first what it would do: "
            f"quarterdeck runs undo {run_id} --dry-run"
        )
    _show_calls(calls, screen, json=False, run_id=run_id, dry_run=True)
    if not typer.confirm("Undo this?"):
        raise InputError("Nothing was undone.")


def _show_calls(calls: Sequence[Done], screen: Screen, *, json: bool, run_id: str, dry_run: bool) -> None:
    if json:
        told = [{"path": call.path, "tool": call.tool, "undoable": call.undo is not None} for call in calls]
        screen.data({"run_id": run_id, "dry_run": dry_run, "calls": told})
        return
    can = ", ".join(call.label for call in calls if call.undo)
    cannot = _listed([call.label for call in calls if not call.undo])
    first = f"Would be undone, in reverse: {can}." if can else f"Nothing to undo in run {run_id}."
    screen.line(f"{first} {f'Not undoable: {cannot}.' if cannot else ''}".rstrip())


def _show(outcomes: Sequence[Undone], screen: Screen, *, json: bool, run_id: str) -> None:
    if json:
        screen.data({"run_id": run_id, "dry_run": False, "calls": [_as_object(outcome) for outcome in outcomes]})
        return
    undone = ", ".join(f"{one.call.label} ({one.words})" for one in outcomes if one.state == "undone")
    cannot = _listed([one.call.label for one in outcomes if one.state == "impossible"])
    first = f"Undone, in reverse: {undone}." if undone else "Nothing was undone."
    screen.line(f"{first} {f'Not undoable: {cannot}.' if cannot else ''}".rstrip())
    for one in outcomes:
        if one.state == "refused":
            screen.line(f"Refused: {one.call.label} at {one.call.path}: {one.words}.")


def _listed(labels: list[str]) -> str:
    return ", ".join(dict.fromkeys(labels))


def _as_object(outcome: Undone) -> dict[str, Any]:
    return {
        "path": outcome.call.path, "tool": outcome.call.tool, "state": outcome.state, "why": outcome.words,
    }  # fmt: skip
