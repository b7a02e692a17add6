"""What is done about each kind of failed model call, and why: one table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from quarterdeck.errors import ModelError, ModelErrorKind

Strategy = Literal["retry_now", "retry_later", "retry_changed", "fall_back", "abandon"]
"""What is done first. Whatever was made again and still fails falls back to the next model of the chain:

- `retry_now`: the same call again at once, once; if that fails too, later.
- `retry_later`: the same call again after a wait.
- `retry_changed`: the call again in another form, once.
- `fall_back`: the next model; the same one would fail again.
- `abandon`: the error is raised; no other model is asked.
"""


@dataclass(frozen=True, slots=True)
class Treatment:
    """What is done about one kind of failure.

    Attributes:
        strategy: What is done first.
        recoverable: Whether it may pass without a person doing anything.
        unhealthy: Whether it speaks against the health of the model, for the circuit breaker.
        why: The reason for the strategy.
    """

    strategy: Strategy
    recoverable: bool
    unhealthy: bool
    why: str


TREATMENTS: Mapping[ModelErrorKind, Treatment] = MappingProxyType({
    "unreachable": Treatment("retry_now", True, True, "a dropped connection is most often good again at once"),
    "rate_limited": Treatment("retry_later", True, True, "the limit counts anew after a while"),
    "server": Treatment("retry_later", True, True, "an overloaded server needs a moment"),
    "timeout": Treatment("retry_later", True, True, "a slow or silent answer may come in time on another machine"),
    "malformed": Treatment("retry_changed", True, False, "the same request would bring the same unreadable answer"),
    "too_long": Treatment("fall_back", True, False, "only a model that reads more can answer"),
    "circuit_open": Treatment("fall_back", True, False, "the model is known to fail right now"),
    "no_key": Treatment("fall_back", False, False, "a person has to set the key; other models have their own"),
    "no_quota": Treatment("fall_back", False, False, "a person has to pay; other providers have their own account"),
    "no_model": Treatment("fall_back", False, False, "the name will not begin to exist"),
    "no_weights": Treatment("fall_back", False, False, "a person has to fetch the weights"),
    "refused": Treatment("abandon", False, False, "asking around until somebody answers would get round a refusal"),
    "unknown_price": Treatment("abandon", False, False, "a budget cannot be kept by guessing: declare a price"),
    "unpinned": Treatment("abandon", False, False, "the declaration breaks a rule of the profile"),
})  # fmt: skip


def treatment_of(error: ModelError) -> Treatment:
    """Return what is done about a failed call."""
    return TREATMENTS[error.kind]


def speaks_of_health(error: ModelError) -> bool:
    """Return whether a failure counts against the health of its model.

    A rate limit that says when to come back does not: the model is well, and has told how to go on.
    """
    return treatment_of(error).unhealthy and not (error.kind == "rate_limited" and error.retry_after is not None)
