"""One process of several that use one budget: makes calls until the budget refuses, and says what it was charged.

python hammer.py URL SEED HOW: `HOW` is `settle`, or `die`: reserve once and be killed before it is settled.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys

from quarterdeck.errors import LimitReached
from quarterdeck.journal.events import Decision
from quarterdeck.journal.ledger import Amount, Ledger
from quarterdeck.journal.run import RunJournal
from quarterdeck.journal.store import Store
from quarterdeck.spec.crew import Limits
from quarterdeck.spec.limits import BudgetSpec

SHARED = (
    BudgetSpec(usd=0.000_02, per="ever"),  # 20,000 nano-dollars
    BudgetSpec(crew="*", tokens=15_000, per="ever"),
)
RUNS = 6


async def work(store: Store, random_: random.Random, number: int) -> Amount:
    """Make calls for one run until a budget refuses; return what was really used."""
    journal = await RunJournal.start(store, crew="c", spec={}, inputs={}, spec_hash="", version="0")
    ledger = Ledger(journal, Limits(usd=1.0), random_.sample(SHARED, 2))
    used = Amount(0, 0)
    async with journal:
        while True:
            held = Amount(random_.randint(1, 200), random_.randint(1, 200))
            try:
                hold = await ledger.reserve(held)
            except LimitReached:
                return used
            await asyncio.sleep(0)
            took = Amount(random_.randint(0, held.nano), random_.randint(0, held.tokens))
            ledger.settle(hold, took)
            used = Amount(used.nano + took.nano, used.tokens + took.tokens)
            if random_.random() < 0.7:
                await journal.append(Decision(what="call", why=str(number)))


async def main(url: str, seed: int, how: str) -> None:
    """Use the budgets, or die while something is set aside."""
    with Store.open(url) as store:
        if how == "die":
            journal = await RunJournal.start(
                store, crew="c", spec={}, inputs={}, spec_hash="", version="0", run_id="dies"
            )
            await Ledger(journal, Limits(usd=1.0, tokens=500), SHARED).reserve(Amount(70, 30))
            os.kill(os.getpid(), signal.SIGKILL)
        made = await asyncio.gather(*(work(store, random.Random(seed * 100 + n), n) for n in range(RUNS)))
    print(sum(used.nano for used in made), sum(used.tokens for used in made), flush=True)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), sys.argv[3]))
