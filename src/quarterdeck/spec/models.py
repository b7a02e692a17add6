"""`config/models.yaml`: the groups of models that agents name, and the models that need more than a name."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from quarterdeck.spec.crew import Declared, Name
from quarterdeck.spec.problem import did_you_mean
from quarterdeck.spec.sentences import Finding, findings
from quarterdeck.spec.text import Document

ModelName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_./:@-]{0,199}$")]


class Price(Declared):
    """What a model costs, in USD per million tokens."""

    input: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    output: Annotated[float, Field(ge=0, allow_inf_nan=False)]


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


class ModelsConfig(Declared):
    """The models of a workspace. A LiteLLM model such as `openai/gpt-4o` needs no entry."""

    default: ModelName
    groups: dict[Name, Annotated[tuple[ModelName, ...], Field(min_length=1)]] = Field(
        default_factory=dict, description="The first model whose key is in the environment is taken."
    )
    models: dict[ModelName, ModelEntry] = Field(default_factory=dict)

    def knows(self, name: str) -> bool:
        """Return whether a name is a group, a declared model, or has the form `provider/model`."""
        return name in self.groups or name in self.models or "/" in name

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
    for group, members in config.groups.items():
        for index, member in enumerate(members):
            if member not in config.models and "/" not in member:
                what = f'no model "{member}" under models{did_you_mean(member, config.models)}'
                found.append(Finding(("groups", group, index), what))
    return config, found
