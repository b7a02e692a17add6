"""Reading from the databases of config/services.yaml that allow it. Their named queries are tools of their own."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from quarterdeck.errors import ToolError
from quarterdeck.spec.problem import did_you_mean
from quarterdeck.spec.services import DatabaseSpec
from quarterdeck.tools import queries
from quarterdeck.tools.manifest import tool
from quarterdeck.tools.services import services_of
from quarterdeck.tools.tool import ToolContext

__all__ = ["select", "tables"]


@tool(effect="read", owner="quarterdeck", sinks={}, sensitive=True, timeout=310.0, idempotent=True)
def select(
    context: ToolContext,
    database: Annotated[str, Field(max_length=40)],
    statement: Annotated[str, Field(max_length=20_000)],
) -> dict[str, Any]:
    """Carry out one SELECT on a database and return columns and rows. Nothing can be changed.

    Args:
        context: The run that asks; filled in by the engine.
        database: Its name.
        statement: One SELECT.

    Returns:
        `columns`, `rows`, and whether there are `more`.
    """
    return queries.select(database, _open(context, database), statement, {}, free=True)


@tool(effect="read", owner="quarterdeck", sinks={}, timeout=310.0, idempotent=True)
def tables(context: ToolContext, database: Annotated[str, Field(max_length=40)]) -> dict[str, Any]:
    """List the tables and columns of a database that may be read, before you write a SELECT.

    Args:
        context: The run that asks; filled in by the engine.
        database: Its name.

    Returns:
        `columns`, `rows`, and whether there are `more`.
    """
    return queries.tables(database, _open(context, database))


def _open(context: ToolContext, database: str) -> DatabaseSpec:
    """Return a database on which the operator allows free SELECTs."""
    free = {name: spec for name, spec in services_of(context).databases.items() if spec.free_select}
    if database not in free:
        known = f"There are: {', '.join(free)}." if free else "There is none."
        raise ToolError(f'No database "{database}" takes free SELECTs{did_you_mean(database, free) or "."} {known}')
    return free[database]
