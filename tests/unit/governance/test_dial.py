"""The dial of a deployment can be lowered by anybody, and raised by nobody but the operator."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest

from quarterdeck.errors import InputError
from quarterdeck.governance.dial import ORDER, dial_of, level_of, lowest
from quarterdeck.spec.governance import GovernanceConfig


def test_the_order_is_from_the_least_to_the_most() -> None:
    assert ORDER == ("shadow", "low", "medium", "high")
    assert lowest("high", None, "shadow", "low") == "shadow" and lowest("medium", None) == "medium"


def test_in_shadow_calls_are_judged_by_the_least_dial_behind_it() -> None:
    assert level_of("low", "high", "high") == "low" and level_of("high", "low") == "high"
    assert level_of("shadow") == level_of("shadow", "shadow", None) == "medium"
    assert level_of("shadow", None, "high") == "high" and level_of("shadow", "low", "high") == "low"


@pytest.mark.parametrize(("file", "asked"), list(product(ORDER, ORDER)))
@pytest.mark.parametrize("way", ["variable", "option"])
def test_it_can_only_be_lowered(file: Any, asked: Any, way: str) -> None:
    given = {"QUARTERDECK_AUTONOMY": asked} if way == "variable" else {}
    option = "" if given else asked
    if ORDER.index(asked) <= ORDER.index(file):
        assert dial_of(GovernanceConfig(autonomy=file), given, option) == asked
    else:
        with pytest.raises(InputError, match="may_raise: true"):
            dial_of(GovernanceConfig(autonomy=file), given, option)
    assert dial_of(GovernanceConfig(autonomy=file, may_raise=True), given, option) == asked


def test_the_option_cannot_raise_what_the_variable_has_lowered() -> None:
    with pytest.raises(InputError, match="--autonomy can lower"):
        dial_of(GovernanceConfig(autonomy="high"), {"QUARTERDECK_AUTONOMY": "low"}, "medium")


@pytest.mark.parametrize("wrong", ["medum", "HIGH", "autonomous", "4" * 1000])
def test_what_is_no_position_is_refused(wrong: str) -> None:
    with pytest.raises(InputError, match="no autonomy"):
        dial_of(GovernanceConfig(), {}, wrong)
    with pytest.raises(InputError, match="QUARTERDECK_AUTONOMY: no autonomy"):
        dial_of(GovernanceConfig(), {"QUARTERDECK_AUTONOMY": wrong})
