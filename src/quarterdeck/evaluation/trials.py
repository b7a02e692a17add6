"""Runs every case with each side of a comparison, as normal runs that are recorded in the journal."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING

from quarterdeck.engine.concurrency import side_by_side
from quarterdeck.errors import JournalError, QuarterdeckError
from quarterdeck.journal.ledger import charged
from quarterdeck.journal.spending import ModelCall, Sum, find_run, spending

if TYPE_CHECKING:
    from quarterdeck.engine.crew import Crew
    from quarterdeck.engine.result import Result
    from quarterdeck.evaluation.cases import Case
    from quarterdeck.evaluation.checks import Checker
    from quarterdeck.evaluation.purse import Purse

CONCURRENCY = 4


@dataclass(frozen=True, slots=True)
class Side:
    """One of those that are compared: a crew with a model.

    Attributes:
        name: How reports call it: the model, or which state of the crew it is.
        model: All agents of the crew use it: a group or a model.
    """

    name: str
    crew: Crew
    model: str


@dataclass(frozen=True, slots=True)
class Trial:
    """One run of one case with one side.

    Attributes:
        model: The name of the side.
        repeat: Counted from 1.
        run_id: Empty when the run could not even start.
        why: Why it did not pass, in words.
        usd: None when a price is not known.
        seconds: Wall time of the run.
        stand_ins: Calls that were not answered by the model asked: from the cache, or by a fallback.
    """

    case: str
    model: str
    repeat: int
    run_id: str
    status: str
    code: str
    passed: bool
    why: tuple[str, ...]
    usd: Decimal | None
    seconds: float
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    stand_ins: int = 0

    @property
    def tokens(self) -> int:
        """Prompt and answers together."""
        return self.prompt_tokens + self.completion_tokens


OnTrial = Callable[[Trial], None]


async def run_trials(
    sides: Sequence[Side], cases: Sequence[Case], checker: Checker, purse: Purse, on_trial: OnTrial, *,
    repeat: int = 1, concurrency: int = CONCURRENCY,
) -> None:  # fmt: skip
    """Run every case with each side, and hand over each trial as it ends; stop when the purse is empty.

    The sides take turns, so that what changes over time, such as the load of a provider, meets all of them alike.

    Args:
        sides: Crews with models.
        cases: The cases.
        checker: Judges the results.
        purse: What all runs may cost together.
        on_trial: Called with each trial.
        repeat: How often each case is run with each side.
        concurrency: Runs at once.

    Raises:
        JournalError: The database cannot be used.
    """
    waiting = deque(
        (case, sides[(turn + place) % len(sides)], number)
        for number in range(1, repeat + 1)
        for turn, case in enumerate(cases)
        for place in range(len(sides))
    )

    async def work() -> None:
        while waiting:
            case, side, number = waiting.popleft()
            if not await purse.take():
                return
            trial = None
            try:
                trial = await _try(side, case, number, checker)
            finally:
                await purse.settle(await _charged(side.crew, trial) if trial else None)
            on_trial(trial)

    await side_by_side([work() for _ in range(min(concurrency, len(waiting)))])


async def _try(side: Side, case: Case, number: int, checker: Checker) -> Trial:
    try:
        result = await side.crew.akickoff(case.inputs, model=side.model)
    except JournalError:
        raise
    except QuarterdeckError as error:
        return Trial(case.name, side.name, number, "", "failed", error.code, False, (str(error),), Decimal(0), 0.0)
    why = await checker.failures(case, result)
    used, stand_ins = await asyncio.to_thread(_used, side.crew, result)
    return Trial(
        case=case.name,
        model=side.name,
        repeat=number,
        run_id=result.run_id,
        status=result.status,
        code=result.code,
        passed=not why,
        why=tuple(why),
        usd=used.usd,
        seconds=result.seconds,
        prompt_tokens=used.prompt_tokens,
        completion_tokens=used.completion_tokens,
        cached_tokens=used.cached_tokens,
        stand_ins=stand_ins,
    )


async def _charged(crew: Crew, trial: Trial) -> Decimal | None:
    """Return what a trial took of the total: failed calls that may have been billed count too."""
    if trial.usd is None or not trial.run_id:
        return trial.usd
    return max(trial.usd, await charged(crew.store, trial.run_id))


def _used(crew: Crew, result: Result) -> tuple[Sum, int]:
    used, stand_ins = Sum(), 0
    for row in spending(crew.store, [find_run(crew.store, result.run_id)]):
        used.add(row)
        stand_ins += isinstance(row, ModelCall) and (row.source != "model" or row.degraded)
    return used, stand_ins
