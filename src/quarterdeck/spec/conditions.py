"""The conditions of `when`, `until` and `only`: names, comparisons, `and`, `or`, `not`, `in` and `len()`.

A condition is parsed to a syntax tree and walked; nothing in it is ever executed.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from pydantic import BaseModel

MAX_LENGTH = 500
MAX_DEPTH = 20

MISSING: Final = object()
"""What `find` returns for a name that is not there (None may be a value)."""

_CONSTANTS = {"true": True, "false": False, "null": None, "none": None}
_COMPARISONS: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.In: lambda left, right: left in right,
    ast.NotIn: lambda left, right: left not in right,
}


@dataclass(frozen=True, slots=True)
class Condition:
    """A checked condition.

    Attributes:
        text: As it was written.
        names: The dotted names that it reads.
    """

    text: str
    names: frozenset[str]
    _tree: ast.expr = field(repr=False, compare=False)

    @classmethod
    def parse(cls, text: str) -> Condition:
        """Check a condition.

        Args:
            text: Such as `review.all_answered and len(gather.facts) >= 3`.

        Raises:
            ValueError: It is not a condition of this language; the message says what is.
        """
        if len(text) > MAX_LENGTH:
            raise ValueError(f"longer than {MAX_LENGTH} characters")
        # A backslash or a line break could only stand in a literal, and makes Python's parser warn.
        if "\\" in text or "\0" in text:
            raise ValueError("a condition holds no backslashes")
        try:
            tree = ast.parse(" ".join(text.split()), mode="eval").body
        except (SyntaxError, ValueError, RecursionError, MemoryError, Warning):
            raise ValueError(
                "not a condition; write names, comparisons, and, or, not, in, len(), such as: review.score >= 0.6"
            ) from None
        return cls(text, frozenset(_check(tree, 0)), tree)

    def holds(self, values: Mapping[str, Any]) -> bool:
        """Return whether it is true of the values. A name that is missing makes its comparison false."""
        return _true(_evaluate(self._tree, values))

    def decide(self, values: Mapping[str, Any]) -> bool | None:
        """Return whether it is true of the values, for rules that must not guess.

        Returns:
            None where that cannot be told: a name is missing, or what is compared is of kinds that do not compare.
        """
        return _decide(self._tree, values)


def find(dotted: str, values: Mapping[str, Any]) -> Any:
    """Return what stands at a dotted name such as `gather.facts`, or `MISSING`.

    Looks into mappings and the declared fields of pydantic models, never at other attributes.
    """
    found: Any = values
    for part in dotted.split("."):
        if isinstance(found, Mapping) and part in found:
            found = found[part]
        elif isinstance(found, BaseModel) and part in type(found).model_fields:
            found = getattr(found, part)
        else:
            return MISSING
    return found


def lookup(dotted: str, values: Mapping[str, Any]) -> Any:
    """Return what stands at a dotted name, or None when there is nothing."""
    found = find(dotted, values)
    return None if found is MISSING else found


def _check(node: ast.expr, depth: int) -> Iterator[str]:
    """Yield the names that the tree reads; refuse what is not of the language."""
    if depth > MAX_DEPTH:
        raise ValueError(f"nested deeper than {MAX_DEPTH} levels")
    if isinstance(node, ast.Name | ast.Attribute):
        name = _dotted(node)
        if name not in _CONSTANTS:
            yield name
    elif isinstance(node, ast.Constant):
        if not isinstance(node.value, str | int | float | None):
            raise ValueError("only text, numbers, True, False and None can be compared with")
    else:
        for child in _children(node):
            yield from _check(child, depth + 1)


def _children(node: ast.expr) -> list[ast.expr]:
    match node:
        case ast.BoolOp(values=values):
            return values
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            return [operand]
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float()) as number):
            return [number]
        case ast.Compare(left=left, ops=ops, comparators=comparators) if all(type(op) in _COMPARISONS for op in ops):
            return [left, *comparators]
        case ast.List(elts=items) | ast.Tuple(elts=items):
            return items
        case ast.Call(func=ast.Name(id="len"), args=[argument], keywords=[]) if not isinstance(argument, ast.Starred):
            return [argument]
        case ast.Call():
            raise ValueError("the only function in a condition is len()")
        case ast.BinOp(op=ast.Sub()):
            raise ValueError("no arithmetic in a condition; a name used in one is written with _ instead of -")
        case _:
            raise ValueError(f'"{ast.unparse(node)[:60]}" cannot stand in a condition')


def _dotted(node: ast.expr) -> str:
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    if not isinstance(node, ast.Name):
        raise ValueError("only names have fields, such as: review.all_answered")
    return ".".join([node.id, *reversed(parts)])


def _true(value: Any) -> bool:
    return value is not MISSING and bool(value)


def _evaluate(node: ast.expr, values: Mapping[str, Any]) -> Any:
    match node:
        case ast.Constant(value=value):
            return value
        case ast.Name() | ast.Attribute():
            name = _dotted(node)
            return _CONSTANTS[name] if name in _CONSTANTS else find(name, values)
        case ast.BoolOp(op=ast.And(), values=parts):
            return all(_true(_evaluate(part, values)) for part in parts)
        case ast.BoolOp(values=parts):
            return any(_true(_evaluate(part, values)) for part in parts)
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            return not _true(_evaluate(operand, values))
        case ast.UnaryOp(operand=ast.Constant(value=int() | float() as number)):
            return -number
        case ast.Compare():
            return _compare(node, values)
        case ast.List(elts=items) | ast.Tuple(elts=items):
            return [_evaluate(item, values) for item in items]
        case ast.Call(args=[argument]):
            counted = _evaluate(argument, values)
            return len(counted) if isinstance(counted, str | list | tuple | Mapping) else MISSING
        case _:  # pragma: no cover: `_check` let nothing else in
            return MISSING


def _compare(node: ast.Compare, values: Mapping[str, Any]) -> bool:
    left = _evaluate(node.left, values)
    for comparison, comparator in zip(node.ops, node.comparators, strict=True):
        right = _evaluate(comparator, values)
        if left is MISSING or right is MISSING:
            return False
        try:
            if not _COMPARISONS[type(comparison)](left, right):
                return False
        except TypeError:  # such as text < 3
            return False
        left = right
    return True


class _Undecided(Exception):
    """A value is missing, or has no order with another; never leaves this file."""


def _decide(node: ast.expr, values: Mapping[str, Any]) -> bool | None:
    """Return what a condition comes to whatever the unknown values are, and None where it hangs on them."""
    match node:
        case ast.BoolOp(op=op, values=parts):
            found = [_decide(part, values) for part in parts]
            settles = isinstance(op, ast.Or)
            return settles if settles in found else None if None in found else not settles
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            decided = _decide(operand, values)
            return None if decided is None else not decided
    try:
        return _decide_compare(node, values) if isinstance(node, ast.Compare) else bool(_known(node, values))
    except _Undecided:
        return None


def _decide_compare(node: ast.Compare, values: Mapping[str, Any]) -> bool:
    left = _known(node.left, values)
    for comparison, comparator in zip(node.ops, node.comparators, strict=True):
        right = _known(comparator, values)
        if isinstance(comparison, ast.Eq | ast.NotEq) and isinstance(left, str) != isinstance(right, str):
            if left is not None and right is not None:  # such as "140" == 140
                raise _Undecided
        try:
            if not _COMPARISONS[type(comparison)](left, right):
                return False
        except (TypeError, ArithmeticError):
            raise _Undecided from None
        left = right
    return True


def _known(node: ast.expr, values: Mapping[str, Any]) -> Any:
    match node:
        case ast.BoolOp() | ast.Compare() | ast.UnaryOp(op=ast.Not()):
            value: Any = _decide(node, values)
            if value is None:
                raise _Undecided
            return value
        case ast.List(elts=items) | ast.Tuple(elts=items):
            return [_known(item, values) for item in items]
        case ast.Call(args=[argument]):
            _known(argument, values)
    value = _evaluate(node, values)
    if value is MISSING or value != value:  # not a number has no order
        raise _Undecided
    return value
