"""The catalog: what a model's name means here and now."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest

from quarterdeck.errors import ModelError
from quarterdeck.models.catalog import Catalog
from quarterdeck.models.litellm_provider import LiteLLMProvider
from quarterdeck.models.port import Usage
from quarterdeck.models.prices import FREE, Price, cost
from quarterdeck.spec.models import ModelsConfig, RateSpec, RoutingSpec

OPENAI = "openai/gpt-4o-mini-2024-07-18"
ANTHROPIC = "anthropic/claude-haiku-4-5-20251001"
CONFIG = ModelsConfig.model_validate({
    "default": "cheap",
    "groups": {"cheap": [OPENAI, ANTHROPIC, "local"], "hosted": [OPENAI, ANTHROPIC]},
    "models": {
        "local": {"provider": "embedded", "weights": "qwen2.5-coder-1.5b", "context": 4096, "price": "free"},
        "openai/ours": {
            "api_base": "http://127.0.0.1:1/v1", "api_key_env": "OUR_KEY", "context": 32000, "json_schema": True,
            "price": {"input": 0.15, "output": 0.6},
        },
        "openai/gpt-4o": {"api_base": "http://127.0.0.1:1/v1"},
    },
})  # fmt: skip


def refused(wanted: str, **environ: str) -> ModelError:
    with pytest.raises(ModelError) as caught:
        Catalog(CONFIG, environ).resolve(wanted)
    return caught.value


@pytest.mark.parametrize(
    ("environ", "name"),
    [({"OPENAI_API_KEY": "x", "ANTHROPIC_API_KEY": "x"}, OPENAI), ({"ANTHROPIC_API_KEY": "x"}, ANTHROPIC),
     ({}, "local"), ({"OPENAI_API_KEY": "  "}, "local")],
)  # fmt: skip
def test_a_group_is_its_first_model_with_a_key(environ: dict[str, str], name: str) -> None:
    assert Catalog(CONFIG, environ).resolve("cheap").name == name
    assert Catalog(CONFIG, environ).resolve().name == name


def test_a_group_without_any_key_does_not_turn_into_something_else() -> None:
    error = refused("hosted")
    assert error.kind == "no_key"
    assert "OPENAI_API_KEY or ANTHROPIC_API_KEY" in str(error)


def test_a_known_model_needs_no_entry() -> None:
    model = Catalog(CONFIG, {"OPENAI_API_KEY": "x"}).resolve("openai/gpt-4o-mini")
    assert (model.kind, model.context, model.supports_schema) == ("litellm", 128000, True)
    assert model.price == Price(Decimal("1.5E-7"), Decimal("6E-7"), Decimal("7.5E-8"))
    assert Catalog(CONFIG, {"OPENAI_API_KEY": "x"}).resolve("gpt-4o-mini").name == "openai/gpt-4o-mini"


def test_a_new_model_of_a_known_provider_has_no_known_price() -> None:
    model = Catalog(CONFIG, {"OPENAI_API_KEY": "x"}).resolve("openai/gpt-of-tomorrow")
    assert model.price is None
    assert not model.free
    assert model.context == 8192


def test_a_declared_model() -> None:
    model = Catalog(CONFIG, {"OUR_KEY": "x"}).resolve("openai/ours")
    assert (model.context, model.supports_schema, model.api_key_env) == (32000, True, "OUR_KEY")
    assert model.price == Price(Decimal("1.5E-7"), Decimal("6E-7"))
    assert "OUR_KEY" in str(refused("openai/ours", OPENAI_API_KEY="x"))


def test_at_an_endpoint_of_ones_own_a_known_name_proves_nothing() -> None:
    model = Catalog(CONFIG, {}).resolve("openai/gpt-4o")
    assert model.price is None
    assert not model.supports_schema
    assert model.key_names == ()


def test_the_embedded_model() -> None:
    model = Catalog(CONFIG, {}).resolve("local")
    assert (model.kind, model.context, model.price, model.free) == ("embedded", 4096, FREE, True)
    assert model.label == "local (qwen2.5-coder-1.5b, on this machine)"


@pytest.mark.parametrize(
    ("wanted", "says"),
    [("chaep", 'did you mean "cheap"?'), ("opnai/gpt-4o-mini", 'did you mean "openai"?'),
     ("gpt-4o-mimi", 'did you mean "gpt-4o-mini'), ("zzz", "models list")],
)  # fmt: skip
def test_unknown_names(wanted: str, says: str) -> None:
    error = refused(wanted, OPENAI_API_KEY="x")
    assert error.kind == "no_model"
    assert says in str(error)
    assert wanted in str(error)


def test_a_missing_key_says_what_to_do() -> None:
    error = refused(OPENAI)
    assert error.kind == "no_key"
    assert str(error) == "No key for openai: set OPENAI_API_KEY, or run on this machine with --model local."


def test_a_declared_name_without_its_provider_is_refused_before_anything_is_asked() -> None:
    entry = {"api_base": "http://127.0.0.1:1/v1", "price": {"input": 1, "output": 2}}
    config = ModelsConfig.model_validate({"default": "house-model", "models": {"house-model": entry}})
    with pytest.raises(ModelError, match="write openai/house-model") as caught:
        Catalog(config, {}).resolve()
    assert caught.value.kind == "no_model"


def test_a_declared_price_may_say_what_cached_tokens_cost() -> None:
    entry = {"api_base": "http://127.0.0.1:1/v1", "price": {"input": 1, "output": 2, "cached": 0.1}}
    config = ModelsConfig.model_validate({"default": "openai/house", "models": {"openai/house": entry}})
    price = Catalog(config, {}).price_of("openai/house")
    assert cost(price, Usage(1_000_000, 0, 900_000)) == Decimal("0.19")


async def test_providers_are_shared_until_closed() -> None:
    catalog = Catalog(CONFIG, {"OPENAI_API_KEY": "x"})
    model = catalog.resolve(OPENAI)
    provider = catalog.provider(model)
    assert isinstance(provider, LiteLLMProvider)
    assert catalog.provider(OPENAI) is provider
    assert catalog.price_of(OPENAI) == model.price
    await catalog.close()
    assert catalog.provider(OPENAI) is not provider


@pytest.mark.live
def test_missing_weights_say_how_to_get_them(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("QUARTERDECK_MODELS", str(tmp_path))
    catalog = Catalog(CONFIG, {})
    with pytest.raises(ModelError, match="quarterdeck models pull local") as caught:
        catalog.provider("local")
    assert caught.value.kind == "no_weights"


def test_the_embedded_model_is_blocked_in_tests() -> None:
    with pytest.raises(ModelError, match="blocked in tests") as caught:
        Catalog(CONFIG, {}).provider("local")
    assert caught.value.kind == "refused"


def test_describe_lists_each_model_once() -> None:
    listed = {one.model.name: one for one in Catalog(CONFIG, {"OPENAI_API_KEY": "x"}).describe()}
    assert list(listed) == ["local", "openai/ours", "openai/gpt-4o", OPENAI, ANTHROPIC]
    assert [one.key for one in listed.values()] == ["none needed", "missing", "none needed", "set", "missing"]
    assert listed[OPENAI].groups == ("cheap", "hosted")


ROUTED = CONFIG.model_copy(
    update={
        "groups": ModelsConfig.model_validate({
            "default": "a/b",
            "groups": {
                "cheap": [OPENAI, "local"], "middle": {"models": [ANTHROPIC]}, "expensive": [OPENAI, "local"],
                "loose": ["openai/gpt-4o-mini"], "half": {"models": [OPENAI], "fallback": ["loose"]},
            },
        }).groups,
        "routing": RoutingSpec(ladder=("cheap", "middle", "expensive", "missing")),
    }
)  # fmt: skip


@pytest.mark.parametrize(
    ("environ", "names"),
    [({}, ["local"]), ({"ANTHROPIC_API_KEY": "x"}, ["local", ANTHROPIC]), ({"OPENAI_API_KEY": "x"}, [OPENAI]),
     ({"OPENAI_API_KEY": "x", "ANTHROPIC_API_KEY": "x"}, [OPENAI, ANTHROPIC])],
)  # fmt: skip
def test_auto_chooses_from_the_usable_rungs_each_model_once(environ: dict[str, str], names: list[str]) -> None:
    catalog = Catalog(ROUTED, environ)
    assert [model.name for model in catalog.ladder()] == names
    assert [model.name for model in catalog.candidates("auto")] == names
    assert catalog.resolve("auto") == catalog.ladder()[0]
    assert catalog.resolve("auto").group == "cheap"
    assert catalog.routes("auto") and not catalog.routes("cheap") and not catalog.routes()
    assert [model.name for model in catalog.candidates("local")] == ["local"]


def test_auto_without_a_rung_says_why() -> None:
    nothing = ROUTED.model_copy(update={"routing": RoutingSpec(ladder=("missing",))})
    with pytest.raises(ModelError, match=r"missing \(routing.ladder\)") as caught:
        Catalog(nothing, {}).resolve("auto")
    assert caught.value.kind == "no_model"
    no_key = ROUTED.model_copy(update={"routing": RoutingSpec(ladder=("middle",))})
    with pytest.raises(ModelError, match="ANTHROPIC_API_KEY") as caught:
        Catalog(no_key, {}).resolve("auto")
    assert caught.value.kind == "no_key"


def test_auto_can_be_the_default() -> None:
    catalog = Catalog(ROUTED.model_copy(update={"default": "auto"}), {})
    assert catalog.routes() and catalog.resolve().name == "local"


KEYS = {"OPENAI_API_KEY": "x", "ANTHROPIC_API_KEY": "x", "OUR_KEY": "x"}


@pytest.mark.parametrize("wanted", ["openai/gpt-4o-mini", "loose", "half", "openai/ours", "gpt-4o"])
def test_production_refuses_what_can_change_its_meaning(wanted: str) -> None:
    assert Catalog(ROUTED, KEYS).resolve(wanted)
    with pytest.raises(ModelError, match="can change its meaning") as caught:
        Catalog(ROUTED, {**KEYS, "QUARTERDECK_PROFILE": "production"}).resolve(wanted)
    assert caught.value.kind == "unpinned"


@pytest.mark.parametrize("wanted", [OPENAI, "cheap", "middle", "local", "auto"])
def test_production_takes_what_is_pinned(wanted: str) -> None:
    assert Catalog(ROUTED, {**KEYS, "QUARTERDECK_PROFILE": "production"}).resolve(wanted).pinned


def test_what_is_declared_for_a_bare_name_holds_for_its_whole_name() -> None:
    config = ModelsConfig.model_validate({
        "default": "gpt-4o", "profile": "production", "models": {"gpt-4o": {"pinned": True, "price": "free"}},
    })  # fmt: skip
    catalog = Catalog(config, {"OPENAI_API_KEY": "x"})
    model = catalog.resolve()
    assert (model.name, model.pinned, catalog.price_of(model.name)) == ("openai/gpt-4o", True, FREE)


def test_listings_say_what_is_pinned_and_how_fast() -> None:
    config = ModelsConfig.model_validate({
        "default": "openai/gpt-4o",
        "models": {"openai/gpt-4o": {"rate": {"requests": 60}}, "local": {"provider": "embedded"}},
    })  # fmt: skip
    listings = {listing.model.name: listing for listing in Catalog(config, {}).describe()}
    assert [listing.model.pinned for listing in listings.values()] == [False, True]
    assert listings["openai/gpt-4o"].rate == RateSpec(requests=60)


def test_a_rate_declared_under_a_bare_name_holds_for_the_whole_name() -> None:
    config = ModelsConfig.model_validate({"default": "gpt-4o", "models": {"gpt-4o": {"rate": {"requests": 60}}}})
    catalog = Catalog(config, {"OPENAI_API_KEY": "sk-test"})
    rate = catalog.rate_of(catalog.resolve("gpt-4o").name)
    assert rate is not None and rate.requests == 60
