"""How far what is remembered is to be trusted, by its label of origin."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from quarterdeck.memory.item import Item

_SENSITIVE = " (sensitive)"
_NOT_TRUSTED = " (not trusted)"


def rank(item: Item) -> int:
    """Return how far a label of origin is to be trusted: a person, then a tool that is trusted, then all others."""
    origin = item.origin.removesuffix(_SENSITIVE)
    if origin in ("operator", "user", "person"):
        return 3
    return 2 if origin.startswith("tool:") and not origin.endswith(_NOT_TRUSTED) else 1
