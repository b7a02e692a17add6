"""Four processes on one database and one declared rate: starts in the fullest rolling window, and starts sustained.

python -m bench.rates [--seconds 10] [--long] [--database URL]

`--long` adds 600 requests a minute, which takes three minutes.
"""

from __future__ import annotations

import argparse
import asyncio
import bisect
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, cast

from bench.report import Row, report

from quarterdeck.journal.call import CallContext
from quarterdeck.journal.run import RunJournal
from quarterdeck.journal.store import Store
from quarterdeck.models.budget import prompt_tokens_at_most
from quarterdeck.models.port import Message, ModelReply, ModelRequest, Usage
from quarterdeck.models.rate_limit import RateLimit
from quarterdeck.spec.models import RateSpec

PROCESSES, RUNS, CALLERS = 4, 2, 4
ANSWER_SECONDS = 0.02
QUESTION = ModelRequest("bench/model", (Message("user", "How deep is the harbour?"),), max_tokens=100)
USED = Usage(20, 30)
"""Far less than is booked for a call, as in life."""

Start = tuple[float, int]


class Answers:
    """Notes when each call really starts."""

    def __init__(self) -> None:
        self.starts: list[Start] = []

    async def complete(self, request: ModelRequest, context: CallContext) -> ModelReply:
        self.starts.append((time.time(), USED.prompt_tokens + USED.completion_tokens))
        await asyncio.sleep(ANSWER_SECONDS)
        return ModelReply("deep", usage=USED)


async def calls(stage: RateLimit, store: Store, until: float) -> None:
    """Make one run's calls, several at a time, for as long as there is time."""

    async def one_after_the_other(context: CallContext) -> None:
        while time.time() < until:
            await stage.complete(QUESTION, context)

    async with await RunJournal.start(store, crew="bench", spec={}, inputs={}, spec_hash="", version="0") as journal:
        context = CallContext(journal, cast(Any, None), "", "", "", asyncio.get_running_loop().time() + 1e6)
        await asyncio.gather(*(one_after_the_other(context) for _ in range(CALLERS)))


async def work(url: str, rate: RateSpec, seconds: float) -> list[Start]:
    """Do the part of one process."""
    answers = Answers()
    stage = RateLimit(answers, lambda _: rate)
    with Store.open(url) as store:
        await asyncio.gather(*(calls(stage, store, time.time() + seconds) for _ in range(RUNS)))
    return answers.starts


def together(url: str, rate: RateSpec, seconds: float) -> list[Start]:
    """Return the starts of all processes, in their order."""
    command = [sys.executable, "-m", "bench.rates", "--worker", rate.model_dump_json(), "--database", url]
    command += ["--seconds", str(seconds)]
    root = Path(__file__).parents[1]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=root) for _ in range(PROCESSES)]
    said = [process.communicate()[0] for process in processes]
    assert not any(process.returncode for process in processes)
    return sorted(cast(Start, tuple(start)) for text in said for start in json.loads(text))


def fullest(starts: list[Start], window: float, weight: int) -> int:
    """Return the most starts (weight 0) or tokens (weight 1) in any closed window."""
    times = [at for at, _ in starts]
    return max(
        sum(tokens if weight else 1 for _, tokens in starts[first : bisect.bisect_right(times, at + window)])
        for first, at in enumerate(times)
    )


def case(title: str, url: str, rate: RateSpec, seconds: float) -> list[Row]:
    """Measure one rate."""
    window = 1.0 if rate.per == "second" else 60.0
    starts = together(url, rate, seconds)
    took = starts[-1][0] - starts[0][0]
    rows: list[Row] = []
    for weight, (limit, unit) in enumerate(((rate.requests, "starts"), (rate.tokens, "tokens"))):
        if limit is not None:
            spent = sum(tokens if weight else 1 for _, tokens in starts[:-1])
            sustained = spent / took * window / limit
            rows.append((f"{title}: fullest window", fullest(starts, window, weight), unit, limit))
            rows.append((f"{title}: left unused", (1 - sustained) * 100, "%", 10.0))
            rows.append((f"{title}: sustained", sustained * limit, f"{unit}/{rate.per}", None))
    return rows


def main(options: argparse.Namespace) -> None:
    """Measure and print."""
    booked = prompt_tokens_at_most(QUESTION) + QUESTION.max_tokens
    cases = [
        ("10 a second", RateSpec(requests=10, per="second"), options.seconds),
        ("400 a second", RateSpec(requests=400, per="second"), options.seconds),
        ("tokens", RateSpec(tokens=30 * booked, per="second"), options.seconds),
    ]
    if options.long:
        cases.append(("600 a minute", RateSpec(requests=600), 180.0))
    rows: list[Row] = []
    for title, rate, seconds in cases:
        with tempfile.TemporaryDirectory() as folder:
            url = options.database or f"sqlite:///{Path(folder) / 'journal.db'}"
            Store.open(url).close()
            rows += case(title, url, rate, seconds)
    report("rates", rows, processes=PROCESSES)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--long", action="store_true")
    parser.add_argument("--database", default="")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.worker:
        rate = RateSpec.model_validate_json(given.worker)
        print(json.dumps(asyncio.run(work(given.database, rate, given.seconds))))
    else:
        main(given)
