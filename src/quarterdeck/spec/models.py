"""`config/models.yaml`: the groups of models that agents name, and the models that need more than a name."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from quarterdeck.spec.crew import Declared, Name
from quarterdeck.spec.pins import HOW_TO_PIN, is_pinned
from quarterdeck.spec.problem import did_you_mean
from quarterdeck.spec.sentences import Finding, findings
from quarterdeck.spec.text import Document, Place

AUTO = "auto"
"""The name that agents give in the place of a group, to have one chosen by `routing`."""

ModelName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_./:@-]{0,199}$")]


class Price(Declared):
    """What a model costs, in USD per million tokens."""

    input: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    output: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    cached: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = Field(
        default=None, description="Of a prompt token that came from the provider's cache; without it as `input`."
    )


class RateSpec(Declared):
    """How fast a model may be called, by all processes on the same database together."""

    requests: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    tokens: Annotated[int, Field(ge=1, le=1_000_000_000)] | None = Field(
        default=None, description="Prompt and answer together."
    )
    per: Literal["second", "minute"] = "minute"


class CacheSpec(Declared):
    """How long the answers of a group's models are given again for the same request."""

    seconds: Annotated[float, Field(gt=0, le=365 * 86400)]
    sampled: bool = Field(default=False, description="Also where the temperature is above 0.")


class GroupSpec(Declared):
    """A group of models that stand in for one another."""

    models: Annotated[tuple[ModelName, ...], Field(min_length=1)]
    fallback: tuple[Name, ...] = Field(default=(), description="Groups to ask, in order, when none of these answers.")
    cache: CacheSpec | None = None


class RoutingSpec(Declared):
    """How `model: auto` chooses: it starts with the first group and goes up on a measured signal."""

    ladder: Annotated[tuple[Name, ...], Field(min_length=1, max_length=8)] = ("cheap", "expensive")
    confidence: Annotated[float, Field(ge=0, le=1)] = Field(
        default=0.6, description="An answer whose own `confidence` is below this goes up."
    )
    forced: dict[Name, Name] = Field(
        default_factory=dict, description="Tasks for which the choice is made: each with its group. For tests."
    )


class ModelEntry(Declared):
    """A model that is not known by its name alone."""

    provider: Literal["litellm", "embedded"] = "litellm"
    weights: Annotated[str, Field(min_length=1, max_length=1000)] | None = Field(
        default=None, description="Of an embedded model: the name of known weights, or the path of a GGUF file."
    )
    context: Annotated[int, Field(ge=256, le=10_000_000)] | None = Field(default=None, description="In tokens.")
    price: Literal["free"] | Price | None = Field(default=None, description="Without it and a known name: unknown.")
    api_base: Annotated[str, Field(pattern=r"^https?://[^\s]{1,500}$")] | None = None
    api_key_env: Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,99}$")] | None = Field(
        default=None, description="The environment variable that holds the key; keys never stand in files."
    )
    json_schema: bool | None = Field(default=None, description="Whether it can be held to a JSON Schema.")
    first_token_seconds: Annotated[float, Field(gt=0, le=3600)] = Field(
        default=60.0,
        description="Silence before a streamed answer begins that ends the attempt.",
    )
    idle_seconds: Annotated[float, Field(gt=0, le=3600)] = Field(
        default=30.0, description="Silence within a streamed answer that ends the attempt."
    )
    rate: RateSpec | None = None
    pinned: bool = Field(default=False, description="Its name always means the same model, though it has no date.")


def _as_group(value: Any) -> Any:
    return {"models": value} if isinstance(value, (list, tuple)) else value


Group = Annotated[GroupSpec, BeforeValidator(_as_group, json_schema_input_type=GroupSpec | tuple[ModelName, ...])]
"""A list of models is a group of which nothing else is said."""


class ModelsConfig(Declared):
    """The models of a workspace. A LiteLLM model such as `openai/gpt-4o` needs no entry."""

    default: ModelName
    profile: Literal["development", "production"] = Field(
        default="development", description="In production a model whose name can change its meaning is refused."
    )
    groups: dict[Name, Group] = Field(
        default_factory=dict, description="The first model whose key is in the environment is taken."
    )
    routing: RoutingSpec = RoutingSpec()
    models: dict[ModelName, ModelEntry] = Field(default_factory=dict)

    def knows(self, name: str) -> bool:
        """Return whether a name is a group, a declared model, or has the form `provider/model`."""
        if name == AUTO:
            return bool(self.rungs())
        return name in self.groups or name in self.models or "/" in name

    def rungs(self) -> tuple[str, ...]:
        """Return the groups from which `auto` chooses: those of `routing.ladder` that there are."""
        return tuple(group for group in self.routing.ladder if group in self.groups)

    def names(self) -> list[str]:
        """Return the names of groups and declared models."""
        return [*self.groups, *self.models]


def read_models(document: Document) -> tuple[ModelsConfig | None, list[Finding]]:
    """Check the data of a models file; return the configuration as far as it can be read, and what is wrong."""
    config, found = findings(ModelsConfig, document.data)
    if config is None:
        return None, found
    if not config.knows(config.default):
        what = f'no group or model "{config.default}"{did_you_mean(config.default, config.names())}'
        found.append(Finding(("default",), what))
    found += [*_group_findings(config, document), *_routing_findings(config)]
    return config, found


def _group_findings(config: ModelsConfig, document: Document) -> Iterator[Finding]:
    for key, named in (("groups", config.groups), ("models", config.models)):
        if AUTO in named:
            yield Finding((key, AUTO), f'"{AUTO}" stands for routing; choose another name')
    for group, spec in config.groups.items():
        for index, member in enumerate(spec.models):
            if member not in config.models and "/" not in member:
                what = f'no model "{member}" under models{did_you_mean(member, config.models)}'
                yield Finding(_member(document, group, index), what)
        for index, other in enumerate(spec.fallback):
            yield from _group(("groups", group, "fallback", index), other, config)


def _routing_findings(config: ModelsConfig) -> Iterator[Finding]:
    if "ladder" in config.routing.model_fields_set:
        for index, rung in enumerate(config.routing.ladder):
            yield from _group(("routing", "ladder", index), rung, config)
    for task, group in config.routing.forced.items():
        yield from _group(("routing", "forced", task), group, config)


def _group(place: Place, name: str, config: ModelsConfig) -> Iterator[Finding]:
    if name not in config.groups:
        yield Finding(place, f'no group "{name}"{did_you_mean(name, config.groups)}')


def unpinned(config: ModelsConfig, document: Document) -> list[Finding]:
    """Return the models of a file whose names can change their meaning: mistakes in production."""
    found = []
    if config.default not in (AUTO, *config.groups) and not is_pinned(config.default, config):
        found.append(Finding(("default",), not_pinned(config.default)))
    for group, spec in config.groups.items():
        for index, member in enumerate(spec.models):
            if not is_pinned(member, config):
                found.append(Finding(_member(document, group, index), not_pinned(member)))
    return found


def not_pinned(name: str) -> str:
    """Return what is wrong with a name that can change its meaning, and what would be right."""
    return f'"{name}" can change its meaning, and this is production; {HOW_TO_PIN}'


def _member(document: Document, group: str, index: int) -> Place:
    """Return the place of a model of a group, which is a list or a mapping that holds it."""
    place: Place = ("groups", group, "models", index)
    return place if place in document.positions else ("groups", group, index)
