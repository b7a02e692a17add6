"""CPU that a budget adds to a model call: set aside before it, settled after it, on SQLite.

python -m bench.budget [--calls 400] [--rounds 7]

The same call is made through the budget stage with no budget, with the run's own, and with its own and two shared ones;
each is followed by an event of the run, in whose commit the settlement travels. The three take turns.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import tempfile
import time
from decimal import Decimal

from bench.report import Row, report

from quarterdeck.journal.allowance import Allowance
from quarterdeck.journal.call import CallContext
from quarterdeck.journal.events import Decision
from quarterdeck.journal.ledger import Ledger
from quarterdeck.journal.run import RunJournal
from quarterdeck.journal.store import Store
from quarterdeck.models.budget import Budget
from quarterdeck.models.port import Message, ModelReply, ModelRequest, ToolOffer, Usage
from quarterdeck.models.prices import Price
from quarterdeck.spec.crew import Limits
from quarterdeck.spec.limits import BudgetSpec

TARGET_MS = 0.3
PRICE = Price.per_million(0.15, 0.6)
WAYS = {
    "no budget": (Limits(), ()),
    "the run's own": (Limits(usd=100.0), ()),
    "its own and two shared": (
        Limits(usd=100.0),
        (BudgetSpec(usd=1000.0, per="ever"), BudgetSpec(crew="*", usd=1000.0)),
    ),
}
REPLY = ModelReply("It is packed.", usage=Usage(500, 20), cost_usd=Decimal("0.0001"))
SCHEMA = {"type": "object", "properties": {"order": {"type": "string", "description": "Its number."}}}
REQUEST = ModelRequest(
    "bench",
    (Message("system", "You are a clerk. " * 60), Message("user", "What is the state of order 1182? " * 10)),
    tools=(ToolOffer("lookup", "Look up an order.", SCHEMA),),
)


class Answers:
    """A model that answers at once."""

    async def complete(self, request: ModelRequest, context: CallContext) -> ModelReply:
        """Answer."""
        return REPLY


async def round_of(way: str, store: Store, calls: int) -> float:
    """Return ms of CPU a call."""
    limits, shared = WAYS[way]
    stage = Budget(Answers(), lambda _: PRICE)
    journal = await RunJournal.start(store, crew="bench", spec={}, inputs={}, spec_hash="", version="0")
    async with journal:
        allowance = Allowance(limits.model_copy(update={"model_calls": calls}), journal.totals,
                              Ledger(journal, limits, shared))  # fmt: skip
        context = CallContext(journal, allowance, "ask/turn-1", "ask", "clerk", float("inf"))
        started = time.process_time()
        for _ in range(calls):
            await stage.complete(REQUEST, context)
            await journal.append(Decision(what="call", why=""))
        return (time.process_time() - started) / calls * 1000


async def main(options: argparse.Namespace) -> None:
    """Measure and print."""
    seen: dict[str, list[float]] = {way: [] for way in WAYS}
    with tempfile.TemporaryDirectory() as folder, Store.open(f"sqlite:///{folder}/journal.db") as store:
        for way in WAYS:
            await round_of(way, store, 50)
        for _ in range(options.rounds):
            for way in WAYS:
                seen[way].append(await round_of(way, store, options.calls))
    none, *others = WAYS
    rows: list[Row] = [(f"an event, {none}", statistics.median(seen[none]), "ms/call", None)]
    for way in others:
        added = statistics.median(own - bare for own, bare in zip(seen[way], seen[none], strict=True))
        rows.append((f"added by {way}", added, "ms/call", TARGET_MS))
    report("budget", rows)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--calls", type=int, default=400, help="calls a round")
    parser.add_argument("--rounds", type=int, default=7)
    asyncio.run(main(parser.parse_args()))
