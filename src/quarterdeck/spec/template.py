"""Placeholders in declared texts: `{topic}`, `{gather.facts}`. Any other braces, such as JSON's, are left alone."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from quarterdeck.spec.conditions import MISSING, find

# A name in doubled braces belongs to some other template language.
_PLACEHOLDER = re.compile(r"(?<!\{)\{([A-Za-z_][A-Za-z0-9_-]{0,63}(?:\.[A-Za-z_][A-Za-z0-9_-]{0,63}){0,7})\}(?!\})")


def placeholders(text: str) -> set[str]:
    """Return the names in braces, dots included."""
    return set(_PLACEHOLDER.findall(text))


def fill(text: str, values: Mapping[str, Any]) -> str:
    """Replace each placeholder whose name is known.

    What is put in is never searched for placeholders, so values may hold braces.

    Args:
        text: The declared text.
        values: By name; `{task.field}` is looked up key by key. Names that are not there stay as written.
    """

    def value(match: re.Match[str]) -> str:
        found = find(match.group(1), values)
        return match.group() if found is MISSING else as_text(found)

    return _PLACEHOLDER.sub(value, text)


def as_text(value: Any) -> str:
    """Return a value as it stands in a prompt: text as it is, nothing for None, JSON for everything else."""
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if isinstance(value, BaseModel):
        return value.model_dump_json()
    return json.dumps(value, ensure_ascii=False, default=_plain)


def _plain(value: Any) -> Any:
    return value.model_dump(mode="json") if isinstance(value, BaseModel) else str(value)
