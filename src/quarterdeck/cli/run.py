"""`quarterdeck run`: a crew from its inputs to its report."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from quarterdeck.cli import options
from quarterdeck.errors import ModelError, QuarterdeckError

if TYPE_CHECKING:
    from quarterdeck.cli.progress import View
    from quarterdeck.cli.screen import Screen
    from quarterdeck.engine.crew import Crew
    from quarterdeck.engine.result import Result
    from quarterdeck.models.catalog import Catalog
    from quarterdeck.spec.crew import CrewSpec

EXIT = {"succeeded": 0, "failed": 1, "partial": 10, "waiting": 11, "cancelled": 12}
EXIT_CODES = (
    "Exit codes: 0 succeeded, 10 partial, 11 waiting for a person, 1 failed, 12 cancelled, 130 interrupted "
    "(can be resumed); 2 a declaration or input is wrong, 3 a model cannot be used, 4 the journal cannot be used."
)
Work = Callable[["Crew", "View"], Awaitable["Result"]]


def run(
    crew: Annotated[str, typer.Argument(metavar="CREW", help="A crew's name, or the path of its file or project.")],
    inputs: options.Inputs = None,
    input_file: Annotated[
        Path | None, typer.Option("--input-file", metavar="FILE", help="A JSON object with inputs.")
    ] = None,
    model: Annotated[str, typer.Option("--model", "-m", help="A model or group in place of the agents' own.")] = "",
    changes: options.Sets = None,
    tenant: options.Tenant = "",
    autonomy: options.Dial = "",
    yes: options.Yes = False,
    json: options.Json = False,
    database: options.Database = None,
) -> None:
    """Run a crew, show what it does, and give its report.

    With --json: the run's events as JSON lines, then one object with run_id, status, code, evidence, output, files,
    model_calls, tool_calls, tokens, cost_usd (null when a price is not known), seconds and degraded (a fallback model
    answered).

    Ctrl-C once stops cleanly and says how to go on; twice stops at once.
    """
    from quarterdeck.cli.screen import Screen

    screen = Screen()

    def ready() -> tuple[Crew, Work]:
        from quarterdeck.spec.load import load_crew
        from quarterdeck.spec.workspace import Workspace

        given: dict[str, Any] = options.read_input_file(input_file) if input_file else {}
        given |= options.read_pairs(inputs, "--input")
        workspace = Workspace.find()
        spec = options.changed_spec(load_crew(crew, workspace), options.read_pairs(changes, "--set"))
        ready_crew = equipped(
            spec, workspace, database, model, given, screen, yes=yes, quiet=json, tenant=tenant,
            autonomy=autonomy,
        )  # fmt: skip
        return ready_crew, lambda crew, view: crew.akickoff(given, model=model, listener=view)

    raise typer.Exit(run_reporting(ready, screen, json=json))


def run_reporting(ready: Callable[[], tuple[Crew, Work]], screen: Screen, *, json: bool) -> int:
    """Make a crew ready and run it; with `json`, a failure before the end is a result object too.

    Args:
        ready: Makes the crew, and the work that is done with it.
        screen: Where to write.
        json: Whether programs read along.

    Returns:
        The exit code.
    """
    try:
        crew, work = ready()
        return run_crew(crew, work, screen, json=json)
    except QuarterdeckError as error:
        if json:
            screen.data(_no_result("failed", error.code, str(error)))
        raise


def run_crew(crew: Crew, work: Work, screen: Screen, *, json: bool = False) -> int:
    """Run a crew, show its progress and its end.

    Args:
        crew: Ready to run.
        work: What is done with it: a kick-off, a resume or a fork.
        screen: Where to write.
        json: Events and result as JSON.

    Returns:
        The exit code.
    """
    from quarterdeck.cli.interrupt import INTERRUPTED, Interrupted, run_until_interrupted
    from quarterdeck.cli.progress import JsonView, LinesView, result_object

    view: View = JsonView(screen) if json else LinesView(screen, crew.spec)

    async def whole() -> Result:
        try:
            with view:
                return await work(crew, view)
        finally:
            await crew.aclose()

    try:
        result = run_until_interrupted(whole())
    except Interrupted:
        _stopped(crew, view.run_id, screen, json=json)
        return INTERRUPTED
    if json:
        screen.data(result_object(result))
    else:
        _show_result(crew, result, screen)
    return EXIT[result.status]


def equipped(
    spec: CrewSpec, workspace: Any, database: str | None, model: str, inputs: dict[str, Any] | None, screen: Screen, *,
    yes: bool, quiet: bool, tenant: str = "", autonomy: str = "",
) -> Crew:  # fmt: skip
    """Return a crew whose inputs and models are known to be good, its weights loading meanwhile.

    Args:
        spec: The crew.
        workspace: Its workspace.
        database: The journal's URL; None for the default.
        model: Overrides the agents' models; empty for none.
        inputs: As given, or None for those of a recorded run, which are checked already.
        screen: Where consent is asked for.
        yes: Agree to fetch missing weights.
        quiet: Show and ask nothing.
        tenant: On whose behalf it runs; that of the environment when empty.
        autonomy: Lowers the dial; empty for as it stands.

    Raises:
        InputError: An input is missing or wrong, or the dial cannot be put there.
        SpecError: What governs its tools is declared wrongly.
        ModelError: A model cannot be used. Nothing was run.
    """
    from quarterdeck.cli.weights import ensure_weights
    from quarterdeck.engine.inputs import check_inputs
    from quarterdeck.engine.route import models_of
    from quarterdeck.governance.dial import dial_of
    from quarterdeck.models.catalog import Catalog
    from quarterdeck.spec.load import load_governance, load_models

    dial_of(load_governance(workspace), os.environ, autonomy)
    if inputs is not None:
        check_inputs(spec, inputs, workspace.root)
    catalog = Catalog(load_models(workspace))
    try:
        models = list(models_of(spec, catalog, model))
    except ModelError as error:
        raise ModelError(f"{error} Nothing was run or spent.", error.kind) from None
    ensure_weights(models, screen, yes=yes, quiet=quiet)
    _warm(catalog, models)

    from quarterdeck.engine.crew import Crew

    return Crew(spec, workspace=workspace, database_url=database, catalog=catalog, tenant=tenant, autonomy=autonomy)


def _warm(catalog: Catalog, models: list[Any]) -> None:
    """Begin to load weights now, while crewai is still to be imported."""
    for model in dict.fromkeys(model for model in models if model.kind == "embedded"):
        provider: Any = catalog.provider(model)
        provider.warm()


def _stopped(crew: Crew, run_id: str, screen: Screen, *, json: bool) -> None:
    from quarterdeck.cli.progress import totals_object
    from quarterdeck.cli.text import count

    if not run_id:
        if json:
            screen.data(_no_result("interrupted", "interrupted", "Stopped before anything was run."))
        else:
            screen.line("Stopped before anything was run.")
        return
    try:
        totals = crew.store.run(run_id).totals
    finally:
        crew.store.close()
    calls = totals.model_calls + totals.tool_calls
    is_one = calls == 1
    said = f"Stopped. {count(calls, 'call')} {'is' if is_one else 'are'} recorded."
    how = f"Go on with: quarterdeck runs resume {run_id}"
    if json:
        screen.data({
            **_no_result("interrupted", "interrupted", f"{said} {how}"), "run_id": run_id, **totals_object(totals),
        })  # fmt: skip
    else:
        screen.line(f"{said} {how}")


def _no_result(status: str, code: str, evidence: str) -> dict[str, Any]:
    return {
        "run_id": None, "status": status, "code": code, "evidence": evidence, "output": None, "files": [],
        "model_calls": 0, "tool_calls": 0, "tokens": 0, "cost_usd": 0.0, "seconds": 0.0,
        "degraded": False,
    }  # fmt: skip


def _show_result(crew: Crew, result: Result, screen: Screen) -> None:
    from quarterdeck.cli.progress import totals_line
    from quarterdeck.cli.text import money, one_line

    if result.text:
        screen.line()
        screen.markdown(result.text)
        screen.line()
    files = [crew.workspace.shown(Path(file)) for file in result.files]
    report = next((file for file in files if file.endswith(".md")), None)
    if report:
        screen.line(f"Report: {report}")
    others = [file for file in files if file != report]
    if others:
        screen.line(f"Files: {', '.join(others[:20])}{' ...' if len(others) > 20 else ''}")
    if result.status not in ("succeeded", "waiting"):
        screen.line(f"Why {result.status}: {one_line(result.evidence, 1000)} ({result.code})", "yellow")
    screen.line(
        totals_line(
            result.status,
            result.seconds,
            result.model_calls,
            result.tool_calls,
            result.tokens,
            money(result.cost.usd),
            degraded=result.degraded,
        ),
        "bold",
    )
    if result.status in ("failed", "cancelled"):
        screen.line(f"Go on with: quarterdeck runs resume {result.run_id}")
    screen.line(f"Why any of it: quarterdeck runs show {result.run_id}")
    if result.status == "waiting":  # last, for it holds the command that somebody has to type
        screen.line(f"Waiting: {one_line(result.evidence, 1000)} ({result.code})", "yellow")
