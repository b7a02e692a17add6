"""Reading the operations of an OpenAPI 3 document: what can be asked of an API, with which arguments."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

METHODS = ("get", "head", "post", "put", "patch", "delete")
MAX_OPERATIONS = 500
MAX_PARAMETERS = 60
MAX_DEPTH = 12
MAX_NODES = 2_000
"""Parts of one operation's schema, those that references repeat included."""

_LEFT_OUT = frozenset(
    {"example", "examples", "xml", "externalDocs", "discriminator", "deprecated", "title", "nullable"}
)
_OURS = frozenset({"authorization", "accept", "content-type", "content-length", "cookie", "host", "connection",
                   "transfer-encoding", "idempotency-key", "user-agent", "proxy-authorization"})  # fmt: skip
_NO_NAME = re.compile(r"[^A-Za-z0-9_]+")


class Unusable(Exception):
    """A document or an operation that no tool can be made of; the text says why."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """One argument that is not the body.

    Attributes:
        argument: As the tool calls it.
        name: As the API calls it.
        place: `path`, `query` or `header`.
        explode: Whether the items of a list stand in a query each for itself.
    """

    argument: str
    name: str
    place: str
    explode: bool


@dataclass(frozen=True, slots=True)
class Operation:
    """Something that an API can be asked to do.

    Attributes:
        name: The operationId, with letters, digits and underscores only.
        method: In capitals.
        path: Such as `/pets/{id}`.
        schema: JSON Schema of all arguments; that of a JSON body is `body`.
    """

    name: str
    method: str
    path: str
    description: str
    parameters: tuple[Parameter, ...]
    has_body: bool
    schema: dict[str, Any]


def operations(document: Any) -> tuple[list[Operation], dict[str, str]]:
    """Return the operations of a document, and why some of it are none, by name.

    Args:
        document: The document's data.

    Raises:
        Unusable: It is no OpenAPI 3 document.
    """
    if not isinstance(document, Mapping) or not str(document.get("openapi", "")).startswith("3."):
        raise Unusable('no OpenAPI 3 document: it must say "openapi: 3..."')
    paths = document.get("paths")
    if not isinstance(paths, Mapping):
        raise Unusable("it has no paths")
    found: dict[str, Operation] = {}
    unusable: dict[str, str] = {}
    for path, method, shared, declared in _declared(paths, document):
        name = _NO_NAME.sub("_", str(declared.get("operationId") or f"{method}_{path}")).strip("_")[:64]
        if name in found or not name[:1].isalpha():
            unusable[name] = "two operations have this name" if name in found else "an operationId begins with a letter"
            continue
        if len(found) >= MAX_OPERATIONS:
            raise Unusable(f"it has more than {MAX_OPERATIONS} operations")
        try:
            found[name] = _operation(
                name, method, path, [*shared, *_list(declared.get("parameters"))], declared, document
            )
        except Unusable as why:
            unusable[name] = str(why)
    return list(found.values()), unusable


def _declared(paths: Mapping[str, Any], document: Any) -> Iterator[tuple[str, str, list[Any], Mapping[str, Any]]]:
    for path, item in paths.items():
        item = _followed(item, document)
        if isinstance(item, Mapping) and path.startswith("/"):
            for method in METHODS:
                if isinstance(item.get(method), Mapping):
                    yield path, method, _list(item.get("parameters")), item[method]


def _operation(
    name: str, method: str, path: str, declared: list[Any], operation: Mapping[str, Any], document: Any
) -> Operation:
    schema = _Schema(document)
    properties: dict[str, Any] = {}
    required: list[str] = []
    parameters: dict[tuple[str, str], Parameter] = {}
    for raw in declared:
        made, part, needed = _parameter(_followed(raw, document), properties, parameters, schema)
        if made is not None:
            parameters[made.place, made.name] = made
            properties[made.argument] = part
            required += [made.argument] if needed and made.argument not in required else []
    if len(parameters) > MAX_PARAMETERS:
        raise Unusable(f"it has more than {MAX_PARAMETERS} parameters")
    in_path = {made.name for made in parameters.values() if made.place == "path"}
    if in_path != set(re.findall(r"{([^{}]+)}", path)):
        raise Unusable(f"the parameters of {path} are not all declared")
    body = _body(_followed(operation.get("requestBody"), document), schema)
    if body is not None:
        properties["body"], needed = body
        required += ["body"] if needed else []
    text = str(operation.get("summary") or "") + "\n" + str(operation.get("description") or "")
    return Operation(
        name=name,
        method=method.upper(),
        path=path,
        description=" ".join(text.split())[:1000] or f"{method.upper()} {path}",
        parameters=tuple(parameters.values()),
        has_body=body is not None,
        schema={"type": "object", "properties": properties, "required": required, "additionalProperties": False},
    )


def _parameter(
    raw: Any, properties: Mapping[str, Any], known: Mapping[tuple[str, str], Parameter], schema: _Schema
) -> tuple[Parameter | None, dict[str, Any], bool]:
    if not isinstance(raw, Mapping) or not isinstance(raw.get("name"), str):
        raise Unusable("a parameter has no name")
    name, place = raw["name"], raw.get("in")
    needed = bool(raw.get("required")) or place == "path"
    if place == "cookie" or (place == "header" and name.lower() in _OURS):
        return None, {}, False  # the tool's own business; no model sets these
    if place not in ("path", "query", "header"):
        raise Unusable(f'parameter "{name}" stands in {place}')
    part = schema.part(raw.get("schema", {}))
    style = raw.get("style", "form" if place == "query" else "simple")
    if "content" in raw or style not in ("form", "simple") or part.get("type") == "object":
        if needed:
            raise Unusable(f'parameter "{name}" is no plain value or list')
        return None, {}, False
    if raw.get("description"):
        part["description"] = " ".join(str(raw["description"]).split())[:500]
    held = known.get((place, name))
    argument = held.argument if held else _argument(name, place, properties)
    return Parameter(argument, name, place, bool(raw.get("explode", style == "form"))), part, needed


def _argument(name: str, place: str, properties: Mapping[str, Any]) -> str:
    """Return a name that models and Python can use, and that no other argument has."""
    plain = _NO_NAME.sub("_", name).strip("_")[:50] or "value"
    taken = {*properties, "body", "context"}
    if plain not in taken:
        return plain
    return next(other for n in ("", *range(2, 99)) if (other := f"{plain}_in_{place}{n}") not in taken)


def _body(raw: Any, schema: _Schema) -> tuple[dict[str, Any], bool] | None:
    if not isinstance(raw, Mapping):
        return None
    content = raw.get("content")
    kinds = content if isinstance(content, Mapping) else {}
    kind = next((kind for kind in kinds if str(kind).partition(";")[0].strip() == "application/json"), None)
    if kind is None:
        if raw.get("required"):
            raise Unusable("its body is not JSON")
        return None
    declared = kinds[kind]
    part = schema.part(declared.get("schema") if isinstance(declared, Mapping) else {})
    part.setdefault("description", " ".join(str(raw.get("description") or "The request's JSON body.").split())[:500])
    return part, bool(raw.get("required"))


class _Schema:
    """Writes schemas out without references, within one operation's bounds."""

    def __init__(self, document: Any) -> None:
        self._document = document
        self._nodes = 0

    def part(self, node: Any) -> dict[str, Any]:
        written = self._write(node, (), 0)
        return written if isinstance(written, dict) else {}

    def _write(self, node: Any, inside: tuple[str, ...], depth: int, *, named: bool = False) -> Any:
        self._nodes += 1
        if self._nodes > MAX_NODES:
            raise Unusable(f"its schema has more than {MAX_NODES:,} parts")
        if isinstance(node, list):
            return [self._write(item, inside, depth) for item in node]
        if not isinstance(node, Mapping):
            return node
        if not named and isinstance(node.get("$ref"), str):
            reference = node["$ref"]
            if reference in inside or depth > MAX_DEPTH:
                return {}  # a type within itself: below here anything is taken
            return self._write(_at(reference, self._document), (*inside, reference), depth + 1)
        if depth > 4 * MAX_DEPTH:
            raise Unusable("its schema is nested too deep")
        written = {
            key: self._write(value, inside, depth + 1, named=key in ("properties", "patternProperties") and not named)
            for key, value in node.items()
            if named or not (key in _LEFT_OUT or str(key).startswith("x-"))
        }
        return written if named else _modern(written, nullable=node.get("nullable") is True)


def _modern(node: dict[str, Any], *, nullable: bool) -> dict[str, Any]:
    """Return a schema of OpenAPI 3.0 in the words of JSON Schema, which 3.1 uses too."""
    for bound, exclusive in (("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum")):
        if isinstance(node.get(exclusive), bool) and node.pop(exclusive) and bound in node:
            node[exclusive] = node.pop(bound)
    if nullable and isinstance(node.get("type"), str):
        node["type"] = [node["type"], "null"]
        if isinstance(node.get("enum"), list) and None not in node["enum"]:
            node["enum"] = [*node["enum"], None]
    return node


def _followed(node: Any, document: Any) -> Any:
    """Return what a node stands for: itself, or what it refers to."""
    for _ in range(MAX_DEPTH):
        if not isinstance(node, Mapping) or not isinstance(node.get("$ref"), str):
            return node
        node = _at(node["$ref"], document)
    raise Unusable("a reference leads in circles")


def _at(reference: str, document: Any) -> Any:
    if not reference.startswith("#/"):
        raise Unusable(f'it refers to another document ("{reference[:80]}"); put that part into this one')
    node = document
    for part in reference[2:].split("/"):
        key = part.replace("~1", "/").replace("~0", "~")
        if not isinstance(node, Mapping) or key not in node:
            raise Unusable(f'it refers to "{reference[:80]}", which is not there')
        node = node[key]
    return node


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
