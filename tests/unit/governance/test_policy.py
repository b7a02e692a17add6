"""What the policy makes of a call: the dial, the rules, the operator's word, and that nothing unknown passes."""

from __future__ import annotations

import enum
from decimal import Decimal
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quarterdeck.governance.policy import STRICTNESS, Classified, Policy
from quarterdeck.spec.governance import LEVELS, Effect, GovernanceConfig, PolicyRule, Tier, ToolClass
from quarterdeck.tools.manifest import Manifest
from quarterdeck.tools.signature import tool_from_function
from quarterdeck.tools.tool import Tool

EFFECTS: tuple[Effect, ...] = get_args(Effect)
TIERS: tuple[Tier, ...] = get_args(Tier)


def pay(to: str, eur: float = 50.0, note: str = "") -> str:
    """Pay somebody.

    Args:
        to: Whom.
        eur: How much.
        note: What for.
    """
    return f"{to} {eur} {note}"


def tool_of(effect: Effect | None = "irreversible", name: str = "payments.pay", **more: Any) -> Tool:
    made = tool_from_function(pay, name)
    return Tool(made.name, made.description, made.parameters, pay, manifest=Manifest(effect=effect, **more))


def judged(config: dict[str, Any], arguments: dict[str, Any] | None = None, **more: Any) -> tuple[Tier, str]:
    name, effect = more.pop("name", "payments.pay"), more.pop("effect", "irreversible")
    agent, version = more.pop("agent", "clerk"), more.pop("version", "1")
    policy = Policy(GovernanceConfig.model_validate(config), **more)
    tool = policy.classified(tool_of(effect, name, version=version))
    verdict = policy.judge(tool, arguments if arguments is not None else {"to": "bob", "eur": 10.0}, agent)
    return verdict.tier, verdict.rule


@pytest.mark.parametrize("dial", ["low", "medium", "high"])
@pytest.mark.parametrize("effect", EFFECTS)
def test_the_dial_decides_by_effect_where_no_rule_does(dial: Any, effect: Effect) -> None:
    assert judged({"autonomy": dial}, effect=effect) == (LEVELS[dial][effect], f"autonomy: {dial}")


def test_the_table_of_the_dial() -> None:
    table = {dial: [tiers[effect] for effect in EFFECTS] for dial, tiers in LEVELS.items()}
    assert table == {
        "low": ["autonomous", "approve", "approve", "forbidden"],
        "medium": ["autonomous", "notify", "approve", "approve"],
        "high": ["autonomous", "autonomous", "notify", "approve"],
    }
    assert EFFECTS == ("read", "write", "external", "irreversible")


def test_shadow_judges_as_the_dial_behind_it_does() -> None:
    assert [judged({"autonomy": "shadow"}, effect=effect)[0] for effect in EFFECTS] == list(LEVELS["medium"].values())
    high = Policy(GovernanceConfig(autonomy="high"), autonomy="shadow")
    low = Policy(GovernanceConfig(autonomy="high"), autonomy="shadow", own="low")
    assert high.judge(tool_of(), {}).tier == "approve" and low.judge(tool_of(), {}).tier == "forbidden"
    assert high.judge(tool_of(), {}).rule == "autonomy: shadow, judged as high"
    assert Policy(GovernanceConfig(autonomy="shadow")).shadow and not Policy(GovernanceConfig(autonomy="low")).shadow


@pytest.mark.parametrize("dial", ["shadow", "low", "medium", "high"])
def test_what_nobody_has_classified_is_forbidden_whatever_a_rule_says(dial: Any) -> None:
    config = {"autonomy": dial, "rules": [{"tier": "autonomous"}]}
    assert judged(config, effect=None)[0] == "forbidden"


def test_a_single_tier_of_a_level_can_be_changed() -> None:
    config = {"levels": {"medium": {"write": "approve"}}}
    assert [judged(config, effect=effect)[0] for effect in EFFECTS] == ["autonomous", "approve", "approve", "approve"]
    assert judged({**config, "autonomy": "high"}, effect="write")[0] == "autonomous"


def test_the_operator_s_word_goes_before_the_tool_s_own_and_an_exact_name_before_a_glob() -> None:
    classes = {
        "payments.*": ToolClass(effect="external", owner="all", timeout=5),
        "*": ToolClass(effect="read", trusted=True),
        "payments.pay": ToolClass(owner="finance", sinks={"to": "recipient"}),
    }
    policy = Policy(GovernanceConfig(tools=classes))
    tool = policy.classified(tool_of("irreversible", owner="nobody", sensitive=True))
    manifest = tool.manifest
    assert (manifest.effect, manifest.owner, manifest.sinks) == ("external", "finance", {"to": "recipient"})
    assert (tool.timeout, manifest.timeout, manifest.trusted, manifest.sensitive) == (5, 5, True, True)
    assert policy.classified(other := tool_of("read", "x")).manifest.effect == "read" and other.manifest.timeout == 60


def test_tools_are_classified_when_they_are_asked_for_and_again_when_they_change() -> None:
    asked: list[str] = []

    class Lazy(dict[str, Tool]):
        def __getitem__(self, name: str) -> Tool:
            asked.append(name)
            return super().__getitem__(name)

    tools = Lazy({"payments.pay": tool_of(None)})
    classified = Classified(tools, Policy(GovernanceConfig(tools={"*": ToolClass(effect="read")})))
    assert "payments.pay" in classified and list(classified) == ["payments.pay"] and len(classified) == 1
    assert not asked and classified.get("made.up") is None
    first = classified["payments.pay"]
    assert first.manifest.effect == "read" and classified["payments.pay"] is first
    tools["payments.pay"] = tool_of(None, "payments.pay", owner="new")
    assert classified["payments.pay"].manifest.owner == "new"


RULES = {
    "autonomy": "high",
    "rules": [
        {"tools": ["payments.*"], "agents": ["intern*"], "tier": "forbidden"},
        {"tools": ["payments.pay"], "crews": ["night"], "tier": "forbidden"},
        {"effects": ["read"], "tier": "notify"},
        {"tools": ["payments.pay"], "when": "eur > 100", "tier": "approve", "why": "Much."},
        {"tools": ["payments.pay"], "tier": "autonomous"},
    ],
}


@pytest.mark.parametrize(
    ("more", "tier"),
    [
        ({}, "autonomous"),
        ({"agent": "intern_2"}, "forbidden"),
        ({"agent": ""}, "autonomous"),
        ({"crew": "night"}, "forbidden"),
        ({"crew": "nightly"}, "autonomous"),
        ({"effect": "read"}, "notify"),
        ({"name": "payments.list"}, "approve"),
        ({"name": "payments.pay@2", "agent": "intern"}, "forbidden"),
        ({"name": "payments.pay@2", "version": "2"}, "autonomous"),
        ({"name": "PAYMENTS.pay", "agent": "intern"}, "approve"),
        ({"arguments": {"to": "bob", "eur": 100.01}}, "approve"),
        ({"arguments": {"to": "bob", "eur": 100}}, "autonomous"),
    ],
)
def test_the_first_rule_that_matches_decides(more: dict[str, Any], tier: str) -> None:
    arguments = more.pop("arguments", None)
    assert judged(RULES, arguments, **more)[0] == tier


def test_a_rule_for_a_version_holds_for_the_name_that_stands_for_it() -> None:
    config = {"autonomy": "high", "rules": [{"tools": ["payments.pay@2"], "tier": "forbidden"}]}
    assert judged(config, version="2")[0] == "forbidden"
    assert judged(config, version="1")[0] == "approve"


class Grade(enum.Enum):
    HIGH = "high"


@pytest.mark.parametrize(
    ("when", "arguments", "matches"),
    [
        ("eur > 100", {"eur": 101}, True),
        ("eur > 100", {"eur": 99}, False),
        ("eur > 40", {}, True),  # the tool's own default is what it would pay
        ("eur > 60", {}, False),
        ("eur > 100", {"eur": Decimal("100.01")}, True),
        ("eur > 100", {"eur": "140"}, None),  # text does not compare with a number: nobody knows
        ("eur > 100", {"eur": None}, None),
        ("eur > 100", {"eur": float("nan")}, None),
        ("not (eur > 100)", {"eur": "140"}, None),
        ("eur == 140", {"eur": "140"}, None),
        ("eur > 100 or to == 'bob'", {"eur": "x", "to": "bob"}, True),
        ("eur > 100 and to == 'bob'", {"eur": "x", "to": "eve"}, False),
        ("eur > 100 or to == 'bob'", {"eur": "x", "to": "eve"}, None),
        ("to not in ['bob', 'eve']", {"to": "mallory"}, True),
        ("to not in ['bob', 'eve']", {}, None),
        ("to.name == 'bob'", {"to": {"name": "bob"}}, True),
        ("to.name == 'bob'", {"to": {}}, None),
        ("len(note) > 3", {"note": "long"}, True),
        ("len(note) > 3", {"note": 7}, None),
        ("(eur > 100) == true", {"eur": "x"}, None),
        ("[eur] == [1]", {"eur": 1}, True),
        ("note == 'high'", {"note": Grade.HIGH}, True),
        ("bytes > 1000", {"note": "x" * 1000}, True),
        ("bytes > 1000", {"note": "x"}, False),
        ("usd > 1", {"eur": 5000}, False),  # it has no such parameter: the rule is not about it
        ("not (usd > 1)", {"eur": 5000}, False),
        ("usd > 1 or eur > 100", {"eur": 1}, None),
        ("true", {}, True),
    ],
)
def test_a_condition_that_cannot_be_told_counts_for_the_stricter_side(
    when: str, arguments: dict[str, Any], matches: bool | None
) -> None:
    strict = {"autonomy": "high", "rules": [{"when": when, "tier": "forbidden"}, {"tier": "autonomous"}]}
    loose = {"autonomy": "low", "rules": [{"when": when, "tier": "autonomous"}, {"tier": "approve"}]}
    assert judged(strict, arguments)[0] == ("autonomous" if matches is False else "forbidden")
    assert judged(loose, arguments)[0] == ("autonomous" if matches else "approve")


def test_the_rule_that_decides_is_named() -> None:
    config = GovernanceConfig.model_validate(RULES)
    config.rules[3].declared_at("config/governance.yaml:9")
    verdict = Policy(config).judge(tool_of(), {"to": "bob", "eur": 200}, "clerk")
    assert (verdict.rule, verdict.why, verdict.effect) == ("config/governance.yaml:9", "Much.", "irreversible")


rules = st.builds(
    PolicyRule,
    tools=st.lists(st.sampled_from(["*", "payments.*", "payments.pay", "other.*", "payments.pay@2"]), min_size=1).map(
        tuple
    ),
    effects=st.lists(st.sampled_from(EFFECTS)).map(tuple),
    agents=st.lists(st.sampled_from(["*", "clerk", "mate"]), min_size=1).map(tuple),
    when=st.sampled_from([None, "eur > 100", "eur > 10 and to == 'bob'", "usd > 1", "note == 'x'"]),
    tier=st.sampled_from(TIERS),
)
arguments = st.fixed_dictionaries(
    {}, optional={"eur": st.one_of(st.floats(), st.text(max_size=3), st.none()), "to": st.text(max_size=3)}
)
dials = st.sampled_from(["low", "medium", "high", "shadow"])


@given(
    before=st.lists(rules, max_size=5), after=st.lists(rules, max_size=3), effect=st.sampled_from(EFFECTS), dial=dials
)
def test_a_rule_after_a_matching_one_changes_nothing(
    before: list[PolicyRule], after: list[PolicyRule], effect: Effect, dial: Any
) -> None:
    stop = PolicyRule(tier="notify")
    values = {"eur": 50.0, "to": "bob"}
    one = Policy(GovernanceConfig(autonomy=dial, rules=(*before, stop)))
    more = Policy(GovernanceConfig(autonomy=dial, rules=(*before, stop, *after)))
    assert one.judge(tool_of(effect), values, "clerk") == more.judge(tool_of(effect), values, "clerk")


@given(some=st.lists(rules, max_size=6), values=arguments, dial=dials)
def test_no_effect_is_always_forbidden(some: list[PolicyRule], values: dict[str, Any], dial: Any) -> None:
    policy = Policy(GovernanceConfig(autonomy=dial, rules=tuple(some)))
    assert policy.judge(tool_of(None), values, "clerk").tier == "forbidden"


@given(
    some=st.lists(rules, max_size=6),
    eur=st.floats(allow_nan=False),
    garbage=st.one_of(st.just(float("nan")), st.text(), st.none(), st.lists(st.integers())),
    effect=st.sampled_from(EFFECTS),
    dial=dials,
)
def test_garbage_is_judged_at_least_as_strictly_as_any_amount(
    some: list[PolicyRule], eur: float, garbage: Any, effect: Effect, dial: Any
) -> None:
    policy = Policy(GovernanceConfig(autonomy=dial, rules=tuple(some)))
    tool = tool_of(effect)
    known = policy.judge(tool, {"to": "bob", "eur": eur}, "clerk").tier
    unknown = policy.judge(tool, {"to": "bob", "eur": garbage}, "clerk").tier
    assert STRICTNESS.index(unknown) >= STRICTNESS.index(known)


@given(some=st.lists(rules, max_size=6), values=arguments, dial=dials)
def test_forbidden_by_the_first_rule_is_forbidden(some: list[PolicyRule], values: dict[str, Any], dial: Any) -> None:
    first = PolicyRule(tools=("payments.*",), tier="forbidden")
    policy = Policy(GovernanceConfig(autonomy=dial, rules=(first, *some)))
    assert all(policy.judge(tool_of(effect), values, "clerk").tier == "forbidden" for effect in EFFECTS)
