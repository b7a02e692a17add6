"""`quarterdeck audit`: whether the journal still says what was recorded."""

from __future__ import annotations

import typer

from quarterdeck.cli import options

app = options.make_app("Check the journal itself.")


@app.callback()
def _audit() -> None:
    """Check the journal itself."""


@app.command("verify")
def verify(run_id: options.RunId, json: options.Json = False, database: options.Database = None) -> None:
    """Check a run's hash chain; name the first event that was changed, dropped or inserted."""
    from quarterdeck.cli.runs import find_run, open_store
    from quarterdeck.cli.screen import Screen

    screen = Screen()
    with open_store(database, read_only=True) as store:
        record = find_run(store, run_id)
        broken = store.verify(record.id)
    if json:
        screen.data({"run_id": record.id, "intact": broken is None, "event": broken.seq if broken else None})
    elif broken is None:
        screen.line(f"run {record.id}: all {record.last_seq} events are as they were recorded")
    else:
        screen.line(str(broken))
    if broken is not None:
        raise typer.Exit(4)
