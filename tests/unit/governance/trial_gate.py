"""A gate on a real journal, with tools that are plain functions, for the tests of its stages."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from quarterdeck.governance.gate import Gate
from quarterdeck.governance.policy import Policy
from quarterdeck.governance.result import ToolResult
from quarterdeck.journal.allowance import Allowance
from quarterdeck.journal.call import CallContext
from quarterdeck.journal.ledger import Ledger
from quarterdeck.journal.run import RunJournal
from quarterdeck.journal.store import Store
from quarterdeck.models.port import ToolRequest
from quarterdeck.spec.crew import Limits
from quarterdeck.spec.governance import GovernanceConfig
from quarterdeck.tools.execution import Executor
from quarterdeck.tools.signature import tool_from_function
from quarterdeck.tools.tool import Tool

OPEN = GovernanceConfig(autonomy="high")
LIMITS = Limits(tool_calls=1000)


class Trial:
    """One process's work on a run: makes calls by name, and looks at what was recorded."""

    def __init__(self, journal: RunJournal, gate: Gate, store: Store, seconds: float) -> None:
        self.journal, self.gate, self.store = journal, gate, store
        self._context = CallContext(
            journal, Allowance(LIMITS, journal.totals, Ledger(journal, LIMITS)), "task", "task", "clerk",
            asyncio.get_running_loop().time() + seconds,
        )  # fmt: skip
        self.turn = 0

    async def call(self, tool: str, at: str = "", **arguments: Any) -> ToolResult:
        self.turn += 1
        step = at or f"turn-{self.turn}/tool-1"
        return await self.gate.call(ToolRequest("1", tool, arguments), self._context.at(step))

    def events(self, kind: str) -> list[Any]:
        self.journal.flush()
        return [row.event for row in self.store.events(self.journal.id) if row.kind == kind]


@asynccontextmanager
async def trial(
    folder: Path,
    functions: Mapping[str, Callable[..., Any] | Tool],
    *,
    resume: str = "",
    seconds: float = 60,
    granted: frozenset[str] | None = None,
    run_id: str | None = None,
    **more: Any,
) -> AsyncIterator[Trial]:
    """Open a run whose agent is granted all tools, or some, at an open policy."""
    tools = {name: one if isinstance(one, Tool) else tool_from_function(one, name) for name, one in functions.items()}
    executor = Executor()
    with Store.open(f"sqlite:///{folder}/journal.db") as store:
        if resume:
            journal = await RunJournal.resume(store, resume)
        else:
            journal = await RunJournal.start(
                store, crew="c", spec={}, inputs={}, spec_hash="", version="0", run_id=run_id
            )
        async with journal:
            gate = Gate(
                tools, lambda _: frozenset(tools) if granted is None else granted, executor,
                **{"run_id": journal.id, "inputs": {}, "folder": folder / "run", "policy": Policy(OPEN), **more},
            )  # fmt: skip
            yield Trial(journal, gate, store, seconds)
    executor.close()
