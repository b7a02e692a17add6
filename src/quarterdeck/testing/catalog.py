"""A catalog in which every model is the one under test."""

from __future__ import annotations

from typing import TYPE_CHECKING

from quarterdeck.models.catalog import Catalog, ResolvedModel
from quarterdeck.models.prices import FREE, Price
from quarterdeck.spec.models import AUTO, RoutingSpec

if TYPE_CHECKING:
    from quarterdeck.models.port import Provider
    from quarterdeck.spec.models import CacheSpec, RateSpec


class ScriptedCatalog(Catalog):
    """Answers for any model name with one provider, so that a crew runs on a scripted model.

    Args:
        model: A `ScriptedModel`, a `Cassette`, or any provider.
        context: Tokens that it is taken to read.
        price: Per token; free by default, None for unknown.
        supports_schema: Whether answers can be held to a JSON Schema.
        routing: How `auto` chooses; a map `forced` from tasks to groups pins the choice in a test.

    Example:
        Crew(spec, catalog=ScriptedCatalog(ScriptedModel([text("Done.")]))).kickoff()
    """

    def __init__(
        self,
        model: Provider,
        *,
        context: int = 32_768,
        price: Price | None = FREE,
        supports_schema: bool = True,
        routing: RoutingSpec | None = None,
    ) -> None:
        self._model_under_test = model
        self._context = context
        self._price = price
        self._supports_schema = supports_schema
        self._routing = routing or RoutingSpec()

    def resolve(self, wanted: str = "") -> ResolvedModel:
        """Return the model under test by the name asked for; for `auto` by that of the ladder's first rung."""
        name = self._routing.ladder[0] if self.routes(wanted) else wanted or "scripted"
        return ResolvedModel(name, "litellm", self._context, self._price, self._supports_schema)

    def routes(self, wanted: str = "") -> bool:
        """Return whether the name is `auto`."""
        return wanted == AUTO

    def ladder(self) -> tuple[ResolvedModel, ...]:
        """Return the model under test by the name of each rung."""
        return tuple(self.resolve(rung) for rung in self._routing.ladder)

    @property
    def routing(self) -> RoutingSpec:
        """How `auto` chooses."""
        return self._routing

    def provider(self, model: ResolvedModel | str) -> Provider:
        """Return the provider under test."""
        return self._model_under_test

    def price_of(self, name: str) -> Price | None:
        """Return the price given."""
        return self._price

    def rate_of(self, name: str) -> RateSpec | None:
        """Return none: the model under test may be called as fast as one likes."""
        return None

    def cache_of(self, group: str) -> CacheSpec | None:
        """Return none: the model under test is asked each time."""
        return None

    def chain(self, name: str, group: str) -> tuple[ResolvedModel, ...]:
        """Return the model alone: nothing stands in for it."""
        return (self.resolve(name),)

    async def close(self) -> None:
        """Leave the provider to the test that made it."""
