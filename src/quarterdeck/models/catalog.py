"""Which model a name means here and now, and the provider that answers for it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from quarterdeck.errors import ModelError
from quarterdeck.models.keys import key_names, no_key, set_key
from quarterdeck.models.live import check_live
from quarterdeck.models.prices import FREE, Price, PriceTable
from quarterdeck.spec.models import AUTO, ModelEntry
from quarterdeck.spec.pins import HOW_TO_PIN, in_production, is_pinned
from quarterdeck.spec.problem import did_you_mean

if TYPE_CHECKING:
    from quarterdeck.models.port import Provider
    from quarterdeck.spec.models import CacheSpec, ModelsConfig, RateSpec, RoutingSpec

Kind = Literal["litellm", "embedded"]
DEFAULT_CONTEXT = 8192
"""Tokens that a model is taken to read when nobody says how many: few rather than too many."""
DEFAULT_WEIGHTS = "qwen2.5-coder-1.5b"


@dataclass(frozen=True, slots=True)
class ResolvedModel:
    """One model, settled.

    Attributes:
        name: What stands in `ModelRequest.model`, such as `openai/gpt-4o-mini-2024-07-18` or `local`.
        kind: Through what it is reached.
        context: Tokens of prompt and answer that it can take.
        price: None when it is not known.
        supports_schema: Whether an answer can be held to a JSON Schema.
        weights: Of an embedded model: a name or a path.
        api_base: A declared endpoint, or empty.
        api_key_env: The declared variable of its key, or empty.
        group: The group that it was taken from; empty when it was asked for by name.
        rate: How fast it may be called; None for as fast as one likes.
        pinned: Whether its name always means the same model.
    """

    name: str
    kind: Kind
    context: int
    price: Price | None
    supports_schema: bool
    weights: str = ""
    api_base: str = ""
    api_key_env: str = ""
    group: str = ""
    rate: RateSpec | None = None
    pinned: bool = True

    @property
    def free(self) -> bool:
        """Whether it is declared to cost nothing."""
        return self.price is not None and self.price.free

    @property
    def label(self) -> str:
        """The model as a run's first line shows it."""
        return f"{self.name} ({self.weights}, on this machine)" if self.kind == "embedded" else self.name

    @property
    def provider(self) -> str:
        """LiteLLM's name of the provider; `embedded` for a model on this machine."""
        return "embedded" if self.kind == "embedded" else self.name.partition("/")[0]

    @property
    def key_names(self) -> tuple[str, ...]:
        """The variables of which one must hold a key; none where no key is needed."""
        if self.api_key_env:
            return (self.api_key_env,)
        return () if self.kind == "embedded" or self.api_base else key_names(self.provider)


@dataclass(frozen=True, slots=True)
class ModelListing:
    """A model as `models list` and `doctor` show it.

    Attributes:
        groups: The groups that it is in.
        key: Whether its key is set; `none needed` where it has none.
        rate: How fast it may be called; None for as fast as one likes.
    """

    model: ResolvedModel
    groups: tuple[str, ...]
    key: Literal["set", "missing", "none needed"]
    rate: RateSpec | None = None


class Catalog:
    """The models of a workspace. Providers are made when first asked for, and shared.

    Attributes:
        production: Whether models are refused whose names can change their meaning.

    Args:
        config: `config/models.yaml`.
        environ: Where keys are looked up.
        table: Prices and context windows of known models.
    """

    def __init__(
        self, config: ModelsConfig, environ: Mapping[str, str] = os.environ, *, table: PriceTable | None = None
    ) -> None:
        self._config = config
        self._environ = environ
        self._table = table or PriceTable()
        self.production = in_production(config, environ)
        self._known: dict[str, ResolvedModel] = {}
        self._entries: dict[str, ModelEntry] = {}
        self._providers: dict[str, Provider] = {}

    def resolve(self, wanted: str = "") -> ResolvedModel:
        """Return the model that a name means.

        Args:
            wanted: A group (its first model whose key is set is taken), a declared model, LiteLLM's name of one, or
                `auto` for the first rung of the ladder; empty for the default.

        Raises:
            ModelError: There is no such model (`no_model`), its key is not set (`no_key`), or in production its name
                can change its meaning (`unpinned`).
        """
        name = wanted or self._config.default
        if name == AUTO:
            return self.ladder()[0]
        if name in self._config.groups:
            return self._first_usable(name)
        model = self._model(name)
        self._check_pin(model)
        if self._key(model) == "missing":
            raise ModelError(no_key(model.provider, model.key_names), "no_key")
        return model

    def routes(self, wanted: str = "") -> bool:
        """Return whether a name (empty for the default) has its model chosen by routing."""
        return (wanted or self._config.default) == AUTO

    def ladder(self) -> tuple[ResolvedModel, ...]:
        """Return what `auto` chooses from, the one to start with first: of each group the first usable model, once.

        Raises:
            ModelError: There is none: no group of the ladder is declared, or none has a model whose key is set.
        """
        rungs: dict[str, ResolvedModel] = {}
        without_key: ModelError | None = None
        for group in self._config.rungs():
            try:
                model = self._first_usable(group)
            except ModelError as error:
                if error.kind != "no_key":
                    raise
                without_key = without_key or error
            else:
                rungs.setdefault(model.name, model)
        if rungs:
            return tuple(rungs.values())
        raise without_key or ModelError(
            f'"{AUTO}" has nothing to choose from: none of the groups {", ".join(self._config.routing.ladder)} '
            "(routing.ladder) is declared in config/models.yaml.",
            "no_model",
        )

    def candidates(self, wanted: str = "") -> tuple[ResolvedModel, ...]:
        """Return every model that a name may come to mean in a run: all of the ladder for `auto`, else the one.

        Raises:
            ModelError: As `resolve`.
        """
        return self.ladder() if self.routes(wanted) else (self.resolve(wanted),)

    @property
    def routing(self) -> RoutingSpec:
        """How `auto` chooses."""
        return self._config.routing

    def provider(self, model: ResolvedModel | str) -> Provider:
        """Return the provider that answers for a model; shared, closed by `close`.

        Args:
            model: What `resolve` returned, or its name.

        Raises:
            ModelError: There is no such model, no key or no weights.
        """
        resolved = self._model(model) if isinstance(model, str) else model
        provider = self._providers.get(resolved.name)
        if provider is None:
            provider = self._embedded(resolved) if resolved.kind == "embedded" else self._litellm(resolved)
            self._providers[resolved.name] = provider
        return provider

    def price_of(self, name: str) -> Price | None:
        """Return the price of a model by its name; None when it is not known."""
        return self._model(name).price

    def rate_of(self, name: str) -> RateSpec | None:
        """Return how fast a model may be called; None for as fast as one likes."""
        return self._model(name).rate

    def cache_of(self, group: str) -> CacheSpec | None:
        """Return how long the answers of a group's models are kept; None for not at all."""
        spec = self._config.groups.get(group)
        return None if spec is None else spec.cache

    def chain(self, name: str, group: str) -> tuple[ResolvedModel, ...]:
        """Return a model, and after it those that may answer in its place: the rest of its group, then its fallbacks.

        Args:
            name: The resolved model.
            group: The group that it was taken from; empty for none: then nothing stands in for it.
        """
        asked = self._model(name)
        spec = self._config.groups.get(group)
        if spec is None:
            return (asked,)
        names = list(spec.models)
        for fallback in spec.fallback:
            names += self._config.groups[fallback].models
        usable = [model for model in map(self._model, dict.fromkeys(names)) if self._key(model) != "missing"]
        return (asked, *(model for model in usable if model.name != asked.name))

    def describe(self) -> list[ModelListing]:
        """Return every model that is declared or in a group, in the order of the file."""
        grouped = (name for group in self._config.groups.values() for name in group.models)
        names = dict.fromkeys([*self._config.models, *grouped])
        listings = []
        for name in names:
            model = self._model(name)
            groups = tuple(group for group, spec in self._config.groups.items() if name in spec.models)
            listings.append(ModelListing(model, groups, self._key(model), self.rate_of(name)))
        return listings

    async def close(self) -> None:
        """Close every provider that was made; the catalog can be used again after that."""
        providers, self._providers = self._providers, {}
        for provider in providers.values():
            await provider.close()

    def _first_usable(self, group: str) -> ResolvedModel:
        members = [self._model(name) for name in self._config.groups[group].models]
        for model in members:
            if self._key(model) != "missing":
                for stand_in in self.chain(model.name, group):
                    self._check_pin(stand_in)
                return replace(model, group=group)
        keys = tuple(dict.fromkeys(model.key_names[0] for model in members))
        raise ModelError(no_key(f'any model of "{group}"', keys), "no_key")

    def _check_pin(self, model: ResolvedModel) -> None:
        if self.production and not model.pinned:
            raise ModelError(
                f"The model {model.name} can change its meaning, and this is production: {HOW_TO_PIN}.", "unpinned"
            )

    def _key(self, model: ResolvedModel) -> Literal["set", "missing", "none needed"]:
        if not model.key_names:
            return "none needed"
        return "set" if set_key(model.key_names, self._environ) else "missing"

    def _model(self, name: str) -> ResolvedModel:
        if name not in self._known:
            entry = self._config.models.get(name)
            if entry is not None and entry.provider == "embedded":
                self._known[name] = _embedded_model(name, entry)
            else:
                model = self._known[name] = self._litellm_model(name, entry)
                self._known.setdefault(model.name, model)  # what is declared holds by the whole name too
                self._entries.setdefault(model.name, entry or ModelEntry())
        return self._known[name]

    def _litellm_model(self, name: str, entry: ModelEntry | None) -> ResolvedModel:
        # at an endpoint of one's own a known name proves nothing: what it costs and can do has to be declared
        facts = None if entry is not None and entry.api_base else self._table.facts(name)
        provider, slash, _ = name.partition("/")
        if entry is None and facts is None and (not slash or provider not in self._table.providers):
            raise ModelError(self._unknown(name), "no_model")
        if entry is not None and not slash and self._table.facts(name) is None:
            raise ModelError(
                f'The model "{name}" in config/models.yaml has no provider before its name: write openai/{name} for an '
                "endpoint that speaks OpenAI's protocol, else provider/model.",
                "no_model",
            )
        pinned = is_pinned(name, self._config)
        if not slash and facts is not None:
            name = f"{facts.provider}/{name}"
        declared = entry.price if entry is not None else None
        price = facts.price if facts is not None else None
        if declared is not None:
            price = FREE if declared == "free" else Price.per_million(declared.input, declared.output, declared.cached)
        schema = entry.json_schema if entry is not None else None
        return ResolvedModel(
            name=name,
            kind="litellm",
            context=(entry.context if entry else None) or (facts.context if facts else None) or DEFAULT_CONTEXT,
            price=price,
            supports_schema=schema if schema is not None else facts is not None and facts.supports_schema,
            rate=entry.rate if entry else None,
            api_base=(entry.api_base if entry else None) or "",
            api_key_env=(entry.api_key_env if entry else None) or "",
            pinned=pinned,
        )

    def _unknown(self, name: str) -> str:
        provider, slash, _ = name.partition("/")
        if slash:
            near = did_you_mean(provider, self._table.providers) or "; see `quarterdeck models list`"
            return f'No model "{name}": there is no provider "{provider}"{near}'
        near = did_you_mean(name, self._config.names()) or did_you_mean(name, self._table.names)
        return f'No group or model "{name}"{near or "; see `quarterdeck models list`, or write provider/model"}'

    def _litellm(self, model: ResolvedModel) -> Provider:
        from quarterdeck.models.litellm_provider import LiteLLMProvider

        entry = self._entries[model.name]
        return LiteLLMProvider(
            model.name,
            price=model.price,
            supports_schema=model.supports_schema,
            api_base=model.api_base,
            api_key_env=model.api_key_env,
            environ=self._environ,
            first_token_seconds=entry.first_token_seconds,
            idle_seconds=entry.idle_seconds,
        )

    def _embedded(self, model: ResolvedModel) -> Provider:
        check_live(model.name)
        from quarterdeck.models.embedded import EmbeddedProvider

        path = weights_file(model.weights)
        if path is None:
            raise ModelError(
                f"The weights of {model.name} ({model.weights}) are not on this machine: "
                f"quarterdeck models pull {model.name}",
                "no_weights",
            )
        return EmbeddedProvider(path, model_name=model.name, context=model.context)


def weights_file(weights: str) -> Path | None:
    """Return the file of an embedded model's weights; None when they are not on this machine.

    Args:
        weights: Their name, or the path of a `.gguf` file.

    Raises:
        ModelError: `no_weights`: there are none of that name.
    """
    from quarterdeck.models.weights import installed

    path = Path(weights).expanduser() if weights.endswith(".gguf") else installed(weights)
    return path if path is not None and path.is_file() else None


def _embedded_model(name: str, entry: ModelEntry) -> ResolvedModel:
    return ResolvedModel(
        name=name,
        kind="embedded",
        context=entry.context or DEFAULT_CONTEXT,
        price=FREE,
        supports_schema=True,
        rate=entry.rate,
        weights=entry.weights or DEFAULT_WEIGHTS,
    )
