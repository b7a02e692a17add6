"""`quarterdeck cost`: what runs cost, by what, what routing saved, and what many runs would cost."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, get_args

import typer

from quarterdeck.cli import options
from quarterdeck.errors import InputError, QuarterdeckError

if TYPE_CHECKING:
    from quarterdeck.cli.cost_view import CostReport
    from quarterdeck.evaluation.costs import By, Costs
    from quarterdeck.evaluation.projection import Projection
    from quarterdeck.journal.spending import RunRow
    from quarterdeck.journal.store import Store
    from quarterdeck.models.catalog import Catalog
    from quarterdeck.models.prices import Price

Grouping = Literal["run", "crew", "role", "agent", "task", "model", "day", "decision", "tenant", "call"]
SINCE = "30d"
_OF_ONE_RUN: tuple[By, ...] = ("task", "agent", "model")


def cost(
    run_id: Annotated[
        str | None, typer.Argument(metavar="[RUN]", help="One run, a unique beginning of its id, or LAST.")
    ] = None,
    by: Annotated[Grouping | None, typer.Option("--by", help="What to add up by.")] = None,
    since: Annotated[
        str, typer.Option("--since", metavar="WHEN", help="Runs that began since then: 12h, 7d, 2026-11-01.")
    ] = SINCE,
    volume: Annotated[
        int | None, typer.Option("--volume", min=1, max=1_000_000_000, help="Project to so many runs of the crew.")
    ] = None,
    svg: Annotated[Path | None, typer.Option("--svg", metavar="FILE", help="Draw the chart into a file too.")] = None,
    json: options.Json = False,
    database: options.Database = None,
) -> None:
    """Show what runs cost: exactly, from the recorded calls.

    Without RUN: all runs that began in the last 30 days, by crew. With RUN: by task, agent, model and decision, and
    what routing saved. A price that is not known is shown as unknown, never as 0.
    """
    from quarterdeck.cli.cost_view import cost_object, draw, show
    from quarterdeck.cli.runs import open_store
    from quarterdeck.cli.screen import Screen
    from quarterdeck.cli.since import read_since

    begun = read_since(since)
    if by == "call" and run_id is None:
        raise InputError("--by call shows the calls of one run: quarterdeck cost RUN --by call")
    screen = Screen()
    with open_store(database, read_only=True) as store:
        report = _report(store, run_id, by, begun, volume)
    if svg is not None:
        try:
            svg.write_text(draw(report), encoding="utf-8")
        except OSError as error:
            raise InputError(f"--svg {svg}: cannot be written: {error.strerror or error}.") from None
    if json:
        screen.data(cost_object(report))
    else:
        show(report, screen)
        if svg is not None:
            screen.line(f"Chart: {svg}")


def _report(store: Store, run_id: str | None, by: By | None, begun: float, volume: int | None) -> CostReport:
    from quarterdeck.cli.cost_view import CostReport
    from quarterdeck.cli.runs import find_run
    from quarterdeck.journal import spending

    price_of, role_of = _price_of(), _role_of(store)
    run = None if run_id is None else spending.find_run(store, find_run(store, run_id).id)
    wanted: tuple[By, ...] = (by,) if by else _OF_ONE_RUN if run else ("crew",)
    assert set(get_args(Grouping)) >= set(wanted)

    def add_up(runs: list[RunRow], groups: tuple[By, ...]) -> Costs:
        from quarterdeck.evaluation.costs import add_up

        rows = spending.spending(store, runs)
        return add_up(rows, groups, price_of=price_of, role_of=role_of, runs=runs)

    runs = spending.find_runs(store, begun_since=begun) if run is None else [run]
    costs = add_up(runs, wanted)
    projections: list[Projection] = []
    if volume is not None:
        like = costs if run is None else add_up(spending.find_runs(store, begun_since=begun, crew=run.crew), ())
        projections = _projections(like, volume)
    cut = run is None and len(runs) == spending.MAX_RUNS
    return CostReport(run, begun, wanted, len(runs), cut, costs, projections, detailed=run is not None and by is None)


def _projections(costs: Costs, volume: int) -> list[Projection]:
    from quarterdeck.evaluation.projection import project

    runs = list(costs.runs.values())
    return [project(crew, runs, volume) for crew in sorted({run.crew for run, _ in runs})]


def _price_of() -> Callable[[str], Price | None]:
    """Return how prices are looked up; nothing is read before the first one is asked for."""

    @cache
    def catalog() -> Catalog:
        from quarterdeck.models.catalog import Catalog
        from quarterdeck.spec.load import load_models
        from quarterdeck.spec.workspace import Workspace

        return Catalog(load_models(Workspace.find()))

    def price_of(name: str) -> Price | None:
        try:
            return catalog().price_of(name)
        except QuarterdeckError:
            return None

    return price_of


def _role_of(store: Store) -> Callable[[RunRow, str], str]:
    """Return how the role of an agent is looked up: in the crew as it was declared when the run began."""
    crews: dict[str, dict[str, str]] = {}

    def role_of(run: RunRow, agent: str) -> str:
        if run.spec_hash not in crews:
            crew = store.run(run.id).spec.get("crew")
            agents = crew.get("agents", {}) if isinstance(crew, dict) else {}
            crews[run.spec_hash] = {name: str(declared.get("role", "")) for name, declared in agents.items()}
        return crews[run.spec_hash].get(agent) or agent

    return role_of
