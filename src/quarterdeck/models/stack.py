"""The port, put together: the order in which the stages stand around every model call."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from quarterdeck.models.budget import Budget
from quarterdeck.models.retry import Retry
from quarterdeck.models.stages import Answer, Deadline, Replay, Stage

if TYPE_CHECKING:
    from collections.abc import Sequence

    from quarterdeck.models.catalog import ResolvedModel
    from quarterdeck.models.port import Provider
    from quarterdeck.models.prices import Price
    from quarterdeck.spec.limits import BudgetSpec
    from quarterdeck.spec.models import CacheSpec, RateSpec


class Models(Protocol):
    """What the stages ask about a model by its resolved name; `Catalog` answers."""

    def provider(self, model: str) -> Provider:
        """Return who answers for it."""
        ...

    def price_of(self, name: str) -> Price | None:
        """Return its price per token; None when it is not known."""
        ...

    def rate_of(self, name: str) -> RateSpec | None:
        """Return how fast it may be called; None for as fast as one likes."""
        ...

    def chain(self, name: str, group: str) -> tuple[ResolvedModel, ...]:
        """Return it, and after it the models that may answer in its place, in order."""
        ...

    def cache_of(self, group: str) -> CacheSpec | None:
        """Return how long the answers of a group are kept; None for not at all."""
        ...


def build_port(models: Models, *, budgets: Sequence[BudgetSpec] = (), retry_base: float = 0.5) -> Stage:
    """Return the only way to a model. From outside to inside: replay and journal, retry, budget, deadline, provider.

    Args:
        models: Answers what the stages ask about a model.
        budgets: What all runs on the database may use together.
        retry_base: Seconds that the first wait before another attempt takes at most.
    """
    stage: Stage = Answer(models.provider)
    stage = Deadline(stage)
    stage = Budget(stage, models.price_of)
    stage = Retry(stage, base=retry_base)
    return Replay(stage)
