"""Runs against models that fail: how many succeed in time, and what they spend of their budgets.

python -m bench.faults [--runs 1000] [--rates 0.05 0.2 0.5] [--at-once 50]

Two scripted models, of which the second stands in for the first, each fail the given share of their calls in the ways
that may pass: rate limits, server errors, time-outs and dropped connections. A run has two tasks of two turns each and
a budget. What is spent is counted at the provider, so the bookkeeping under test does not judge itself. The last lines
are runs whose budget is too small on purpose.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from pathlib import Path

from bench.report import Row, report

from quarterdeck.engine import run as engine_run
from quarterdeck.engine.crew import Crew
from quarterdeck.engine.result import Result
from quarterdeck.engine.scope import Parts
from quarterdeck.models.catalog import ResolvedModel
from quarterdeck.models.port import ModelReply, ModelRequest, OnText
from quarterdeck.models.prices import Price
from quarterdeck.models.stack import build_port
from quarterdeck.spec.crew import CrewSpec
from quarterdeck.spec.workspace import Workspace
from quarterdeck.testing import ScriptedModel, Step, call, delay, error, text
from quarterdeck.testing.catalog import ScriptedCatalog
from quarterdeck.tools.manifest import tool
from quarterdeck.tools.signature import tool_from_function

SECONDS = 10.0
BUDGET, TIGHT_BUDGET = Decimal("0.20"), Decimal("0.05")
PRICE = Price.per_million(1, 300)
ANSWER = "Nine fathoms, sounded twice at low water. " * 6  # nearly as long as it may be, so that reservations are close
SLOWNESS = 0.005
TARGET_RATE, TARGET_FAILED_PERCENT = 0.2, 1.0
CLERK = {
    "role": "Clerk", "goal": "Be right.", "backstory": "You are careful.", "tools": ("depth",), "model": "first",
    "max_tokens": 64,
}  # fmt: skip
FAULTS: tuple[Step, ...] = (
    error("rate_limited"),
    error("rate_limited", retry_after=0.02),
    error("server"),
    error("timeout"),
    error("unreachable"),
)


@tool(effect="read", owner="bench", sinks={})
def depth(port: str) -> str:
    """Sound the depth of a port.

    Args:
        port: Its name.
    """
    return f"{port}: nine fathoms"


class Faulty:
    """Answers as it should but for a share of its calls, and adds up what each run has really cost.

    Args:
        rate: The share of calls that fail.
        seed: Of the choice.
    """

    def __init__(self, rate: float, seed: int) -> None:
        self._rate = rate
        self._random = random.Random(seed)
        self.calls = 0
        self.faults = 0
        self.spent: defaultdict[str, Decimal] = defaultdict(Decimal)

    async def answer(self, request: ModelRequest, on_text: OnText | None = None) -> ModelReply:
        """Answer or fail; a run is known by the number in its task."""
        self.calls += 1
        run = request.messages[1].content.split("voyage ", 1)[1].split(".", 1)[0]
        has_sounded = any(message.role == "tool" for message in request.messages)
        said = text(ANSWER) if has_sounded else call("depth", port="Kiel")
        if self._random.random() < self._rate:
            self.faults += 1
            said = self._random.choice(FAULTS)
        reply = await ScriptedModel([delay(SLOWNESS, said)], price=PRICE).answer(request, on_text)
        self.spent[run] += reply.cost_usd or Decimal(0)
        return reply

    async def close(self) -> None:
        """Hold nothing."""


class Pair(ScriptedCatalog):
    """Two models of the same kind: `second` stands in for `first`."""

    def chain(self, name: str, group: str) -> tuple[ResolvedModel, ...]:
        """Return both, the one asked for first."""
        return tuple(self.resolve(model) for model in ("first", "second"))


@dataclass(frozen=True, slots=True)
class Outcome:
    """How the runs of one rate ended.

    Attributes:
        failed: Runs that did not succeed within their deadline.
        over: Runs that spent more than their budget, by the provider's count.
        most: The largest share of its budget that a run has spent.
        slowest: Seconds of the slowest run.
        degraded: Runs in which the second model answered.
    """

    failed: int
    over: int
    most: float
    slowest: float
    degraded: int
    calls: int
    faults: int
    codes: tuple[str, ...]


def crew_of(model: Faulty, folder: Path, budget: Decimal) -> Crew:
    """Return the crew that makes the voyages."""
    spec = CrewSpec.model_validate(
        {
            "crew": "soundings",
            "inputs": {"voyage": {"type": "string"}},
            "agents": {"clerk": CLERK},
            "tasks": {
                name: {
                    "agent": "clerk",
                    "description": f"On voyage {{voyage}}. Sound the {name}.",
                    "expected_output": "Fathoms.",
                }
                for name in ("roads", "quay")
            },
            "limits": {"usd": float(budget), "seconds": SECONDS, "on_budget": "answer"},
        }
    )
    return Crew(
        spec,
        workspace=Workspace(folder),
        database_url=f"sqlite:///{folder / 'journal.db'}",
        catalog=Pair(model, price=PRICE),
        parts=Parts(tools={"depth": tool_from_function(depth, "depth")}, outputs={}, guardrails={}, functions={}),
    )


async def voyages(rate: float, runs: int, at_once: int, budget: Decimal) -> Outcome:
    """Make so many runs and judge them from outside."""
    model = Faulty(rate, seed=runs)
    some = asyncio.Semaphore(at_once)
    with tempfile.TemporaryDirectory() as folder:
        crew = crew_of(model, Path(folder), budget)

        async def one(number: int) -> tuple[Result, float]:
            async with some:
                started = time.monotonic()
                result = await crew.akickoff({"voyage": str(number)})
                return result, time.monotonic() - started

        ended = await asyncio.gather(*map(one, range(runs)))
        await crew.aclose()
    failed = [result for result, seconds in ended if result.status != "succeeded" or seconds > SECONDS]
    return Outcome(
        failed=len(failed),
        over=sum(spent > budget for spent in model.spent.values()),
        most=float(max(model.spent.values(), default=Decimal(0)) / budget),
        slowest=max(seconds for _, seconds in ended),
        degraded=sum(result.degraded for result, _ in ended),
        calls=model.calls,
        faults=model.faults,
        codes=tuple(sorted({result.code for result in failed})),
    )


def rows_of(name: str, outcome: Outcome, runs: int, target: float | None) -> list[Row]:
    """Return the figures of one rate."""
    return [
        (f"{name}: runs that did not succeed in time", 100 * outcome.failed / runs, "%", target),
        (f"{name}: runs over budget", outcome.over, "runs", 0),
        (f"{name}: largest share of a budget spent", 100 * outcome.most, "%", 100),
        (f"{name}: slowest run", outcome.slowest, "s", None),
        (f"{name}: runs with a degraded answer", 100 * outcome.degraded / runs, "%", None),
        (f"{name}: faults of all calls", 100 * outcome.faults / max(outcome.calls, 1), "%", None),
    ]


async def measure(runs: int, rates: Sequence[float], at_once: int) -> None:
    """Measure each rate, then runs that cannot afford their work, and print."""
    rows: list[Row] = []
    codes: dict[str, tuple[str, ...]] = {}
    for rate in rates:
        outcome = await voyages(rate, runs, at_once, BUDGET)
        target = TARGET_FAILED_PERCENT if rate <= TARGET_RATE else None
        rows += rows_of(f"{rate:.0%}", outcome, runs, target)
        codes[f"{rate:.0%}"] = outcome.codes
    tight = await voyages(TARGET_RATE, max(runs // 5, 1), at_once, TIGHT_BUDGET)
    rows += rows_of("20%, budget too small", tight, max(runs // 5, 1), None)[:3]
    report("faults", rows, runs=runs, at_once=at_once, codes=codes, tight_codes=tight.codes)


def main(options: argparse.Namespace) -> None:
    """Shorten the waits between attempts, so that what is measured is not patience, and measure."""
    engine_run.build_port = partial(build_port, retry_base=0.02)
    asyncio.run(measure(options.runs, options.rates, options.at_once))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--rates", type=float, nargs="+", default=[0.05, 0.2, 0.5])
    parser.add_argument("--at-once", type=int, default=50)
    main(parser.parse_args())
