"""Decisions about models with the calls below each, and what routing saved against always asking the most expensive."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING

from quarterdeck.journal.spending import Choice, ModelCall, Spent, Sum
from quarterdeck.models.port import Usage
from quarterdeck.models.prices import cost

if TYPE_CHECKING:
    from quarterdeck.models.prices import Price

PriceOf = Callable[[str], "Price | None"]
ROUTE = "route"
_FALLBACK = "/fallback"
_TURN = re.compile(r"/turn-\d+$")


@dataclass(slots=True)
class Decided:
    """A decision and what the calls below it used.

    Attributes:
        choice: The decision; None for the calls that no decision stands above.
    """

    choice: Choice | None
    sum: Sum = field(default_factory=Sum)

    @property
    def name(self) -> str:
        """The decision in two words, such as `route openai/gpt-4o`, whatever the run; empty for none."""
        if self.choice is None:
            return ""
        return f"{'fallback' if self.choice.path.endswith(_FALLBACK) else ROUTE} {self.choice.chosen}"


@dataclass(slots=True)
class Saving:
    """What routing saved: the same tokens at the price of the most expensive alternative, less what was paid.

    Attributes:
        calls: Calls that a model answered.
        routed: Those of them whose model was chosen by routing.
        compared: Those of them for which all prices are known.
        paid_usd: What the compared calls cost.
        top_usd: What they would have cost.
    """

    calls: int = 0
    routed: int = 0
    compared: int = 0
    paid_usd: Decimal = field(default_factory=Decimal)
    top_usd: Decimal = field(default_factory=Decimal)

    @property
    def known_usd(self) -> Decimal:
        """What was saved on the calls that could be compared."""
        return self.top_usd - self.paid_usd

    @property
    def usd(self) -> Decimal | None:
        """What was saved, or None when a price is not known or nothing was routed."""
        return self.known_usd if self.routed and self.compared == self.routed else None


class Decisions:
    """Puts each call below the nearest decision about its model: a fallback of this very call, else a route.

    Args:
        price_of: The price of a model by its name; None when it is not known.
    """

    def __init__(self, price_of: PriceOf) -> None:
        self.saving = Saving()
        self._price_of = price_of
        self._all: list[Decided] = []
        self._none = Decided(None)
        self._routes: dict[tuple[str, str], Decided] = {}
        self._fallbacks: dict[tuple[str, str], Decided] = {}
        self._prices: dict[str, Price | None] = {}

    @classmethod
    def of(cls, rows: Iterable[Spent], price_of: PriceOf) -> Decisions:
        """Return the decisions among what some runs spent."""
        decisions = cls(price_of)
        for row in rows:
            decisions.add(row)
        return decisions

    def add(self, row: Spent) -> Decided | None:
        """Take the next row of a run; return the decision it stands below, None for a decision itself."""
        if isinstance(row, Choice):
            self._note(row)
            return None
        route = self._routes.get((row.run.id, _assignment(row.path)))
        found = self._fallbacks.get((row.run.id, row.path)) or route or self._none
        found.sum.add(row)
        if isinstance(row, ModelCall) and row.source == "model":
            self._compare(row, route)
        return found

    def all(self) -> list[Decided]:
        """Return the decisions in their order, last the calls that none stands above, if there are any."""
        rest = [self._none] if self._none.sum.calls or self._none.sum.failed else []
        return [*self._all, *rest]

    def _note(self, choice: Choice) -> None:
        if choice.path.endswith(_FALLBACK):
            place, index = choice.path.removesuffix(_FALLBACK), self._fallbacks
        elif choice.what == ROUTE:
            place, index = _assignment(choice.path), self._routes
        else:
            return
        decided = Decided(choice)
        self._all.append(decided)
        index[choice.run.id, place] = decided

    def _compare(self, call: ModelCall, route: Decided | None) -> None:
        self.saving.calls += 1
        if route is None or route.choice is None:
            return
        self.saving.routed += 1
        usage = Usage(call.prompt_tokens, call.completion_tokens, call.cached_tokens)
        names = dict.fromkeys((*route.choice.alternatives, route.choice.chosen))
        costs = [cost(self._price(name), usage) for name in names if name]
        known = [usd for usd in costs if usd is not None]
        if call.usd is None or not costs or len(known) < len(costs):
            return
        self.saving.compared += 1
        self.saving.paid_usd += call.usd
        self.saving.top_usd += max(known)

    def _price(self, name: str) -> Price | None:
        if name not in self._prices:
            self._prices[name] = self._price_of(name)
        return self._prices[name]


def _assignment(path: str) -> str:
    """Return the assignment that a call or a decision belongs to: `gather` for `gather/turn-3` and below it.

    A worker's call, such as `gather/turn-3/tool-1/clerk/turn-1`, belongs to the worker's own assignment.
    """
    return _TURN.sub("", path.rpartition("/")[0])
