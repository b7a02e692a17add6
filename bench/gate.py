"""CPU that the gate adds to a tool call, journal included, above calling the function itself.

python -m bench.gate [--calls 300] [--rounds 7]

The journal is SQLite on disk; all stages stand, the calls are autonomous. The tools are async functions, so that no
change of threads hides what the gate costs. One reads, one is an idempotent write.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from bench.report import Row, report

from quarterdeck.governance.gate import Gate
from quarterdeck.governance.policy import Policy
from quarterdeck.journal.allowance import Allowance
from quarterdeck.journal.call import CallContext
from quarterdeck.journal.ledger import Ledger
from quarterdeck.journal.run import RunJournal
from quarterdeck.journal.store import Store
from quarterdeck.models.port import ToolRequest
from quarterdeck.spec.crew import Limits
from quarterdeck.spec.governance import GovernanceConfig
from quarterdeck.tools.execution import Executor
from quarterdeck.tools.manifest import tool
from quarterdeck.tools.signature import tool_from_function

TARGET = 0.5


@tool(effect="read", owner="bench", sinks={})
async def look(number: int, word: str) -> dict[str, Any]:
    """Look something up.

    Args:
        number: Which.
        word: What for.
    """
    return {"number": number, "word": word, "found": ["the order is packed", "it arrives on Friday"]}


@tool(effect="write", owner="bench", sinks={}, idempotent=True)
async def put(number: int, word: str) -> dict[str, Any]:
    """Put something down.

    Args:
        number: Which.
        word: What.
    """
    return {"number": number, "word": word}


FUNCTIONS = {"desk.look": look, "desk.put": put}


async def through_the_gate(store: Store, name: str, calls: int, round_: int, folder: Path) -> float:
    """Return ms of CPU that a call took."""
    tools = {name: tool_from_function(function, name) for name, function in FUNCTIONS.items()}
    journal = await RunJournal.start(store, crew="bench", spec={}, inputs={}, spec_hash="", version="0")
    policy = Policy(GovernanceConfig(autonomy="high"))
    async with journal:
        gate = Gate(tools, lambda _: frozenset(tools), Executor(), run_id=journal.id, inputs={}, folder=folder,
                    policy=policy)  # fmt: skip
        limits = Limits(tool_calls=10_000)
        allowance = Allowance(limits, journal.totals.copy(), Ledger(journal, limits))
        ends = asyncio.get_running_loop().time() + 3600
        used = time.process_time()
        for number in range(calls):
            context = CallContext(journal, allowance, f"task/turn-{number}/tool-1", "task", "clerk", ends)
            result = await gate.call(ToolRequest("", name, {"number": number, "word": f"w{round_}"}), context)
            assert result.status == "ok", result
        return (time.process_time() - used) / calls * 1000


async def directly(name: str, calls: int) -> float:
    """Return ms of CPU of the function alone."""
    used = time.process_time()
    for number in range(calls):
        await FUNCTIONS[name](number=number, word="w")
    return (time.process_time() - used) / calls * 1000


async def main(options: argparse.Namespace) -> None:
    """Measure in turn, round by round, so that a noisy moment falls on all of them."""
    added: dict[str, list[float]] = {name: [] for name in FUNCTIONS}
    with tempfile.TemporaryDirectory() as place, Store.open(f"sqlite:///{Path(place) / 'journal.db'}") as store:
        for name in FUNCTIONS:
            await through_the_gate(store, name, 20, -1, Path(place))
        for round_ in range(options.rounds):
            for name in FUNCTIONS:
                gated = await through_the_gate(store, name, options.calls, round_, Path(place))
                added[name].append(gated - await directly(name, options.calls))
    rows: list[Row] = [
        ("autonomous read: added by the gate", statistics.median(added["desk.look"]), "ms/call", TARGET),
        ("idempotent write: added by the gate", statistics.median(added["desk.put"]), "ms/call", TARGET),
    ]
    report("gate", rows, calls=options.calls)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--calls", type=int, default=300, help="a round")
    parser.add_argument("--rounds", type=int, default=7)
    asyncio.run(main(parser.parse_args()))
