"""What a model costs and holds: as declared, or from the table inside litellm, read without importing litellm."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

if TYPE_CHECKING:
    from quarterdeck.models.port import Usage

TABLE = "model_prices_and_context_window_backup.json"
PROVIDERS = "provider_endpoints_support_backup.json"
MAX_TABLE_BYTES = 50_000_000
_MILLION = Decimal(1_000_000)
_MODES = frozenset({"chat", "responses", "completion", "embedding", "rerank"})
_KEPT = frozenset({
    "litellm_provider", "max_input_tokens", "max_tokens", "supports_response_schema", "tiered_pricing",
    "input_cost_per_query",
})  # fmt: skip
_COSTS = (
    "input_cost_per_token", "output_cost_per_token", "cache_read_input_token_cost", "cache_creation_input_token_cost",
)  # fmt: skip
_STEPS = (128, 200, 256, 272)


@dataclass(frozen=True, slots=True)
class Price:
    """USD per token.

    Attributes:
        input: Of a prompt token.
        output: Of a completion token.
        cached: Of a prompt token that came from the provider's cache; None when that is not known: then as `input`.
        above: Prompt tokens from which on `beyond` holds for the whole call; 0 where the price has no such step.
        beyond: The price of such long calls.
        written: Of a prompt token that the provider puts into its cache; None when that is not known: then as `input`.
        request: USD of a request, besides its tokens: what some rerankers charge.
    """

    input: Decimal
    output: Decimal
    cached: Decimal | None = None
    above: int = 0
    beyond: Price | None = None
    written: Decimal | None = None
    request: Decimal = Decimal(0)

    @property
    def free(self) -> bool:
        """Whether nothing is ever charged."""
        return not self.input and not self.output and not self.request and self.beyond is None

    @classmethod
    def per_million(cls, input: float, output: float, cached: float | None = None) -> Price:
        """Return the price that is declared as USD per million tokens."""
        return cls(_per_token(input), _per_token(output), None if cached is None else _per_token(cached))


FREE = Price(Decimal(0), Decimal(0), Decimal(0))
"""Only ever declared: a zero in somebody's table does not make a model free."""


def cost(price: Price | None, usage: Usage, requests: int = 1) -> Decimal | None:
    """Return what a call cost in USD; None when the price, or what was used, is not known.

    Args:
        price: Per token; None when it is not known.
        usage: As the provider counted it; without any token it counts as not reported.
        requests: As how many the provider counted it, where it charges by request.
    """
    if price is None:
        return None
    if price.free:
        return Decimal(0)
    if price.request and not price.input:
        return requests * price.request
    if not usage.prompt_tokens and not usage.completion_tokens:
        return None
    if price.beyond is not None and usage.prompt_tokens > price.above:
        price = price.beyond
    cached = min(usage.cached_tokens, usage.prompt_tokens)
    cached_price = price.input if price.cached is None else price.cached
    written = min(usage.written_tokens, usage.prompt_tokens - cached)
    written_price = price.input if price.written is None else price.written
    fresh = usage.prompt_tokens - cached - written
    prompt = fresh * price.input + cached * cached_price + written * written_price
    return prompt + usage.completion_tokens * price.output + requests * price.request


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """What the table knows about a model.

    Attributes:
        provider: LiteLLM's name of the provider.
        context: Tokens of a prompt at most; None when not known.
        price: None when not known.
        supports_schema: Whether an answer can be constrained by a JSON Schema.
    """

    provider: str
    context: int | None
    price: Price | None
    supports_schema: bool


class PriceTable:
    """LiteLLM's own table of prices and context windows, read when it is first asked.

    Args:
        path: The JSON file; by default the one inside the installed litellm.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._path = path

    def facts(self, model: str) -> ModelFacts | None:
        """Return what is known about a model that answers or embeds.

        Args:
            model: LiteLLM's name, with its provider (`openai/gpt-4o-mini`) or without.
        """
        row = self._rows.get(model)
        if row is None and "/" in model:
            provider, _, name = model.partition("/")
            row = self._rows.get(name)
            if row is not None and not _same_provider(provider, row["litellm_provider"]):
                row = None
        return None if row is None else _facts(row)

    @property
    def names(self) -> tuple[str, ...]:
        """Every model of the table."""
        return tuple(self._rows)

    @cached_property
    def providers(self) -> frozenset[str]:
        """Every provider that litellm knows, whether or not the table has a model of it."""
        listed = {name.partition("/")[0] for name in self._rows if "/" in name}
        listed |= {row["litellm_provider"] for row in self._rows.values()}
        path = self._path or _table_path()
        supported = _read(path.with_name(PROVIDERS)).get("providers") if path is not None else None
        return frozenset(listed | set(supported if isinstance(supported, dict) else ()))

    @cached_property
    def _rows(self) -> dict[str, dict[str, Any]]:
        path = self._path or _table_path()
        return {
            name: {key: value for key, value in row.items() if _kept(key)}
            for name, row in (_read(path) if path is not None else {}).items()
            if isinstance(row, dict) and row.get("mode") in _MODES and isinstance(row.get("litellm_provider"), str)
        }


def _table_path() -> Path | None:
    spec = importlib.util.find_spec("litellm")  # finds a top-level package without importing it
    return None if spec is None or spec.origin is None else Path(spec.origin).parent / TABLE


def _read(path: Path) -> dict[str, Any]:
    """Return the JSON object in a file; nothing when there is none: then prices are unknown, not wrong."""
    try:
        if path.stat().st_size > MAX_TABLE_BYTES:
            return {}
        data = orjson.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return data if isinstance(data, dict) else {}


def _kept(key: str) -> bool:
    """Whether a key of the table is of use: dropping the others keeps 4,000 rows small."""
    return key in _KEPT or (key.startswith(_COSTS) and key.endswith(("token", "tokens", "cost")))


def _same_provider(asked: str, listed: str) -> bool:
    """Whether a provider of a name is the table's, which lists `vertex_ai` as `vertex_ai-text-models` and the like."""
    return listed == asked or listed.startswith((f"{asked}-", f"{asked}_")) or listed == f"text-completion-{asked}"


def _facts(row: Mapping[str, Any]) -> ModelFacts:
    context = row.get("max_input_tokens") or row.get("max_tokens")
    return ModelFacts(
        provider=row["litellm_provider"],
        context=int(context) if isinstance(context, (int, float)) else None,
        price=_price(row),
        supports_schema=row.get("supports_response_schema") is True,
    )


def _price(row: Mapping[str, Any]) -> Price | None:
    if "tiered_pricing" in row:
        return None  # more than one step: rather unknown than wrong
    base = _price_at(row, "")
    if base is None or base.free:
        return None
    for step in _STEPS:
        beyond = _price_at(row, f"_above_{step}k_tokens", base)
        if beyond is not None:
            return replace(base, above=step * 1000, beyond=beyond)
    return base


def _price_at(row: Mapping[str, Any], suffix: str, base: Price | None = None) -> Price | None:
    into = _decimal(row.get(f"input_cost_per_token{suffix}"))
    out = _decimal(row.get(f"output_cost_per_token{suffix}"))
    if base is not None and (into is not None or out is not None):
        into, out = base.input if into is None else into, base.output if out is None else out
    if into is None or out is None:
        return None
    cached, written = (_decimal(row.get(f"cache_{way}_input_token_cost{suffix}")) for way in ("read", "creation"))
    request = _decimal(row.get("input_cost_per_query")) or Decimal(0)
    return Price(into, out, cached, written=written, request=request)


def _decimal(value: Any) -> Decimal | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value < 0:
        return None
    return Decimal(repr(value))


def _per_token(usd_per_million: float) -> Decimal:
    return Decimal(str(usd_per_million)) / _MILLION
