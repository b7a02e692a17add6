"""`quarterdeck runs`: what has run, why it went as it did, and how it goes on."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from quarterdeck.cli import drift, options, undo
from quarterdeck.errors import JournalError

if TYPE_CHECKING:
    from quarterdeck.cli.run import Work
    from quarterdeck.cli.screen import Screen
    from quarterdeck.engine.crew import Crew
    from quarterdeck.journal.record import RunRecord
    from quarterdeck.journal.signature import Signer
    from quarterdeck.journal.store import Store
    from quarterdeck.spec.workspace import Workspace

app = options.make_app("List, explain, resume, fork and cancel runs.")
Status = Literal["running", "interrupted", "waiting", "succeeded", "partial", "failed", "cancelled"]
LAST = "LAST"
"""Stands for the newest run; ids are lower case."""
At = Annotated[
    str, typer.Option("--at", metavar="PATH", help="Where to go on from: a task, or a step such as gather/turn-3.")
]


@app.command("list")
def list_runs(
    status: Annotated[Status | None, typer.Option("--status", help="Only runs in this state.")] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, max=10_000, help="At most so many.")] = 20,
    json: options.Json = False,
    database: options.Database = None,
) -> None:
    """List the newest runs."""
    from quarterdeck.cli.screen import Screen

    screen = Screen()
    try:
        with open_store(database, read_only=True) as store:
            recorded = "running" if status == "interrupted" else status
            # Whether a run is interrupted is no column: more rows than asked for are looked at.
            rows = store.runs(limit if recorded == status else 10_000, recorded)
            records = [row for row in rows if status is None or _state(row) == status][:limit]
    except JournalError as error:
        if error.code != "no_journal":
            raise
        records = []
    if json:
        screen.data([_as_object(record) for record in records])
    elif records:
        screen.columns([_row(record) for record in records])
    else:
        screen.line("No runs yet. Begin one with: quarterdeck run CREW" if status is None else f"No run is {status}.")


@app.command("show")
def show_run(
    run_id: options.RunId,
    full: Annotated[bool, typer.Option("--full", help="Do not shorten arguments, results and answers.")] = False,
    json: options.Json = False,
    database: options.Database = None,
) -> None:
    """Explain a run: all that happened in it.

    A tree of tasks, turns and tool calls: what was asked, given and decided, why, and what it cost.
    """
    from quarterdeck.cli.screen import Screen
    from quarterdeck.cli.show import show

    screen = Screen()
    with open_store(database, read_only=True) as store:
        record = find_run(store, run_id)
        events = [stored.event for stored in store.events(record.id)]
    if json:
        recorded = [event.model_dump(mode="json") for event in events]
        screen.data({**_as_object(record), "inputs": record.inputs, "events": recorded})
    else:
        show(record, events, screen, full=full)


@app.command("resume")
def resume_run(
    run_id: options.RunId,
    usd: Annotated[
        float | None, typer.Option("--usd", metavar="AMOUNT", help="What the run may spend in all from now on, in USD.")
    ] = None,
    tokens: Annotated[
        int | None, typer.Option("--tokens", metavar="NUMBER", help="What it may use in all from now on, in tokens.")
    ] = None,
    reason: Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why it is given more; recorded.")] = "",
    yes: options.Yes = False,
    json: options.Json = False,
    database: options.Database = None,
) -> None:
    """Take up a run that stopped.

    Recorded calls are replayed and not made again. A run that waits for money goes on with --usd or --tokens: both
    are new totals, what is used already included.
    """
    from quarterdeck.cli.run import run_reporting
    from quarterdeck.cli.screen import Screen

    screen = Screen()

    def ready() -> tuple[Crew, Work]:
        from quarterdeck.cli.show import next_step

        with open_store(database) as store:
            record = find_run(store, run_id)
            events = [stored.event for stored in store.events(record.id)]
        _refuse_ended(record)
        crew = _crew_of(record, database, screen, yes=yes, quiet=json)
        if not json:
            calls = record.totals.model_calls + record.totals.tool_calls
            replayed = f"{calls} call{'' if calls == 1 else 's'} replayed, none repeated. " if calls else ""
            screen.line(f"{replayed}Going on at {next_step(events)}.")
        given: dict[str, Any] = {"usd": usd, "tokens": tokens, "reason": reason[:1000], "by": options.user_name()}
        return crew, lambda crew, view: crew.aresume(record.id, listener=view, **given)

    raise typer.Exit(run_reporting(ready, screen, json=json))


@app.command("fork")
def fork_run(
    run_id: options.RunId,
    at: At,
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="An input, or TASK.FIELD of a recorded output; repeatable."),
    ] = None,
    yes: options.Yes = False,
    json: options.Json = False,
    database: options.Database = None,
) -> None:
    """Start a new run from a step of an old one.

    Something may be changed; the old run stays as it is.
    """
    from quarterdeck.cli.run import run_reporting
    from quarterdeck.cli.screen import Screen

    screen = Screen()

    def ready() -> tuple[Crew, Work]:
        given = options.read_pairs(changes, "--set")
        with open_store(database) as store:
            record = find_run(store, run_id)
        crew = _crew_of(record, database, screen, yes=yes, quiet=json)
        changed = {name: text if name in crew.spec.inputs else options.read_value(text) for name, text in given.items()}
        return crew, lambda crew, view: crew.afork(record.id, at, changed, listener=view)

    raise typer.Exit(run_reporting(ready, screen, json=json))


@app.command("cancel")
def cancel_run(run_id: options.RunId, json: options.Json = False, database: options.Database = None) -> None:
    """Cancel a run.

    A process that works on it stops within a second.
    """
    import asyncio

    from quarterdeck.cli.screen import Screen

    screen = Screen()
    with open_store(database) as store:
        record = store.request_cancel(find_run(store, run_id).id)
        at_work = record.status == "running" and not record.interrupted
        if not at_work:
            asyncio.run(_end_cancelled(store, record.id))
    if json:
        screen.data({"run_id": record.id, "status": "running" if at_work else "cancelled", "cancel_requested": True})
    elif at_work:
        screen.line(f"Run {record.id} is asked to stop; it does within a second.")
    else:
        screen.line(f"Run {record.id} is cancelled.")


app.command("undo")(undo.undo_run)
app.command("drift")(drift.drift_runs)


@app.command("instruct")
def instruct_run(
    run_id: options.RunId,
    text: Annotated[
        str, typer.Argument(metavar="TEXT", help="What its agents are told, as from the person in charge.")
    ],
    json: options.Json = False,
    database: options.Database = None,
) -> None:
    """Tell a run something; each agent at work hears it with its next model call."""
    import asyncio

    from quarterdeck.cli.screen import Screen
    from quarterdeck.governance.queue import instruct

    screen = Screen()
    with open_store(database) as store:
        record = find_run(store, run_id)
        later = asyncio.run(instruct(store, record.id, text, options.user_name()))
    if json:
        screen.data({"run_id": record.id, "instructed": True, "at_work": not later})
    elif later:
        screen.line(f"Recorded. Its agents hear it when the run goes on: quarterdeck runs resume {record.id}")
    else:
        screen.line(f"Run {record.id} is told; its agents hear it with their next model calls.")


async def _end_cancelled(store: Store, run_id: str) -> None:
    """End a run that no process works on."""
    from quarterdeck.journal.events import RunEnded
    from quarterdeck.journal.run import RunJournal

    journal = await RunJournal.resume(store, run_id)
    try:
        await journal.end(RunEnded(status="cancelled", code="cancelled", evidence="Cancelled by request."))
    finally:
        await journal.close()


def open_store(database: str | None, *, read_only: bool = False) -> Store:
    """Open the journal that a command means."""
    from quarterdeck.journal.store import Store, default_url
    from quarterdeck.spec.workspace import Workspace

    workspace = Workspace.find()
    store = Store.open(database or default_url(workspace.root), read_only=read_only)
    if not read_only:
        store.writer.signer = _signer(workspace)
    return store


def _signer(workspace: Workspace) -> Signer | None:
    """Return who signs what a person does to a run; a broken configuration keeps nobody from cancelling one."""
    import os

    from quarterdeck.errors import InputError, SpecError
    from quarterdeck.journal.signature import signer_of
    from quarterdeck.spec.load import load_governance

    try:
        return signer_of(load_governance(workspace).audit, os.environ)
    except (InputError, SpecError):
        return None


def find_run(store: Store, run_id: str) -> RunRecord:
    """Return a run by its id, the beginning of it, or `LAST` for the newest."""
    newest = store.runs(1) if run_id == LAST else []
    return newest[0] if newest else store.run(run_id)


def _crew_of(record: RunRecord, database: str | None, screen: Screen, *, yes: bool, quiet: bool) -> Crew:
    from quarterdeck.cli.run import equipped
    from quarterdeck.engine.recorded import crew_of
    from quarterdeck.spec.workspace import Workspace

    spec = crew_of(record)
    model = record.spec.get("model", "")
    return equipped(spec, Workspace.find(), database, model, None, screen, yes=yes, quiet=quiet)


def _refuse_ended(record: RunRecord) -> None:
    if record.status in ("succeeded", "partial"):
        raise JournalError(
            f"Run {record.id} has ended: {record.status}. Nothing to resume; a new run from any of its steps: "
            f"quarterdeck runs fork {record.id} --at TASK",
            code="ended",
        )


def _state(record: RunRecord) -> str:
    return "interrupted" if record.interrupted else record.status


def _row(record: RunRecord) -> tuple[str, ...]:
    from quarterdeck.cli.text import count, duration, money

    state = _state(record)
    if state in ("interrupted", "running") and record.last_path:
        state = f"{state} at {record.last_path}"
    elif state in ("failed", "partial", "waiting"):
        state = f"{state} ({record.code})"
    calls = record.totals.model_calls + record.totals.tool_calls
    ago = f"{duration(max(0.0, time.time() - record.updated_at))} ago"
    return record.id, record.crew, state, f"{count(calls, 'call')} recorded", money(record.totals.cost_usd), ago


def _as_object(record: RunRecord) -> dict[str, Any]:
    from quarterdeck.cli.progress import totals_object

    return {
        "run_id": record.id, "crew": record.crew, "status": _state(record), "code": record.code,
        "created_at": record.created_at, "updated_at": record.updated_at, "last_path": record.last_path,
        "parent": record.parent or None, "fork_at": record.fork_at or None, **totals_object(record.totals),
    }  # fmt: skip
