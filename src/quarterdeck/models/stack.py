"""The port, put together: the order in which the stages stand around every model call."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from quarterdeck.models.attempt import Attempt
from quarterdeck.models.breaker import Breaker
from quarterdeck.models.budget import Budget
from quarterdeck.models.cache import Cache
from quarterdeck.models.fallback import Fallback
from quarterdeck.models.rate_limit import RateLimit
from quarterdeck.models.redact import Mask, Redact
from quarterdeck.models.retry import Retry
from quarterdeck.models.stages import Answer, Deadline, Replay, Stage

if TYPE_CHECKING:
    from collections.abc import Callable

    from quarterdeck.models.catalog import ResolvedModel
    from quarterdeck.models.circuits import Circuits
    from quarterdeck.models.port import Provider
    from quarterdeck.models.prices import Price
    from quarterdeck.models.redact import Redactor
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


def build_port(
    models: Models,
    *,
    retry_base: float = 0.5,
    fresh: bool = False,
    circuits: Circuits | None = None,
    mask: Callable[[str], str] | None = None,
    redactor: Redactor | None = None,
) -> Stage:
    """Return the only way to a model, its stages from outside to inside.

    Price and rate belong to the model that is really called, so their stages stand inside the fallback.

    Args:
        models: Answers what the stages ask about a model.
        retry_base: Seconds that the first wait before another attempt takes at most.
        fresh: Ask anew: no answer is shared or kept.
        circuits: What is known of the health of each model; known to this port alone when None.
        mask: Takes secrets out of a text; None for nothing.
        redactor: Finds personal data in what leaves this machine; None for nothing.
    """
    stages: tuple[Callable[[Stage], Stage], ...] = (
        lambda inner: Mask(inner, mask),
        lambda inner: Redact(inner, redactor),
        lambda inner: Replay(inner),
        lambda inner: inner if fresh else Cache(inner, models.cache_of),
        lambda inner: Fallback(inner, models.chain),
        lambda inner: Retry(inner, base=retry_base),
        lambda inner: Breaker(inner, circuits),
        lambda inner: Budget(inner, models.price_of),
        lambda inner: RateLimit(inner, models.rate_of),
        lambda inner: Attempt(inner),
        lambda inner: Deadline(inner),
    )
    port: Stage = Answer(models.provider)
    for around in reversed(stages):
        port = around(port)
    return port
