"""The few statements that every commit of the journal is made of."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from sqlalchemy import bindparam, update

from quarterdeck.journal.tables import runs

if TYPE_CHECKING:
    from sqlalchemy import Dialect
    from sqlalchemy.engine.interfaces import DBAPICursor


class Statement:
    """A statement compiled once; its parameters in the shape that the driver wants."""

    def __init__(self, statement: Any, dialect: Dialect) -> None:
        compiled = statement.compile(dialect=dialect)
        self.sql = str(compiled)
        self._order: list[str] | None = compiled.positiontup

    def run(self, cursor: DBAPICursor, rows: Iterable[dict[str, Any]]) -> None:
        """Execute the statement once a row."""
        order = self._order
        parameters: list[Any] = list(rows) if order is None else [tuple([row[name] for name in order]) for row in rows]
        if len(parameters) == 1:
            cursor.execute(self.sql, parameters[0])
        elif parameters:
            cursor.executemany(self.sql, parameters)


def change_run(*names: str) -> Any:
    """Return the statement that sets columns of one run."""
    values: dict[str, Any] = {name: bindparam(name) for name in names}
    return update(runs).where(runs.c.id == bindparam("run_id")).values(values)
