"""What of a result reaches the agent: named paths, or what a function makes of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any


def project(value: Any, projection: tuple[str, ...] | Callable[[Any], Any]) -> Any:
    """Return the part of a result that its tool's manifest asks for.

    Args:
        value: JSON-able data.
        projection: Dotted paths such as `items.name`: the same data with nothing else in it. Lists are gone through
            and are no part of a path; a path that leads nowhere is left out. Or a function of the data.
    """
    if callable(projection):
        return projection(value)
    return _keep(value, _tree(projection))


def _tree(paths: tuple[str, ...]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for path in paths:
        node = tree
        for part in path.split("."):
            node = node.setdefault(part, {})
    return tree


def _keep(value: Any, tree: Mapping[str, Any]) -> Any:
    if not tree:
        return value
    if isinstance(value, list):
        return [_keep(item, tree) for item in value]
    if isinstance(value, dict):
        return {key: _keep(value[key], below) for key, below in tree.items() if key in value}
    return value
