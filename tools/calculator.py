"""Exact arithmetic: a model that computes in its head is wrong too often."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from quarterdeck.tools.arithmetic import MAX_LENGTH, calculate
from quarterdeck.tools.manifest import tool

__all__ = ["compute"]


@tool(effect="read", owner="quarterdeck", sinks={}, trusted=False, isolated=False)
def compute(expression: Annotated[str, Field(min_length=1, max_length=MAX_LENGTH)]) -> dict[str, Any]:
    """Compute an expression to 50 decimal digits, instead of in your head; `exact` says whether something was rounded.

    Args:
        expression: Numbers, + - * / // % ** and parentheses; abs, round, floor, ceil, sqrt, exp, ln, log10, min, max,
            sum, mean; pi and e. For example round(1182 * 1.19 / 12, 2).

    Returns:
        `value` and `exact`.
    """
    value, exact = calculate(expression)
    return {"value": value, "exact": exact}
