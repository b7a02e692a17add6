"""`quarterdeck prompts`: the exact words that agents get."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from quarterdeck.cli import options
from quarterdeck.errors import InputError, JournalError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from quarterdeck.cli.prompts_diff import Change
    from quarterdeck.cli.screen import Screen
    from quarterdeck.engine.preview import Preview
    from quarterdeck.evaluation.outcomes import Outcome
    from quarterdeck.journal.record import RunRecord

MAX_SCORES = 10
app = options.make_app("Show what agents are told.")


@app.callback()
def _prompts() -> None:
    """Show what agents are told."""


@app.command("show")
def show_prompts(
    crew: Annotated[str, typer.Argument(metavar="CREW", help="A crew's name or path.")],
    agent: Annotated[str, typer.Option("--agent", help="Only this agent.")] = "",
    task: Annotated[str, typer.Option("--task", help="Only this task.")] = "",
    inputs: options.Inputs = None,
    model: Annotated[str, typer.Option("--model", "-m", help="A model or group in place of the agents' own.")] = "",
    json: options.Json = False,
) -> None:
    """Show the first messages of each agent; what is only known in a run stands as {placeholder}."""
    from quarterdeck.cli.screen import Screen
    from quarterdeck.engine.parts import load_parts
    from quarterdeck.engine.preview import preview
    from quarterdeck.models.catalog import Catalog
    from quarterdeck.spec.load import load_crew, load_models
    from quarterdeck.spec.workspace import Workspace

    workspace = Workspace.find()
    spec = load_crew(crew, workspace)
    _known(agent, "agent", spec.agents)
    _known(task, "task", spec.tasks)
    given = options.read_pairs(inputs, "--input")
    for name in given:
        _known(name, "input", spec.inputs)
    previews = [
        one
        for one in preview(spec, load_parts(spec, workspace), Catalog(load_models(workspace)), given, model=model)
        if agent in ("", one.agent) and task in ("", one.task)
    ]
    screen = Screen()
    if json:
        from dataclasses import asdict

        from quarterdeck.models.wire import message_to_json

        screen.data([
            {
                "task": one.task, "agent": one.agent, "model": one.model,
                "messages": [message_to_json(message) for message in one.messages],
                "tools": [asdict(tool) for tool in one.tools],
                "schema": one.schema,
            }
            for one in previews
        ])  # fmt: skip
        return
    for one in previews:
        _show(one, screen)
    if not previews:
        screen.line("No task is done by this agent itself; its work comes from a manager, or from code.")


@app.command("diff")
def diff_prompts(
    crew: Annotated[str, typer.Argument(metavar="CREW", help="A crew's name or path.")],
    run_id: Annotated[
        str, typer.Argument(metavar="RUN", help="A run, the beginning of its id, or LAST.", show_default=False)
    ] = "",
    model: Annotated[str, typer.Option("--model", "-m", help="A model or group in place of the agents' own.")] = "",
    json: options.Json = False,
    database: options.Database = None,
) -> None:
    """Show how the first messages of each agent differ from those of an earlier run's crew.

    Without RUN it is the last run of the crew that was declared otherwise. Tools and models are those of now.
    Scores are those of `quarterdeck models compare CREW --against RUN`.
    """
    from quarterdeck.cli import prompts_diff
    from quarterdeck.cli.runs import find_run, open_store
    from quarterdeck.cli.screen import Screen
    from quarterdeck.evaluation.outcomes import identity, kept
    from quarterdeck.models.catalog import Catalog
    from quarterdeck.spec.load import load_crew, load_models
    from quarterdeck.spec.workspace import Workspace
    from quarterdeck.tools.secrets import Masker, referenced

    screen, workspace = Screen(), Workspace.find()
    spec = load_crew(crew, workspace)
    masker = Masker(names=referenced(folder / "config" for folder in workspace.folders))
    try:
        with open_store(database, read_only=True) as store:
            record = find_run(store, run_id) if run_id else prompts_diff.earlier_run(store, spec, masker)
    except JournalError as error:
        if run_id or error.code != "no_journal":
            raise
        record = None
    if record is not None and record.crew != spec.crew:
        raise InputError(f"Run {record.id} is one of the crew {record.crew}, not of {spec.crew}.")
    found: list[Change] = []
    scores: list[Outcome] = []
    if record is not None:
        catalog = Catalog(load_models(workspace))
        before = prompts_diff.told_then(record, workspace, catalog, masker, model)
        found = prompts_diff.changes(before, prompts_diff.told(spec, workspace, catalog, masker, model), record.id)
        earlier = prompts_diff.recorded_crew(record)
        scores = kept(workspace.runs, identity(earlier, masker), identity(spec, masker))
    if json:
        changes = [{"task": one.task, "agent": one.agent, "diff": list(one.diff)} for one in found]
        told = {"crew": spec.crew, "run_id": record.id if record else None}
        screen.data({**told, "changes": changes, "scores": [one.model_dump() for one in scores]})
    else:
        _show_changes(spec.crew, record, found, screen)
        for one in scores[:MAX_SCORES]:
            screen.line(prompts_diff.score_text(one))


def _known(name: str, kind: str, known: Iterable[str]) -> None:
    if name and name not in (names := list(known)):
        from quarterdeck.spec.problem import did_you_mean

        there = ", ".join(names) or "none"
        raise InputError(f'No {kind} "{name[:100]}"{did_you_mean(name, names)}; there are: {there}.')


def _show(one: Preview, screen: Screen) -> None:
    from quarterdeck.cli.prompts_diff import lines_of

    screen.line(f"task {one.task}  agent {one.agent}  model {one.model}", "bold")
    for text, style in lines_of(one):
        screen.line(text, style)
    screen.line()


def _show_changes(crew: str, record: RunRecord | None, found: list[Change], screen: Screen) -> None:
    if record is None:
        screen.line(f"No difference: no recorded run of {crew} was declared otherwise than it is now.")
        return
    if not found:
        screen.line(f"No difference: agents are told what they were told in run {record.id}.")
    for change in found:
        screen.line(f"task {change.task}  agent {change.agent}", "bold")
        for line in change.diff:
            screen.line(line, {"+": "green", "-": "red", "@": "dim"}.get(line[:1], ""))
        screen.line()
