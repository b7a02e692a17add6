"""Where in a run a call is made: what the two waists need to know about it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import count
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from quarterdeck.journal.allowance import Allowance
    from quarterdeck.journal.run import RunJournal


@dataclass(frozen=True, slots=True)
class CallContext:
    """The place of one model or tool call.

    Attributes:
        journal: The run's journal; also knows the calls that are recorded.
        allowance: What the run may still use.
        path: The logical path of this call, such as `gather/turn-3` or `gather/turn-3/tool-1`.
        task: The task's name.
        agent: The agent's name, to whom tools are granted.
        deadline: The event loop's time at which the run must have ended.
        group: The group that the model was taken from, for its fallbacks and its cache; empty for a model by name.
        last_resort: No other model is left to ask, so it is worth waiting for this one.
        attempts: Numbers the physical attempts of this call.
    """

    journal: RunJournal
    allowance: Allowance
    path: str
    task: str
    agent: str
    deadline: float
    group: str = ""
    last_resort: bool = True
    attempts: Iterator[int] = field(default_factory=partial(count, 1), repr=False, compare=False)

    def at(self, step: str) -> CallContext:
        """Return the context of a step below this one."""
        return replace(self, path=f"{self.path}/{step}", attempts=count(1))
