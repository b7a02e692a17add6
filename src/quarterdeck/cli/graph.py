"""`quarterdeck graph`: a crew as a picture."""

from __future__ import annotations

from typing import Annotated

import typer


def graph(crew: Annotated[str, typer.Argument(metavar="CREW", help="A crew's name or path.")]) -> None:
    """Draw a crew as a Mermaid flow chart."""
    from quarterdeck.cli.screen import Screen
    from quarterdeck.engine.graph import mermaid
    from quarterdeck.spec.load import load_crew
    from quarterdeck.spec.workspace import Workspace

    Screen().line(mermaid(load_crew(crew, Workspace.find())).rstrip("\n"))
