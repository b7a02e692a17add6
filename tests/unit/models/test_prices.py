"""Prices: exact, from the declared or the known, never guessed."""

from __future__ import annotations

import json
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import pytest

from quarterdeck.models.port import Usage
from quarterdeck.models.prices import FREE, Price, PriceTable, cost

TABLE = {
    "gpt-x": {
        "litellm_provider": "openai", "mode": "chat", "max_input_tokens": 1000, "supports_response_schema": True,
        "input_cost_per_token": 1.5e-07, "output_cost_per_token": 6e-07, "cache_read_input_token_cost": 7.5e-08,
    },
    "gemini/long": {
        "litellm_provider": "gemini", "mode": "chat", "max_tokens": 500,
        "input_cost_per_token": 1e-06, "output_cost_per_token": 2e-06,
        "input_cost_per_token_above_200k_tokens": 2e-06, "output_cost_per_token_above_200k_tokens": 4e-06,
    },
    "zero/x": {
        "litellm_provider": "zero", "mode": "chat", "input_cost_per_token": 0.0, "output_cost_per_token": 0.0,
    },
    "half/x": {"litellm_provider": "half", "mode": "chat", "input_cost_per_token": 1e-06},
    "tiers/x": {
        "litellm_provider": "tiers", "mode": "chat", "input_cost_per_token": 1e-06, "output_cost_per_token": 1e-06,
        "tiered_pricing": [{}],
    },
    "picture": {"litellm_provider": "openai", "mode": "image_generation", "input_cost_per_token": 1e-06},
}  # fmt: skip


@pytest.fixture
def table(tmp_path: Path) -> PriceTable:
    path = tmp_path / "table.json"
    path.write_text(json.dumps(TABLE))
    return PriceTable(path)


def test_cost_is_exact_and_prices_cached_tokens() -> None:
    price = Price(Decimal("0.00000015"), Decimal("0.0000006"), Decimal("0.000000075"))
    assert cost(price, Usage(1000, 100, 400)) == Decimal("0.00018")
    assert cost(Price(Decimal("0.1"), Decimal("0.2")), Usage(3, 0, 2)) == Decimal("0.3")


def test_unknown_is_none_and_free_is_zero() -> None:
    assert cost(None, Usage(10, 10)) is None
    assert cost(Price(Decimal(1), Decimal(1)), Usage()) is None, "usage that was not reported costs an unknown sum"
    assert cost(FREE, Usage(10, 10)) == 0
    assert cost(FREE, Usage()) == 0


def test_declared_prices_are_per_million() -> None:
    assert Price.per_million(0.15, 0.6) == Price(Decimal("1.5E-7"), Decimal("6E-7"))
    assert Price.per_million(0, 0).free


def test_names_with_and_without_provider(table: PriceTable) -> None:
    facts = table.facts("openai/gpt-x")
    assert facts == table.facts("gpt-x")
    assert facts is not None
    assert facts.price == Price(Decimal("1.5E-7"), Decimal("6E-7"), Decimal("7.5E-8"))
    assert (facts.provider, facts.context, facts.supports_schema) == ("openai", 1000, True)
    assert table.facts("anthropic/gpt-x") is None, "another provider's model of the same name"
    assert table.facts("picture") is None
    assert table.facts("nobody/nothing") is None


def test_long_prompts_have_their_own_price(table: PriceTable) -> None:
    facts = table.facts("gemini/long")
    assert facts is not None
    assert cost(facts.price, Usage(200_000, 0)) == Decimal("0.2")
    assert cost(facts.price, Usage(300_000, 100)) == Decimal("0.6004")


@pytest.mark.parametrize("name", ["zero/x", "half/x", "tiers/x"])
def test_what_the_table_does_not_really_say_is_unknown(table: PriceTable, name: str) -> None:
    facts = table.facts(name)
    assert facts is not None
    assert facts.price is None


@pytest.mark.parametrize("content", ["", "[]", "{", "null"])
def test_a_broken_table_makes_prices_unknown(tmp_path: Path, content: str) -> None:
    path = tmp_path / "table.json"
    path.write_text(content)
    assert PriceTable(path).facts("gpt-x") is None
    assert PriceTable(tmp_path / "missing.json").providers == frozenset()


def test_the_installed_table_is_read_without_importing_litellm() -> None:
    code = (
        "import sys; from quarterdeck.models.prices import PriceTable as T; t = T();"
        "f = t.facts('openai/gpt-4o-mini-2024-07-18'); assert f and f.price and f.context == 128000, f;"
        "assert 'hosted_vllm' in t.providers; assert 'litellm' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=30)
