"""Spots: where in the arguments of a call a scalar stands, such as `to[0]` or `headers.from`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from quarterdeck.governance.origins import scalar
from quarterdeck.governance.tokens import MAX_DEPTH

MAX_SPOTS = 2000


def spots(path: str, value: Any, declared: frozenset[str], depth: int = 0) -> Iterator[tuple[str, Any]]:
    """Yield each scalar of an argument with its path.

    Args:
        path: Of the argument.
        value: The argument, valid.
        declared: The names that the tool's schema itself has; any other key of a dict was somebody's choice too, and
            is yielded as a scalar.
        depth: How deep it is nested already.

    Raises:
        ValueError: It is nested too deep to be looked through.
    """
    if depth > MAX_DEPTH:
        raise ValueError(f"{path[:200]} is nested more than {MAX_DEPTH} deep")
    if isinstance(value, Mapping):
        for key, part in value.items():
            below = f"{path}.{key}"
            if str(key) not in declared:
                yield below, str(key)
            yield from spots(below, part, declared, depth + 1)
    elif isinstance(value, list | tuple | set | frozenset):
        for number, part in enumerate(value):
            yield from spots(f"{path}[{number}]", part, declared, depth + 1)
    else:
        yield path, scalar(value)


def declared_names(schema: Any, depth: int = 0) -> frozenset[str]:
    """Return the names of all properties that a JSON Schema declares, at any depth."""
    if depth > MAX_DEPTH or not isinstance(schema, dict | list):
        return frozenset()
    if isinstance(schema, list):
        return frozenset().union(*(declared_names(part, depth + 1) for part in schema))
    own = schema.get("properties")
    names = frozenset(own) if isinstance(own, dict) else frozenset()
    return names.union(*(declared_names(part, depth + 1) for part in schema.values()))
