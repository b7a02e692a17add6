"""Reading what was too large for one result: the artifacts of this run, in parts."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from quarterdeck.tools import artifacts
from quarterdeck.tools.manifest import tool
from quarterdeck.tools.tool import ToolContext

__all__ = ["read"]


@tool(effect="read", owner="quarterdeck", sinks={}, isolated=False)
def read(
    context: ToolContext,
    name: Annotated[str, Field(max_length=60)],
    start: Annotated[int, Field(ge=0, le=10_000_000)] = 0,
    length: Annotated[int, Field(ge=1, le=10_000)] = 4_000,
) -> dict[str, Any]:
    """Read more of a result of this run when it was too large and was cut.

    Args:
        context: The run that asks; filled in by the engine.
        name: The artifact's name, as the cut result gives it.
        start: The first character, counted from 0.
        length: How many characters.

    Returns:
        `text`, and `next`, the first character of what is left, if anything is.
    """
    text, total = artifacts.read(context.folder, name, start, length)
    more = {"next": start + length} if start + length < total else {}
    return {"text": text, "start": start, "characters": total, **more}
