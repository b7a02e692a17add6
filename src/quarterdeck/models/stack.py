"""The port, put together: the order in which the stages stand around every model call."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from quarterdeck.models.stages import Answer, Budget, Deadline, Replay, Retry, Stage

if TYPE_CHECKING:
    from quarterdeck.models.port import Provider
    from quarterdeck.models.prices import Price


def build_port(
    provider_of: Callable[[str], Provider], price_of: Callable[[str], Price | None], *, retry_base: float = 0.5
) -> Stage:
    """Return the only way to a model: replay and journal, budget, retry, deadline, provider.

    Args:
        provider_of: Finds the provider of a resolved model name.
        price_of: Finds its price per token; None when it is not known.
        retry_base: Seconds that the first wait before another attempt takes at most.
    """
    return Replay(Budget(Retry(Deadline(Answer(provider_of)), base=retry_base), price_of))
