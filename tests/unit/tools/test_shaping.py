from __future__ import annotations

import dataclasses
import datetime
import json
import math
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from quarterdeck.tools.shaping import LIMIT_BYTES, shape


class Model(BaseModel):
    when: datetime.date


@dataclasses.dataclass
class Data:
    path: Path
    models: list[Model]


def test_whatever_a_tool_returns_becomes_data() -> None:
    day = datetime.date(2026, 11, 21)
    result = {
        1: Data(Path("a/b"), [Model(when=day)]),
        "bytes": b"12345",
        "set": {"b", "a"},
        "money": Decimal("1.50"),
        "error": ValueError("no"),
        "odd": range(2),
    }
    assert shape(result) == {
        "1": {"path": "a/b", "models": [{"when": "2026-11-21"}]},
        "bytes": "[5 bytes]",
        "set": ["a", "b"],
        "money": "1.50",
        "error": "ValueError: no",
        "odd": [0, 1],
    }


def test_a_long_text_is_cut_and_says_so() -> None:
    shaped = shape("x" * 50_000, 1000)
    assert shaped.startswith("xxx") and "of 50,000 characters]" in shaped and len(shaped) <= 1000
    assert len(shaped) > 900


def test_a_long_list_keeps_its_beginning_and_says_what_is_missing() -> None:
    shaped = shape([{"n": number} for number in range(10_000)], 2000)
    assert shaped[0] == {"n": 0}
    assert shaped[-1] == f"[cut: {10_000 - len(shaped) + 1:,} more of 10,000]"
    wide = shape({f"k{number}": "v" * 10 for number in range(1000)}, 2000)
    assert wide["k0"] == "v" * 10 and "of 1,000" in wide["[cut]"]


def test_hostile_results_are_survived() -> None:
    loop: list[Any] = []
    loop += [loop, loop]
    assert len(json.dumps(shape(loop), separators=(",", ":"))) <= LIMIT_BYTES
    assert shape(10**30) == str(10**30)
    assert shape([10**100_000]) == ["[332193 bits]"]
    assert shape("\ud800") == "?"
    deep: Any = "end"
    for _ in range(500):
        deep = {"deeper": deep}
    assert "nested too deep" in json.dumps(shape(deep))


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=200) | st.binary(max_size=9),
    lambda inner: st.lists(inner, max_size=30) | st.dictionaries(st.text(max_size=150), inner, max_size=20),
    max_leaves=60,
)


@given(PLAIN, st.integers(256, 3000))
def test_the_limit_holds_for_anything(value: Any, limit: int) -> None:
    text = json.dumps(shape(value, limit), ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    assert len(text.encode()) <= limit


@given(st.recursive(st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=20), st.lists))
def test_what_is_small_and_plain_stays_as_it_is(value: Any) -> None:
    assert shape(value, 10**6) == value


def test_a_limit_must_leave_room_for_its_notes() -> None:
    with pytest.raises(ValueError, match="256"):
        shape("x", 10)
    assert math.isclose(shape(1.5e300), 1.5e300)
