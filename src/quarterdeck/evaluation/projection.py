"""What many runs of a crew would cost, from what its runs cost so far."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING

from quarterdeck.evaluation.statistics import Interval, mean_interval

if TYPE_CHECKING:
    from quarterdeck.journal.spending import RunRow, Sum

_ENDED = ("succeeded", "partial", "failed")


@dataclass(frozen=True, slots=True)
class Projection:
    """The inputs and the result of `volume x mean cost of a run`.

    Attributes:
        runs: Ended runs that were counted; forks are not, for they pay for a part only.
        unpriced: Those of them with a call whose price is not known; then nothing is projected.
        mean_usd: The exact mean cost of a run, or None when it is not known.
        interval: The mean with its confidence interval, in USD a run.
    """

    crew: str
    volume: int
    runs: int
    unpriced: int
    mean_usd: Decimal | None
    interval: Interval | None

    @property
    def usd(self) -> Decimal | None:
        """What `volume` runs would cost, or None when it is not known."""
        return None if self.mean_usd is None else self.mean_usd * self.volume


def project(crew: str, runs: Iterable[tuple[RunRow, Sum]], volume: int) -> Projection:
    """Return what so many runs of a crew would cost.

    Args:
        crew: The crew.
        runs: Runs with what each used; those of other crews, forks and runs that have not ended are left out.
        volume: The number of runs.
    """
    sums = [used for run, used in runs if run.crew == crew and run.status in _ENDED and not run.parent]
    known = [used.usd for used in sums if used.usd is not None]
    unpriced = len(sums) - len(known)
    if unpriced or not known:
        return Projection(crew, volume, len(sums), unpriced, None, None)
    interval = mean_interval([float(usd) for usd in known])
    return Projection(crew, volume, len(sums), 0, sum(known, Decimal(0)) / len(known), interval)
