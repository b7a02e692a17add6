"""The small language in which a crew file says what a task must give, and the models made from it.

`{title: string, score?: number, verdict: "yes | no", facts: [{claim: string, source: string}]}`
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, create_model

MAX_ITEMS = 50
MAX_TEXT = 4000
MAX_FIELDS = 50
MAX_DEPTH = 5

_FIELD = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,63}")
# Small models that are held to a schema write on without end where it names no end.
_SCALARS: dict[str, Any] = {
    "string": Annotated[str, Field(max_length=MAX_TEXT)],
    "number": Annotated[float, Field(allow_inf_nan=False)],
    "integer": int,
    "boolean": bool,
}


def _drop_titles(schema: dict[str, Any]) -> None:
    """Titles repeat the names: tokens for nothing."""
    schema.pop("title", None)
    for field in schema.get("properties", {}).values():
        field.pop("title", None)


class Output(BaseModel):
    """Base of the models made here."""

    model_config = ConfigDict(extra="forbid", protected_namespaces=(), json_schema_extra=_drop_titles)


def model_from_fields(name: str, fields: Mapping[str, Any]) -> type[BaseModel]:
    """Make the model of a declared output.

    Args:
        name: The task's name; becomes the model's.
        fields: By name `string`, `number`, `integer`, `boolean`, a choice `a | b`, a list `[kind]` or a mapping of
            fields. A name that ends in `?` may be left out.

    Raises:
        ValueError: A field is not of this language; the message names it.
    """
    return _model("".join(part.capitalize() for part in re.split(r"[_\W]+", name)) or "Output", fields, "", 0)


def _model(name: str, fields: Mapping[str, Any], where: str, depth: int) -> type[BaseModel]:
    if depth > MAX_DEPTH:
        raise ValueError(f"{where}: nested deeper than {MAX_DEPTH} levels")
    if not 0 < len(fields) <= MAX_FIELDS:
        raise ValueError(f"{where or 'output'}: between 1 and {MAX_FIELDS} fields, not {len(fields)}")
    declared: dict[str, Any] = {}
    for key, kind in fields.items():
        field = str(key).removesuffix("?")
        here = f"{where}.{field}" if where else field
        if not _FIELD.fullmatch(field):
            raise ValueError(f'"{here[:80]}" is no field name; write a letter, then letters, digits or _')
        if hasattr(Output, field):
            raise ValueError(f'"{here}" cannot name a field; choose another word')
        if field in declared:
            raise ValueError(f'"{here}" is declared twice')
        type_ = _type(f"{name}{field.title().replace('_', '')}", kind, here, depth)
        declared[field] = (type_ | None, None) if str(key).endswith("?") else (type_, ...)
    return create_model(name, __base__=Output, **declared)


def _type(name: str, kind: Any, where: str, depth: int) -> Any:
    if isinstance(kind, Mapping):
        return _model(name, kind, where, depth + 1)
    if isinstance(kind, list | tuple):
        if len(kind) != 1:
            raise ValueError(f"{where}: a list holds the kind of its items, once, such as [string]")
        if depth >= MAX_DEPTH:
            raise ValueError(f"{where}: nested deeper than {MAX_DEPTH} levels")
        return Annotated[list[_type(name, kind[0], where, depth + 1)], Field(max_length=MAX_ITEMS)]  # type: ignore[misc]
    if isinstance(kind, str) and kind in _SCALARS:
        return _SCALARS[kind]
    if isinstance(kind, str) and "|" in kind:
        return _choice(kind, where)
    raise ValueError(
        f'{where}: "{str(kind)[:60]}" is no kind; write string, number, integer, boolean, [string], "a | b" or fields'
    )


def _choice(kind: str, where: str) -> Any:
    options = tuple(option.strip() for option in kind.split("|"))
    if not all(options) or len(set(options)) != len(options) or len(options) > MAX_ITEMS:
        raise ValueError(f'{where}: a choice names at most {MAX_ITEMS} different words, such as "yes | no"')
    return Literal[options]
