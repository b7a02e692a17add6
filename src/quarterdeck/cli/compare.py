"""`quarterdeck models compare`: the same cases with each model or state of a crew, paired, with intervals."""

from __future__ import annotations

import time
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from quarterdeck.cli import options
from quarterdeck.errors import InputError, ModelError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from quarterdeck.cli.compare_view import Progress
    from quarterdeck.cli.screen import Screen
    from quarterdeck.engine.crew import Crew
    from quarterdeck.evaluation.cases import Case
    from quarterdeck.evaluation.purse import Purse
    from quarterdeck.evaluation.trials import Side, Trial
    from quarterdeck.models.catalog import Catalog
    from quarterdeck.spec.crew import CrewSpec
    from quarterdeck.spec.workspace import Workspace

MAX_MODELS = 10
MAX_RUNS = 10_000


def compare(
    crew: Annotated[str, typer.Argument(metavar="CREW", help="A crew's name, or the path of its file or project.")],
    models: Annotated[str, typer.Option("--models", metavar="A,B", help="Models or groups; the first is the base.")],
    cases: Annotated[Path, typer.Option("--cases", metavar="FILE", help="The cases, as YAML or JSON lines.")],
    repeat: Annotated[int, typer.Option("--repeat", min=1, max=100, help="Runs of each case with each side.")] = 1,
    limit_usd: Annotated[
        float | None, typer.Option("--limit-usd", min=0, help="What all runs may cost together, in USD.")
    ] = None,
    concurrency: Annotated[int, typer.Option("--concurrency", min=1, max=64, help="Runs at once.")] = 4,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Agree to the runs and to fetching weights.")] = False,
    against: Annotated[
        str, typer.Option("--against", metavar="RUN", help="Compare the crew with that of a run, both with one model.")
    ] = "",
    json: options.Json = False,
    database: options.Database = None,
) -> None:
    """Run the same cases with several models and compare quality, cost and latency, pair by pair.

    With --against RUN the crew of that run and the crew of now are compared. `prompts diff` tells the scores.

    Every run is a normal run in the journal. Ctrl-C keeps what is done and reports it.
    """
    from quarterdeck.cli.compare_view import Progress, report_object, show
    from quarterdeck.cli.interrupt import INTERRUPTED, Interrupted, run_until_interrupted
    from quarterdeck.cli.screen import Screen
    from quarterdeck.evaluation.purse import Purse
    from quarterdeck.spec.load import load_crew
    from quarterdeck.spec.workspace import Workspace

    screen, workspace = Screen(), Workspace.find()
    names = _names(models, against)
    spec = load_crew(crew, workspace)
    change = _change(against, spec, workspace, database) if against else None
    wanted = _cases(cases, spec, change, workspace)
    runs = len(wanted) * repeat * (2 if change else len(names))
    if runs > MAX_RUNS:
        raise InputError(f"These would be {runs:,} runs; at most {MAX_RUNS:,} are compared at once. Nothing was run.")
    spec, a_run = _limited(spec, limit_usd, runs)
    catalog = _agreed(spec, workspace, names, runs, limit_usd, screen, yes=yes, quiet=json)
    sides = _sides(spec, change, names, workspace, database, catalog)
    names = [side.name for side in sides]
    purse = Purse(None if limit_usd is None else Decimal(str(limit_usd)), a_run)
    progress = Progress(screen, runs, quiet=json)
    stopped = False
    try:
        run_until_interrupted(_run(sides, wanted, purse, progress, repeat, concurrency))
    except Interrupted:
        stopped = True
    if json:
        report = report_object(spec.crew, progress.trials, names, runs, stopped=stopped)
        screen.data({**report, "against": change.run_id if change else None})
    else:
        show(spec.crew, progress.trials, names, screen, runs, stopped=stopped)
    if change and len(progress.trials) == runs:
        _keep(change, spec.crew, sides, progress.trials, workspace)
    if stopped:
        raise typer.Exit(INTERRUPTED)


async def _run(
    sides: Sequence[Side], cases: Sequence[Case], purse: Purse, progress: Progress, repeat: int, width: int
) -> None:
    from quarterdeck.evaluation.checks import Checker
    from quarterdeck.evaluation.trials import run_trials

    crew = sides[0].crew
    checker = Checker(crew.store, _tool_folders(crew.workspace))
    try:
        await run_trials(sides, cases, checker, purse, progress, repeat=repeat, concurrency=width)
    finally:
        checker.close()
        for side in sides:
            await side.crew.aclose()


@dataclass(frozen=True, slots=True)
class _Change:
    """The crew of a run, and what identifies it and the crew as it is now."""

    run_id: str
    spec: CrewSpec
    before: str
    now: str


def _change(run_id: str, spec: CrewSpec, workspace: Workspace, database: str | None) -> _Change:
    from quarterdeck.cli.prompts_diff import recorded_crew
    from quarterdeck.cli.runs import find_run, open_store
    from quarterdeck.evaluation.outcomes import identity
    from quarterdeck.tools.secrets import Masker, referenced

    with open_store(database, read_only=True) as store:
        record = find_run(store, run_id)
    if record.crew != spec.crew:
        raise InputError(f"Run {record.id} is one of the crew {record.crew}, not of {spec.crew}. Nothing was run.")
    masker = Masker(names=referenced(folder / "config" for folder in workspace.folders))
    earlier = recorded_crew(record)
    change = _Change(record.id, earlier, identity(earlier, masker), identity(spec, masker))
    if change.before == change.now:
        raise InputError(f"{spec.crew} is declared as it was in run {record.id}. Nothing was run.")
    return change


def _sides(
    spec: CrewSpec, change: _Change | None, names: Sequence[str], workspace: Workspace, database: str | None,
    catalog: Catalog,
) -> list[Side]:  # fmt: skip
    """Return what is compared; the first is the base."""
    from quarterdeck.engine.crew import Crew
    from quarterdeck.evaluation.trials import Side

    def ready(one: CrewSpec) -> Crew:
        return Crew(one, workspace=workspace, database_url=database, catalog=catalog, fresh=True)

    now = ready(spec)
    if change is None:
        return [Side(name, now, name) for name in names]
    # What it may use and do by itself is said by the files of now, for both sides.
    earlier = change.spec.model_copy(update={key: getattr(spec, key) for key in ("limits", "concurrency", "autonomy")})
    return [Side(f"run {change.run_id}", ready(earlier), names[0]), Side("now", now, names[0])]


def _keep(change: _Change, crew: str, sides: Sequence[Side], trials: Sequence[Trial], workspace: Workspace) -> None:
    from quarterdeck.evaluation.compare import compared
    from quarterdeck.evaluation.outcomes import Outcome, keep

    comparison = compared(trials, [side.name for side in sides])
    (pair,) = comparison.pairs
    if pair.rate is None:
        return
    before, now = comparison.scores
    outcome = Outcome(
        at=time.time(), crew=crew, run_id=change.run_id, before=change.before, now=change.now, model=sides[0].model,
        cases=pair.cases, runs=len(trials), score_before=before.rate, score_now=now.rate, low=pair.rate.low,
        high=pair.rate.high,
    )  # fmt: skip
    keep(workspace.runs, outcome)


def _names(models: str, against: str) -> list[str]:
    names = [name.strip() for name in models.split(",") if name.strip()]
    if against and len(names) != 1:
        raise InputError(f"--models {models[:200]}: with --against give one, such as cheap. Nothing was run.")
    if not against and (len(names) < 2 or len(set(names)) < len(names) or len(names) > MAX_MODELS):
        raise InputError(f"--models {models[:200]}: give two to {MAX_MODELS} different ones, such as cheap,expensive.")
    return names


def _tool_folders(workspace: Workspace) -> list[Path]:
    return [folder / "tools" for folder in workspace.folders]


def _cases(path: Path, spec: CrewSpec, change: _Change | None, workspace: Workspace) -> list[Case]:
    """Return the cases; their inputs are known to be good, for both states of a crew, before anything is run."""
    from quarterdeck.engine.inputs import check_inputs
    from quarterdeck.evaluation.cases import load_cases

    cases = load_cases(path, spec, shown=workspace.shown(path), folders=_tool_folders(workspace))
    for case in cases:
        where = f'{workspace.shown(path)}: case "{case.name}"'
        try:
            check_inputs(spec, case.inputs, workspace.root)
            if change:
                where += f", crew of run {change.run_id}"
                check_inputs(change.spec, case.inputs, workspace.root)
        except InputError as error:
            raise InputError(f"{where}: {error}") from None
    return cases


def _limited(spec: CrewSpec, limit_usd: float | None, runs: int) -> tuple[CrewSpec, Decimal]:
    """Return the crew with the limit that each of its runs has under a total, and that limit.

    Nobody is there to raise a limit of a run, so it ends with its best answer.
    """
    limits = {"on_budget": "answer"}
    if limit_usd is None:
        return _with_limits(spec, limits), Decimal(0)
    total = Decimal(str(limit_usd))
    own = spec.limits.usd
    a_run = total / runs if own is None else min(Decimal(str(own)), total)
    return _with_limits(spec, {**limits, "usd": float(a_run)}), Decimal(str(float(a_run)))


def _with_limits(spec: CrewSpec, changes: Mapping[str, object]) -> CrewSpec:
    return spec.model_copy(update={"limits": spec.limits.model_copy(update=changes)})


def _agreed(
    spec: CrewSpec, workspace: Workspace, names: list[str], runs: int, limit_usd: float | None, screen: Screen, *,
    yes: bool, quiet: bool,
) -> Catalog:  # fmt: skip
    """Return the catalog once the models are known to be usable and a person has agreed to what it may cost."""
    from quarterdeck.cli.weights import ensure_weights
    from quarterdeck.models.catalog import Catalog
    from quarterdeck.spec.load import load_models

    catalog = Catalog(load_models(workspace))
    try:
        resolved = [catalog.resolve(name) for name in names]
    except ModelError as error:
        raise ModelError(f"{error} Nothing was run or spent.", error.kind) from None
    what = f"{runs:,} runs of {spec.crew} with {', '.join(names)}: {_at_most(spec, runs, limit_usd)}"
    if not all(model.free for model in resolved):
        if not yes and not (screen.terminal and not quiet and typer.confirm(f"{what}. Start?")):
            raise InputError(f"{what}. Nothing was run; agree with --yes, and set a total with --limit-usd.")
    if not quiet:
        screen.line(f"{what}.")
    ensure_weights(resolved, screen, yes=yes, quiet=quiet)
    return catalog


def _at_most(spec: CrewSpec, runs: int, limit_usd: float | None) -> str:
    from quarterdeck.cli.cost_view import near

    bounds = [] if limit_usd is None else [limit_usd]
    bounds += [] if spec.limits.usd is None else [spec.limits.usd * runs]
    return f"at most {near(min(bounds))} in all" if bounds else "no bound on their cost, for the crew has no limits.usd"
