from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from quarterdeck.spec.conditions import MISSING, Condition, find, lookup

VALUES: dict[str, Any] = {
    "all_answered": True,
    "review": {"score": 0.7, "gaps": ["wind"], "verdict": "yes"},
    "inputs": {"depth": 3},
    "n": -2,
}


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("all_answered", True),
        ("not all_answered", False),
        ("review.score >= 0.6", True),
        ("0 < review.score < 0.5", False),
        ("len(review.gaps) == 1 and review.verdict == 'yes'", True),
        ("'wind' in review.gaps or false", True),
        ("review.verdict not in ['no', 'maybe']", True),
        ("n == -2 and inputs.depth != 2", True),
        ("review.nothing", False),
        ("not review.nothing", True),
        ("review.nothing != 1", False),
        ("len(nothing) == 0", False),
        ("review.verdict > 3", False),
        ("1 in n", False),
        ("review.verdict.upper", False),
        ("review == null", False),
    ],
)
def test_what_holds(text: str, holds: bool) -> None:
    assert Condition.parse(text).holds(VALUES) is holds


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("", "not a condition"),
        ("a and", "not a condition"),
        ("x = 1", "not a condition"),
        ("open('x')", r"only function in a condition is len\(\)"),
        ("x.y()", r"only function in a condition is len\(\)"),
        ("len(*x)", r"only function"),
        ("code-review.ok", "_ instead of -"),
        ("x[0]", "cannot stand"),
        ("[y for y in x]", "cannot stand"),
        ("lambda: 1", "cannot stand"),
        ("(1).real", "only names have fields"),
        ("f'{x}'", "cannot stand"),
        ("x == b'1'", "only text"),
        ("'\\n' == x", "no backslashes"),
        ("not " * 100 + "x", "nested deeper"),
        ("x" * 501, "longer than 500"),
    ],
)
def test_what_is_refused(text: str, what: str) -> None:
    with pytest.raises(ValueError, match=what):
        Condition.parse(text)


def test_names() -> None:
    assert Condition.parse("a.b and len(c) > d and not true").names == {"a.b", "c", "d"}


class Review(BaseModel):
    ok: bool = True


def test_find_reaches_data_only() -> None:
    assert find("review.ok", {"review": Review()}) is True
    assert find("review.model_dump", {"review": Review()}) is MISSING
    assert find("review.__class__", {"review": Review()}) is MISSING
    assert lookup("review.nothing", VALUES) is None
    assert lookup("review.gaps", VALUES) == ["wind"]


words = st.sampled_from(
    ["a", "b.c", "and", "or", "not", "in", "len(", ")", "(", "==", "<", "1", "'x'", "[", "]", ",", "-"]
)


class Trap:
    def __getattr__(self, name: str) -> Any:
        raise AssertionError("an attribute was read")

    def __call__(self) -> None:
        raise AssertionError("it was called")


@settings(max_examples=300, deadline=None)
@given(st.one_of(st.text(max_size=80), st.lists(words, max_size=12).map(" ".join)))
def test_nothing_is_executed_and_only_value_errors_are_raised(text: str) -> None:
    try:
        condition = Condition.parse(text)
    except ValueError:
        return
    assert condition.holds({"a": Trap(), "b": {"c": 1}, "x": Trap()}) in (True, False)
