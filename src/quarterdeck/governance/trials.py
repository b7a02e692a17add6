"""Trials: a new tool that changes something stays in shadow until a person has agreed to enough of its calls.

Tools that come with Quarterdeck are not new: its own tests are their trial.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import orjson
from sqlalchemy import select, text

from quarterdeck.errors import JournalError, QuarterdeckError
from quarterdeck.journal.tables import events, runs, trials
from quarterdeck.tools.places import comes_along

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from quarterdeck.journal.call import CallContext
    from quarterdeck.journal.store import Store
    from quarterdeck.tools.tool import Tool

MAX_CALLS = 10_000
"""Calls of one tool that are looked through, oldest first: ten times what any trial can ask for."""
JUDGED = ("shadowed", "ok", "unverified")
"""Statuses of calls that a person can agree to: what would have been done, or was."""

_AGREE = text(
    "INSERT INTO trials (tool, agreed, updated_at) VALUES (:tool, 1, :now) "
    "ON CONFLICT (tool) DO UPDATE SET agreed = trials.agreed + 1, updated_at = excluded.updated_at "
    "WHERE trials.agreed = :before"
)


class Trials:
    """How far the tools that a run uses are with their trials.

    Args:
        wanted: So many calls a person has to agree to.
    """

    def __init__(self, wanted: int) -> None:
        self._wanted = wanted
        self._left: dict[str, int] = {}

    async def left(self, tool: Tool, context: CallContext) -> int:
        """Return how many more calls a person has to agree to, as it was when the run first asked.

        Raises:
            JournalError: The database cannot be used.
        """
        if not self._wanted or comes_along(tool):
            return 0
        key = key_of(tool.base, tool.manifest.version)
        if key not in self._left:
            agreed = await context.journal.store.writer.ask(partial(_agreed, key=key))
            self._left[key] = max(0, self._wanted - agreed)
        return self._left[key]


@dataclass(frozen=True, slots=True)
class TriedCall:
    """A call that a tool in trial made, or would have made."""

    run_id: str
    path: str
    arguments: dict[str, Any]
    status: str
    at: float


def key_of(name: str, version: str) -> str:
    """Return what a trial is kept under: the tool's name and the version of its behaviour."""
    return f"{name.partition('@')[0]}@{version}"


def agreed(store: Store, keys: Iterable[str]) -> dict[str, int]:
    """Return to how many calls of each tool a person has agreed.

    Args:
        store: The database.
        keys: As `key_of` makes them.
    """
    wanted = list(keys)
    found = {key: 0 for key in wanted}
    for first in range(0, len(wanted), 500):
        some = trials.c.tool.in_(wanted[first : first + 500])
        found |= {row.tool: row.agreed for row in store.read(select(trials.c.tool, trials.c.agreed).where(some))}
    return found


def calls_of(store: Store, name: str, version: str) -> list[TriedCall]:
    """Return the calls of a tool that a person can agree to, oldest first, at most `MAX_CALLS`.

    Args:
        store: The database.
        name: The tool, without a version.
        version: Of its behaviour.

    Raises:
        JournalError: An event is not what was written.
    """
    query = (
        select(events.c.run_id, events.c.path, events.c.body, events.c.at)
        .select_from(events.join(runs, runs.c.id == events.c.run_id))
        .where(events.c.kind == "tool.called", runs.c.parent == "")  # what a fork took over is not its own
        .where(events.c.body.contains(f'"tool":"{name}', autoescape=True))
        .order_by(events.c.at, events.c.run_id, events.c.seq)
        .limit(MAX_CALLS)
    )
    return list(_tried(store.read(query), key_of(name, version)))


async def agree(store: Store, name: str, version: str, seen: int) -> int:
    """Agree to the next call of a tool in trial.

    Args:
        store: The database.
        name: The tool, without a version.
        version: Of its behaviour.
        seen: To how many calls a person had agreed when this one was shown.

    Returns:
        To how many a person has now agreed.

    Raises:
        QuarterdeckError: There is no call left to agree to, or somebody agreed to this one meanwhile.
    """
    key = key_of(name, version)
    if seen >= len(calls_of(store, name, version)):
        raise QuarterdeckError(
            f"There is no call of {key} that nobody has agreed to. Let a crew use it: it is recorded, not done.",
            code="nothing_to_agree",
        )
    if not await store.writer.ask(partial(_agree, key=key, before=seen)):
        raise QuarterdeckError(
            f"Somebody else agreed to this call of {key} just now. See the next one: quarterdeck tools agree {name}",
            code="agreed_already",
        )
    return seen + 1


def _tried(rows: Iterable[Any], key: str) -> Iterator[TriedCall]:
    for row in rows:
        try:
            body = orjson.loads(row.body)
            if key_of(body["tool"], body.get("version") or "1") == key and body["status"] in JUDGED:
                yield TriedCall(row.run_id, row.path, body["arguments"], body["status"], row.at)
        except (ValueError, KeyError, TypeError):
            raise JournalError(
                f"An event of run {row.run_id} cannot be read. See which row was changed: "
                f"quarterdeck audit verify {row.run_id}",
                code="corrupt",
            ) from None


def _agreed(connection: Connection, key: str) -> int:
    row = connection.execute(select(trials.c.agreed).where(trials.c.tool == key)).first()
    return 0 if row is None else int(row[0])


def _agree(connection: Connection, key: str, before: int) -> bool:
    if before == 0 and _agreed(connection, key):
        return False
    return connection.execute(_AGREE, {"tool": key, "now": time.time(), "before": before}).rowcount == 1
