"""`quarterdeck runs drift`: whether a crew still does what it did before."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from quarterdeck.cli import options
from quarterdeck.errors import InputError

if TYPE_CHECKING:
    from quarterdeck.cli.screen import Screen
    from quarterdeck.evaluation.drift import Drift, Part, Shares
    from quarterdeck.journal.spending import RunRow
    from quarterdeck.journal.store import Store

RUNS = 20
MAX_RUNS = 1000
NAMES_SHOWN = 5


def drift_runs(
    crew: Annotated[str, typer.Argument(metavar="CREW", help="The crew's name.")],
    runs: Annotated[int, typer.Option("--runs", min=1, max=MAX_RUNS, help="So many runs a side at most.")] = RUNS,
    since: Annotated[
        str, typer.Option("--since", metavar="WHEN", help="Compare runs that began since then with those before.")
    ] = "",
    baseline: Annotated[
        list[str] | None, typer.Option("--baseline", metavar="RUN", help="Compare with this run; repeatable.")
    ] = None,
    limit: Annotated[
        float | None, typer.Option("--limit", min=0.0, max=1.0, help="End with exit code 1 above this drift.")
    ] = None,
    json: options.Json = False,
    database: options.Database = None,
) -> None:
    """Compare a crew's newest runs with those before: tools, models, how they end, turns, tokens and cost.

    The drift is that of the part that changed most, from 0 (as before) to 1. Only runs that have ended count, forks
    do not.
    """
    from quarterdeck.cli.runs import open_store
    from quarterdeck.cli.screen import Screen
    from quarterdeck.evaluation.behaviour import behaviour
    from quarterdeck.evaluation.drift import drift

    screen = Screen()
    with open_store(database, read_only=True) as store:
        before, now = _sides(store, crew, runs, since, baseline or [])
        found = drift(behaviour(store, before), behaviour(store, now))
    if json:
        screen.data(_as_object(crew, found))
    else:
        _show(crew, found, screen)
    if limit is not None and found.score is not None and found.score > limit:
        raise typer.Exit(1)


def _sides(store: Store, crew: str, most: int, since: str, baseline: list[str]) -> tuple[list[RunRow], list[RunRow]]:
    """Return the runs of the baseline and those that are compared with it."""
    from quarterdeck.cli.since import read_since
    from quarterdeck.evaluation.behaviour import ended_runs

    then = read_since(since) if since else 0.0
    if baseline:
        named = [_named(store, crew, run_id) for run_id in baseline[:MAX_RUNS]]
        before = list({run.id: run for run in named}.values())
        newest = ended_runs(store, crew, most + len(before), since=then)
        return before, [run for run in newest if run not in before][:most]
    if since:
        return ended_runs(store, crew, most, before=then), ended_runs(store, crew, most, since=then)
    newest = ended_runs(store, crew, 2 * most)
    return newest[most:], newest[:most]


def _named(store: Store, crew: str, run_id: str) -> RunRow:
    """Return a run of the baseline.

    Raises:
        InputError: It is another crew's, a fork, or has not ended.
        RunNotFound: No run, or more than one, begins so.
    """
    from quarterdeck.evaluation.behaviour import ENDED
    from quarterdeck.journal.spending import find_run

    run = find_run(store, run_id)
    wrong = (
        f"is a run of {run.crew}" if run.crew != crew
        else "is a fork" if run.parent
        else f"has not ended ({run.status})" if run.status not in ENDED
        else ""
    )  # fmt: skip
    if wrong:
        raise InputError(f"--baseline {run.id} {wrong}. Name runs of {crew} that have ended: quarterdeck runs list")
    return run


def _show(crew: str, found: Drift, screen: Screen) -> None:
    from quarterdeck.cli.text import count
    from quarterdeck.evaluation.drift import ENOUGH

    if found.score is None:
        screen.line(
            f"{crew}: too few runs that have ended, {found.now} now and {found.before} before; it takes {ENOUGH} a "
            "side. Let it run more, or take less a side: --runs"
        )
        return
    screen.line(f"{crew}  drift {found.score:.2f}  {count(found.now, 'run')} now, {found.before} before", "bold")
    rows = []
    for part in found.parts:
        score = "-" if part.score is None else f"{part.score:.2f}"
        rows += [(part.name, score, "before", _side(part, part.before)), ("", "", "now", _side(part, part.now))]
    screen.columns(rows)
    if found.redeclared:
        screen.line("The crew was not declared the same in all of these runs: that may be why.")


def _side(part: Part, side: Shares | float | None) -> str:
    """Return one side of a part in words."""
    from quarterdeck.cli.cost_view import near
    from quarterdeck.cli.text import one_line

    if side is None:
        return "unknown"
    if not isinstance(side, dict):
        return near(side) if part.name.startswith("USD") else f"{side:,.1f}".removesuffix(".0")
    ordered = sorted(side.items(), key=lambda one: (-one[1], one[0]))
    shown = [f"{one_line(name, 40)} {100 * share:.0f} %" for name, share in ordered[:NAMES_SHOWN]]
    more = len(ordered) - NAMES_SHOWN
    return ", ".join(shown) + (f" and {more} more" if more > 0 else "")


def _as_object(crew: str, found: Drift) -> dict[str, Any]:
    return {
        "crew": crew, "drift": found.score, "runs": {"before": found.before, "now": found.now},
        "redeclared": found.redeclared, "parts": [asdict(part) for part in found.parts],
    }  # fmt: skip
