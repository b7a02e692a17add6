"""`quarterdeck new`: a workspace that runs at once."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from quarterdeck.errors import InputError, QuarterdeckError

TEMPLATE = Path(__file__).parent / "workspace"
CREW = "hello"
_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_-]{0,63}")


def new(
    folder: Annotated[Path, typer.Argument(help="Made if it is not there; must be empty.")],
    crew: Annotated[str, typer.Option("--crew", metavar="NAME", help="What to call the first crew.")] = CREW,
) -> None:
    """Make a workspace that runs at once.

    It has a crew of two agents, their roles, a tool, a document, and the configuration of models.
    """
    from quarterdeck.cli.screen import Screen

    if not _NAME.fullmatch(crew):
        raise InputError(f'--crew "{crew[:100]}": a name begins with a letter and has letters, digits, - and _ alone.')
    try:
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise InputError(f"{folder} is not empty. Nothing was written; give a folder that is new or empty.")
        _copy(TEMPLATE, folder, crew)
    except OSError as error:
        raise QuarterdeckError(f"{folder} cannot be written: {error.strerror or error}.", code="not_written") from None
    screen = Screen()
    if folder.resolve() == Path.cwd():
        screen.line("A workspace is here. Go on with:")
    else:
        screen.line(f"A workspace is in {folder}. Go on with:")
        screen.line(f"  cd {folder}")
    screen.line("  quarterdeck validate")
    screen.line(f"  quarterdeck run {crew}")


def _copy(source: Path, target: Path, crew: str) -> None:
    target.mkdir(parents=True, exist_ok=True)
    for path in sorted(source.iterdir()):
        if path.name == "__pycache__":
            continue
        if path.is_dir():
            _copy(path, target / path.name, crew)
            continue
        # Stored without its dot: else it would hide files of the package when that is built.
        name = ".gitignore" if path.name == "gitignore" else path.name.replace(CREW, crew)
        text = path.read_text(encoding="utf-8")
        for before in (f"run {CREW}", f"crew: {CREW}"):
            text = text.replace(before, before.replace(CREW, crew))
        (target / name).write_text(text, encoding="utf-8")
