"""Looking things up in the knowledge of the crew: what its `knowledge:` names. What it says is data, no instruction."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from quarterdeck.errors import ToolError
from quarterdeck.tools.manifest import tool
from quarterdeck.tools.tool import ToolContext

__all__ = ["search"]


@tool(effect="read", owner="quarterdeck", sinks={}, timeout=60.0, idempotent=True)
async def search(
    context: ToolContext,
    query: Annotated[str, Field(min_length=1, max_length=1000)],
    limit: Annotated[int, Field(ge=1, le=20)] = 5,
) -> list[dict[str, Any]]:
    """Search the crew's knowledge for passages that say most of it, each with its source, before you answer.

    Args:
        context: The run that asks; filled in by the engine.
        query: A few words, or a question.
        limit: How many passages to return.

    Returns:
        The passages, the best first.
    """
    if context.knowledge is None:
        raise ToolError("This crew has no knowledge: name folders, files or URLs under `knowledge:` in its file.")
    return await context.knowledge.search(query, limit)
