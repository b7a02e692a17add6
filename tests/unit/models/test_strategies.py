"""Each kind of failure leads to exactly its strategy."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import pytest
from tests.unit.models.stages import Next, Waits, ask, chain_of, context_of, failure, model_of

from quarterdeck.errors import ModelError, ModelErrorKind
from quarterdeck.models.fallback import Fallback
from quarterdeck.models.retry import Retry
from quarterdeck.models.strategies import TREATMENTS, Strategy, speaks_of_health

EXPECTED: dict[ModelErrorKind, tuple[Strategy, bool, bool]] = {
    # kind: strategy, recoverable, speaks against the model's health
    "unreachable": ("retry_now", True, True),
    "rate_limited": ("retry_later", True, True),
    "server": ("retry_later", True, True),
    "timeout": ("retry_later", True, True),
    "malformed": ("retry_changed", True, False),
    "too_long": ("fall_back", True, False),
    "circuit_open": ("fall_back", True, False),
    "no_key": ("fall_back", False, False),
    "no_quota": ("fall_back", False, False),
    "no_model": ("fall_back", False, False),
    "no_weights": ("fall_back", False, False),
    "refused": ("abandon", False, False),
    "unknown_price": ("abandon", False, False),
    "unpinned": ("abandon", False, False),
}


def test_every_kind_has_a_treatment_with_a_reason() -> None:
    assert set(TREATMENTS) == set(EXPECTED) == set(get_args(ModelErrorKind))
    assert {kind: (one.strategy, one.recoverable, one.unhealthy) for kind, one in TREATMENTS.items()} == EXPECTED
    assert all(one.why for one in TREATMENTS.values())


def test_the_page_says_what_is_done() -> None:
    page = (Path(__file__).parents[3] / "docs" / "failures.md").read_text(encoding="utf-8")
    told = re.findall(r"^\| `(\w+)` \| `(\w+)` \| (yes|no) \| (yes|no)", page, re.MULTILINE)
    assert [
        (kind, strategy, recoverable == "yes", health == "yes") for kind, strategy, recoverable, health in told
    ] == [(kind, *treatment) for kind, treatment in EXPECTED.items()]


@pytest.mark.parametrize("kind", EXPECTED)
async def test_each_kind_leads_to_exactly_its_strategy(kind: ModelErrorKind) -> None:
    """What the stages really do, seen from outside: which model is asked again, how, after what wait, who is next."""
    provider, waits = Next(first=[failure(kind)] * 9), Waits()
    port = Fallback(Retry(provider, sleep=waits), chain_of(model_of("first"), model_of("second")))
    try:
        reply = await port.complete(ask(), context_of())
    except ModelError as error:
        assert error.kind == kind
        answered = ""
    else:
        answered = reply.model
    asked = [request.model for request in provider.requests]
    changed = provider.requests[1].stream is False if len(asked) > 1 else False
    seen = {
        "retry_now": (["first"] * 3 + ["second"], 1, False, "second"),
        "retry_later": (["first"] * 3 + ["second"], 2, False, "second"),
        "retry_changed": (["first"] * 2 + ["second"], 0, True, "second"),
        "fall_back": (["first", "second"], 0, False, "second"),
        "abandon": (["first"], 0, False, ""),
    }
    assert (asked, len(waits.seconds), changed, answered) == seen[EXPECTED[kind][0]]


def test_a_rate_limit_that_says_when_to_come_back_speaks_of_no_illness() -> None:
    assert speaks_of_health(failure("rate_limited"))
    assert not speaks_of_health(failure("rate_limited", retry_after=0.0))
    assert speaks_of_health(failure("server", retry_after=7.0))
