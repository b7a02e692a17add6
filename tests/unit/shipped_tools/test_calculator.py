"""Arithmetic that is exact where it can be, and runs nothing."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quarterdeck.errors import ToolError
from quarterdeck.tools.arithmetic import calculate
from quarterdeck.tools.loading import Toolbox

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize(
    ("expression", "value", "exact"),
    [
        ("0.1 + 0.2", "0.3", True),
        ("140.00 - 140", "0", True),
        ("round(1182 * 1.19 / 12, 2)", "117.22", True),
        ("2 ** 10", "1024", True),
        ("-7 // 2", "-4", True),
        ("-7 % 3", "2", True),
        ("7 % -3", "-2", True),
        ("1_000 * 3", "3000", True),
        ("1.23456789012345678901234567890123", "1.23456789012345678901234567890123", True),
        ("round(2.5)", "3", True),
        ("sqrt(2)", "1.4142135623730950488016887242096980785696718753769", False),
        ("max(1, 2) + min(3, 4)", "5", True),
        ("10 / 3", "3." + "3" * 49, False),
        ("mean(1, 2, 3, 4)", "2.5", True),
        ("floor(-1.5) + ceil(1.2)", "0", True),
        ("0xff", "255", True),
        ("1e3", "1000", True),
        ("2 ** -1", "0.5", True),
        ("ln(e ** 2)", None, False),
    ],
)
def test_values(expression: str, value: str | None, exact: bool) -> None:
    computed, was_exact = calculate(expression)
    assert was_exact is exact
    assert value is None or computed == value


@pytest.mark.parametrize(
    "expression",
    [
        "__import__('os').system('id')",
        "().__class__",
        "open('x')",
        "(lambda: 1)()",
        "[1] * 10",
        "'a' * 9",
        "True + 1",
        "1 if 1 else 2",
        "x := 1",
        "abs.__self__",
        "max(*[1])",
        "round(1, ndigits=2)",
        "1 < 2",
        "f'{1}'",
        "9 ** 9 ** 9",
        "2 ** 10001",
        "1 / 0",
        "1 % 0",
        "1 // 0",
        "ln(0)",
        "0 ** -1",
        "sqrt(-1)",
        "(-8) ** 0.5",
        "(" * 300,
        "1" * 1001,
        "+".join(["1"] * 500),
        "-" * 400 + "1",
        "1j",
        "2 ^ 3",
        "",
        "import os",
        "1; 2",
        "1e99999 * 1e99999",
        "round(1, 10 ** 9)",
        "nan",
        "inf",
        "print(1)",
        "a" * 50,
        "abs()",
        "\0",
        "20% of 50",
        "sum(x for x in (1,))",
        "1\n2",
        "exp(10 ** 9)",
        "not 1",
        "~1",
        "1 << 9999",
    ],
)
def test_what_is_no_arithmetic_is_refused(expression: str) -> None:
    with pytest.raises(ToolError):
        calculate(expression)


@given(st.integers(-(10**9), 10**9), st.integers(-(10**9), 10**9), st.sampled_from(["+", "-", "*", "//", "%"]))
def test_whole_numbers_are_reckoned_as_python_does(left: int, right: int, operator: str) -> None:
    if operator in ("//", "%") and right == 0:
        return
    wanted = {"+": left + right, "-": left - right, "*": left * right}
    value, exact = calculate(f"({left}) {operator} ({right})")
    told = wanted[operator] if operator in wanted else left // right if operator == "//" else left % right
    assert Fraction(value) == Fraction(told) and exact


@given(st.text(max_size=40))
def test_any_text_gives_a_value_or_a_tool_error(text: str) -> None:
    try:
        calculate(text)
    except ToolError:
        pass


def test_the_tool() -> None:
    compute = Toolbox.load([ROOT / "tools"], display_root=ROOT)["calculator.compute"]
    assert compute.function(expression="6 * 7") == {"value": "42", "exact": True}
