"""Making whatever a tool returned JSON-able and small enough to be journaled and shown to a model."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import orjson
from pydantic import BaseModel

LIMIT_BYTES = 16_000
_NOTE = 64
"""Room kept for a note on what was cut, in bytes."""
_DEPTH = 32


def shape(result: Any, limit_bytes: int = LIMIT_BYTES) -> Any:
    """Return a result as JSON-able data of a bounded size.

    Args:
        result: What a tool returned: plain data, pydantic models, dataclasses, paths, dates, bytes, anything.
        limit_bytes: What its JSON text may be at most. What does not fit is cut, and a note says how much.

    Raises:
        ValueError: The limit is below 256 bytes.
    """
    if limit_bytes < 256:
        raise ValueError("limit_bytes must be at least 256")
    try:
        data = orjson.dumps(result, default=_plain, option=orjson.OPT_NON_STR_KEYS)
    except (TypeError, ValueError, RecursionError):
        return _cut(result, limit_bytes, 0)  # something orjson has no word for; taken apart by hand
    plain = orjson.loads(data)
    return plain if len(data) <= limit_bytes else _cut(plain, limit_bytes, 0)


def _plain(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if isinstance(value, bytes | bytearray | memoryview):
        return f"[{len(value):,} bytes]"
    if isinstance(value, set | frozenset):
        return sorted(value, key=str)
    if isinstance(value, BaseException):
        return f"{type(value).__name__}: {value}"
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, range | tuple):
        return list(value)
    return str(value)


def _cut(value: Any, room: int, depth: int) -> Any:
    """Return `value` so that its JSON text takes at most `room` bytes, which are at least `_NOTE`."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return _cut_text(value, room)
    if isinstance(value, int | float):
        fits = abs(value) < 2**63 if isinstance(value, int) else math.isfinite(value)
        return value if fits else _cut_text(_digits(value), room)
    if depth > _DEPTH:
        return "[cut: nested too deep]"
    if isinstance(value, Mapping):
        return _cut_mapping(value, room, depth)
    if isinstance(value, list | tuple | set | frozenset):
        return _cut_list(value, room, depth)
    return _cut(_plain(value), room, depth + 1)


def _cut_list(items: Any, room: int, depth: int) -> list[Any]:
    kept: list[Any] = []
    left = room - 2 - _NOTE
    for item in items:
        if left <= _NOTE:
            kept.append(f"[cut: {len(items) - len(kept):,} more of {len(items):,}]")
            break
        part = _cut(item, left - 1, depth + 1)
        kept.append(part)
        left -= _size(part) + 1
    return kept


def _cut_mapping(items: Mapping[Any, Any], room: int, depth: int) -> dict[str, Any]:
    kept: dict[str, Any] = {}
    left = room - 2 - _NOTE
    for key, item in items.items():
        name = _cut_text(str(key), 128)
        space = left - _size(name) - 2
        if space <= _NOTE:
            kept["[cut]"] = f"{len(items) - len(kept):,} more of {len(items):,}"
            break
        kept[name] = _cut(item, space, depth + 1)
        left = space - _size(kept[name])
    return kept


def _cut_text(text: str, room: int) -> str:
    text = text.encode("utf-8", "replace").decode("utf-8")
    if _size(text) <= room:
        return text
    keep = min(len(text), room)
    while keep > 0:
        shorter = f"{text[:keep]} [cut: {len(text) - keep:,} of {len(text):,} characters]"
        over = _size(shorter) - room
        if over <= 0:
            return shorter
        keep -= max(1, over // 6)  # no character takes more than six bytes of JSON
    return "[cut]"


def _digits(value: float) -> str:
    # Python refuses to write out very long integers, and takes quadratic time for long ones
    return str(value) if not isinstance(value, int) or value.bit_length() < 4096 else f"[{value.bit_length()} bits]"


def _size(value: Any) -> int:
    return len(orjson.dumps(value))
