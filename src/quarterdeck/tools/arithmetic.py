"""Arithmetic in decimal numbers. The expression is parsed and walked; nothing of it is ever run."""

from __future__ import annotations

import ast
import decimal
from collections.abc import Callable
from decimal import Decimal

from quarterdeck.errors import ToolError
from quarterdeck.spec.problem import did_you_mean

MAX_LENGTH = 1_000
MAX_NODES = 300
MAX_DEPTH = 40
MAX_POWER = 10_000
DIGITS = 50
_EXPONENT = 100_000
_CONSTANTS = {
    "pi": Decimal("3.14159265358979323846264338327950288419716939937511"),
    "e": Decimal("2.71828182845904523536028747135266249775724709369996"),
}


def calculate(expression: str) -> tuple[str, bool]:
    """Return the value of an expression, and whether it is exact to the last digit.

    Args:
        expression: At most 1,000 characters of numbers, operators, known functions and parentheses.

    Raises:
        ToolError: It is no such expression, divides by zero, or its value is too large; says what is wrong where.
    """
    if len(expression) > MAX_LENGTH:
        raise ToolError(f"The expression has {len(expression):,} characters, more than {MAX_LENGTH:,}.")
    try:
        tree = ast.parse(expression.strip(), mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise ToolError(f"This is no arithmetic expression: {getattr(error, 'msg', error)}.") from None
    if sum(1 for _ in ast.walk(tree)) > MAX_NODES:
        raise ToolError(f"The expression has more than {MAX_NODES} parts. Compute it in steps.")
    context = decimal.Context(
        prec=DIGITS, Emax=_EXPONENT, Emin=-_EXPONENT, rounding=decimal.ROUND_HALF_EVEN,
        traps=[decimal.InvalidOperation, decimal.DivisionByZero, decimal.Overflow],
    )  # fmt: skip
    with decimal.localcontext(context) as now:
        try:
            value = _Walk(expression.strip()).value(tree.body, 0)
        except decimal.DivisionByZero:
            raise ToolError("The expression divides by zero.") from None
        except decimal.Overflow:
            raise ToolError("The value is too large to be computed.") from None
        except decimal.InvalidOperation:
            raise ToolError("The expression has no value that can be computed to 50 digits.") from None
        if not value.is_finite():
            raise ToolError("The value is infinite.")
        return _written(value), not now.flags[decimal.Inexact]


class _Walk:
    def __init__(self, text: str) -> None:
        self._text = text

    def value(self, node: ast.expr, depth: int) -> Decimal:
        if depth > MAX_DEPTH:
            raise ToolError(f"The expression is nested more than {MAX_DEPTH} deep.")
        match node:
            case ast.Constant():
                return self._number(node)
            case ast.Name(id=name) if name in _CONSTANTS:
                decimal.getcontext().flags[decimal.Inexact] = True
                return +_CONSTANTS[name]
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                return -self.value(operand, depth + 1)
            case ast.UnaryOp(op=ast.UAdd(), operand=operand):
                return +self.value(operand, depth + 1)
            case ast.BinOp(op=op, left=left, right=right) if type(op) in _OPERATORS:
                return _OPERATORS[type(op)](self.value(left, depth + 1), self.value(right, depth + 1))
            case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]) if name in _FUNCTIONS:
                return _apply(name, [self.value(argument, depth + 1) for argument in arguments])
        raise ToolError(self._unknown(node))

    def _number(self, node: ast.Constant) -> Decimal:
        if isinstance(node.value, bool) or not isinstance(node.value, int | float):
            raise ToolError(self._unknown(node))
        if isinstance(node.value, int):
            return +Decimal(node.value)
        # from its digits: the float has lost some of them already
        return +Decimal((ast.get_source_segment(self._text, node) or repr(node.value)).replace("_", ""))

    def _unknown(self, node: ast.expr) -> str:
        shown = (ast.get_source_segment(self._text, node) or type(node).__name__)[:60]
        known = sorted([*_FUNCTIONS, *_CONSTANTS])
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitXor):
            return f"{shown}: write ** for a power."
        name = node.func.id if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) else shown
        return f"{shown} is not known here{did_you_mean(name, known) or '.'} There are: {', '.join(known)}."


def _apply(name: str, values: list[Decimal]) -> Decimal:
    least, most, function = _FUNCTIONS[name]
    if not least <= len(values) <= most:
        raise ToolError(f"{name} takes {least if least == most else f'{least} to {most}'} numbers, not {len(values)}.")
    return function(*values)


def _floored(left: Decimal, right: Decimal) -> tuple[Decimal, Decimal]:
    """Divide as Python's integers do; Decimal by itself rounds towards zero."""
    if not right:
        raise decimal.DivisionByZero
    whole, rest = divmod(left, right)
    return (whole - 1, rest + right) if rest and (rest < 0) != (right < 0) else (whole, rest)


def _power(base: Decimal, exponent: Decimal) -> Decimal:
    if abs(exponent) > MAX_POWER:
        raise ToolError(f"The exponent {_written(exponent)} is beyond {MAX_POWER:,}.")
    if base < 0 and exponent != exponent.to_integral_value():
        raise ToolError("A negative number has no real power with a fraction.")
    if base == 0 and exponent == 0:
        return Decimal(1)
    return base**exponent


def _rounded(value: Decimal, places: Decimal = Decimal(0)) -> Decimal:
    if places != places.to_integral_value() or abs(places) > DIGITS:
        raise ToolError(f"round takes a whole number of places up to {DIGITS}.")
    # people round halves away from zero; the places are part of the question, so rounding is no loss
    context = decimal.getcontext()
    inexact = context.flags[decimal.Inexact]
    result = value.quantize(Decimal(1).scaleb(-int(places)), rounding=decimal.ROUND_HALF_UP)
    context.flags[decimal.Inexact] = inexact
    return result


def _written(value: Decimal) -> str:
    if not value:
        return "0"
    if -20 <= value.adjusted() < DIGITS:
        text = format(value, "f")
        return text.rstrip("0").rstrip(".") if "." in text else text
    return str(value.normalize())


_OPERATORS: dict[type[ast.operator], Callable[[Decimal, Decimal], Decimal]] = {
    ast.Add: lambda left, right: left + right,
    ast.Sub: lambda left, right: left - right,
    ast.Mult: lambda left, right: left * right,
    ast.Div: lambda left, right: left / right,
    ast.FloorDiv: lambda left, right: _floored(left, right)[0],
    ast.Mod: lambda left, right: _floored(left, right)[1],
    ast.Pow: _power,
}
_FUNCTIONS: dict[str, tuple[int, int, Callable[..., Decimal]]] = {
    "abs": (1, 1, abs),
    "ceil": (1, 1, lambda value: value.to_integral_value(decimal.ROUND_CEILING)),
    "exp": (1, 1, lambda value: value.exp()),
    "floor": (1, 1, lambda value: value.to_integral_value(decimal.ROUND_FLOOR)),
    "ln": (1, 1, lambda value: value.ln()),
    "log10": (1, 1, lambda value: value.log10()),
    "max": (1, 100, max),
    "mean": (1, 100, lambda *values: sum(values, Decimal(0)) / len(values)),
    "min": (1, 100, min),
    "round": (1, 2, _rounded),
    "sqrt": (1, 1, lambda value: value.sqrt()),
    "sum": (1, 100, lambda *values: sum(values, Decimal(0))),
}
