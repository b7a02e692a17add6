"""What a run has used so far, over all processes that worked on it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from decimal import Decimal, InvalidOperation
from typing import Any

import orjson

from quarterdeck.journal.events import Event, ModelCalled, RunResumed, ToolCalled


@dataclass(slots=True)
class Totals:
    """The sums of a run. Calls that a fork took over from its parent are not counted.

    Attributes:
        model_calls: Calls that a model answered; what a cache gave again is none.
        tool_calls: Answered and failed calls; a denied one never ran.
        known_usd: The sum of the known prices.
        unpriced_calls: Model calls whose price is not known.
        degraded_calls: Model calls that a fallback answered in the place of the model asked for.
        seconds: Time in which a process worked on the run, up to the last event.
    """

    model_calls: int = 0
    tool_calls: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    known_usd: Decimal = field(default_factory=Decimal)
    unpriced_calls: int = 0
    degraded_calls: int = 0
    seconds: float = 0.0
    _last_at: float | None = field(default=None, repr=False, compare=False)

    @property
    def tokens(self) -> int:
        """Prompt and completion tokens together."""
        return self.prompt_tokens + self.completion_tokens

    @property
    def cost_usd(self) -> Decimal | None:
        """What the run cost, or None when the price of any of its calls is not known."""
        return None if self.unpriced_calls else self.known_usd

    def add(self, event: Event) -> None:
        """Count a recorded event; events come in the order of their time."""
        if self._last_at is not None and not isinstance(event, RunResumed):
            self.seconds += max(0.0, event.at - self._last_at)
        self._last_at = event.at
        if isinstance(event, ModelCalled):
            self.model_calls += event.source == "model"
            self.prompt_tokens += event.prompt_tokens
            self.completion_tokens += event.completion_tokens
            self.degraded_calls += event.degraded
            cost = usd_of(event.cost_usd)
            if cost is None:
                self.unpriced_calls += 1
            else:
                self.known_usd += cost
        elif isinstance(event, ToolCalled) and event.status != "denied":
            self.tool_calls += 1

    def copy(self) -> Totals:
        """Return the sums as they are now."""
        return replace(self)

    def to_json(self) -> str:
        """Return the sums as JSON text, cost as a decimal in text."""
        return orjson.dumps(
            {
                "model_calls": self.model_calls,
                "tool_calls": self.tool_calls,
                "prompt_tokens": self.prompt_tokens,
                "completion_tokens": self.completion_tokens,
                "known_usd": str(self.known_usd),
                "unpriced_calls": self.unpriced_calls,
                "degraded_calls": self.degraded_calls,
                "seconds": round(self.seconds, 3),
            }
        ).decode()

    @classmethod
    def from_json(cls, text: str) -> Totals:
        """Read what `to_json` wrote."""
        values: dict[str, Any] = orjson.loads(text)
        return cls(**{**values, "known_usd": Decimal(values.get("known_usd", "0"))})


def usd_of(text: str | None) -> Decimal | None:
    """Return a recorded price; None when it is not known or no number."""
    if text is None:
        return None
    try:
        value = Decimal(text)
    except InvalidOperation:
        return None
    return value if value.is_finite() else None
