"""Whether each model is well: what the circuit breaker knows, as plain data."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

State = Literal["closed", "open", "half_open"]
Verdict = Literal["answered", "failed", "unknown"]
"""What a call says of its model; unknown when it was cancelled, never sent, or failed for another reason."""

MAX_OUTCOMES = 1000
"""Calls within the window that are remembered a model."""


@dataclass(frozen=True, slots=True)
class CircuitRules:
    """When a circuit opens, and for how long.

    A row is one in time: of calls that were made side by side and failed together only one counts. Else the failures
    of a busy moment would open a circuit whose successes happened to come back a little earlier.

    Attributes:
        consecutive: Failures in a row, each of a call that began after the one before had failed, that open it.
        rate: Share of failures within the window that opens it; below it, retries still get most of the answers.
        window: Seconds.
        least: Calls within the window below which the share says nothing; calls on their way count as good.
        cool_off: Seconds for which it stays open first; doubled each time that the probe fails.
        longest: Seconds for which it stays open at most.
        patience: Seconds after which a probe that has not come back counts as lost.
    """

    consecutive: int = 5
    rate: float = 0.7
    window: float = 60.0
    least: int = 40
    cool_off: float = 10.0
    longest: float = 300.0
    patience: float = 600.0


@dataclass(frozen=True, slots=True)
class CircuitState:
    """How a model stands, for people and programs.

    Attributes:
        state: `closed` (it is asked), `open` (it is not), `half_open` (one probe is on its way or due).
        failures: Failures in a row.
        seconds: Until the next probe; 0 unless it is open.
        openings: How often it has opened since it last answered.
        last_error: What the last failure said.
    """

    state: State
    failures: int = 0
    seconds: float = 0.0
    openings: int = 0
    last_error: str = ""


@dataclass(slots=True)
class _Circuit:
    state: State = "closed"
    failures: int = 0
    failed_at: float = 0.0
    on_their_way: int = 0
    openings: int = 0
    opens_until: float = 0.0
    probe_until: float = 0.0  # 0 while no probe is on its way
    last_error: str = ""
    outcomes: deque[tuple[float, bool]] = field(default_factory=deque)
    failed_outcomes: int = 0


@dataclass(frozen=True, slots=True)
class Pass:
    """A call that may be made.

    Attributes:
        began: When.
        probe: It is the one that finds out whether the model is well again.
    """

    began: float
    probe: bool = False


@dataclass(frozen=True, slots=True)
class Blocked:
    """A call that may not be made.

    Attributes:
        seconds: After which to ask again.
        last_error: Why the model counts as failing.
    """

    seconds: float
    last_error: str


class Circuits:
    """The circuits of all models, for any number of threads.

    Args:
        rules: When they open, and for how long.
        clock: Seconds that only go forward.
    """

    def __init__(self, rules: CircuitRules = CircuitRules(), clock: Callable[[], float] = time.monotonic) -> None:
        self._rules = rules
        self._clock = clock
        self._lock = threading.Lock()
        self._circuits: dict[str, _Circuit] = {}

    def states(self) -> dict[str, CircuitState]:
        """Return how each model stands that was asked by now."""
        now = self._clock()
        with self._lock:
            return {
                model: CircuitState(
                    circuit.state,
                    circuit.failures,
                    max(0.0, circuit.opens_until - now) if circuit.state == "open" else 0.0,
                    circuit.openings,
                    circuit.last_error,
                )
                for model, circuit in self._circuits.items()
            }

    def enter(self, model: str) -> Pass | Blocked:
        """Ask to call a model; whoever gets a `Pass` calls `leave` in the end."""
        now = self._clock()
        with self._lock:
            circuit = self._circuits.setdefault(model, _Circuit())
            if circuit.state == "closed":
                circuit.on_their_way += 1
                return Pass(now)
            if circuit.state == "open" and now < circuit.opens_until:
                return Blocked(circuit.opens_until - now, circuit.last_error)
            if now < circuit.probe_until:
                return Blocked(min(1.0, self._rules.cool_off), circuit.last_error)
            circuit.state = "half_open"
            circuit.probe_until = now + self._rules.patience
            return Pass(now, probe=True)

    def leave(self, model: str, granted: Pass, verdict: Verdict, error: str = "") -> State | None:
        """Tell what came of a call.

        Args:
            model: Which one was asked.
            granted: What `enter` returned.
            verdict: What the call says of the model.
            error: What it said when it failed.

        Returns:
            The new state if it has changed, else None.
        """
        now = self._clock()
        with self._lock:
            circuit = self._circuits[model]
            if granted.probe:
                circuit.probe_until = 0.0
            else:
                circuit.on_their_way = max(0, circuit.on_their_way - 1)
            if verdict == "unknown" or (circuit.state != "closed" and not granted.probe):
                return None  # calls that were on their way when it opened prove nothing
            if verdict == "answered":
                return self._answered(model, circuit, now)
            if granted.began >= circuit.failed_at or not circuit.failures:
                circuit.failures += 1
                circuit.failed_at = now
            circuit.last_error = error[:300]
            self._remember(circuit, now, failed=True)
            if not granted.probe and not self._too_many(circuit):
                return None
            cool_off = min(self._rules.cool_off * 2**circuit.openings, self._rules.longest)
            circuit.state = "open"
            circuit.openings += 1
            circuit.opens_until = now + cool_off
            return "open"

    def _answered(self, model: str, circuit: _Circuit, now: float) -> State | None:
        if circuit.state != "closed":
            self._circuits[model] = _Circuit()
            return "closed"
        circuit.failures = 0
        self._remember(circuit, now, failed=False)
        return None

    def _remember(self, circuit: _Circuit, now: float, *, failed: bool) -> None:
        outcomes = circuit.outcomes
        outcomes.append((now, failed))
        circuit.failed_outcomes += failed
        while len(outcomes) > MAX_OUTCOMES or outcomes[0][0] < now - self._rules.window:
            circuit.failed_outcomes -= outcomes.popleft()[1]

    def _too_many(self, circuit: _Circuit) -> bool:
        rules = self._rules
        calls = len(circuit.outcomes) + circuit.on_their_way
        return circuit.failures >= rules.consecutive or (
            len(circuit.outcomes) >= rules.least and circuit.failed_outcomes >= rules.rate * calls
        )
