"""The command `quarterdeck` and its groups."""

from __future__ import annotations

from typing import Annotated

import typer

from quarterdeck.cli import (
    approvals,
    audit,
    compare,
    cost,
    doctor,
    graph,
    health,
    mcp,
    memory,
    models,
    new,
    plans,
    prompts,
    run,
    runs,
    tools,
    validate,
)
from quarterdeck.cli.options import make_app

app = make_app("Run crews of agents that can be trusted with real work. Start with: quarterdeck new FOLDER")


def _show_version(wanted: bool) -> None:
    if wanted:
        import quarterdeck

        typer.echo(f"quarterdeck {quarterdeck.__version__}")
        raise typer.Exit


@app.callback()
def _quarterdeck(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and end.")
    ] = False,
) -> None:
    """Run crews of agents that can be trusted with real work.

    Start with: quarterdeck new FOLDER
    """


app.command("run", epilog=run.EXIT_CODES)(run.run)
app.command("validate")(validate.validate)
app.command("graph")(graph.graph)
app.add_typer(runs.app, name="runs")
app.add_typer(plans.app, name="plans")
app.add_typer(approvals.app, name="approvals")
app.add_typer(audit.app, name="audit")
app.add_typer(prompts.app, name="prompts")
app.add_typer(tools.app, name="tools")
app.add_typer(mcp.app, name="mcp")
app.add_typer(memory.app, name="memory")
app.add_typer(models.app, name="models")
models.app.command("health")(health.health)
models.app.command("compare")(compare.compare)
app.command("cost")(cost.cost)
app.command("new")(new.new)
app.command("doctor")(doctor.doctor)
