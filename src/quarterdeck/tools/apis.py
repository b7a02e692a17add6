"""Operations of HTTP APIs as tools. Where a call goes is the operator's word; a model fills in the arguments."""

from __future__ import annotations

import base64
import re
from collections.abc import Awaitable, Callable, Iterable
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

from quarterdeck.errors import ToolError
from quarterdeck.tools.egress import MAX_URL, Request
from quarterdeck.tools.manifest import Manifest
from quarterdeck.tools.services import Service, as_json, secret, service_reach
from quarterdeck.tools.tool import Tool, ToolContext

if TYPE_CHECKING:
    from quarterdeck.spec.governance import Effect, SinkKind
    from quarterdeck.spec.services import ApiSpec, AuthSpec
    from quarterdeck.tools.openapi import Operation, Parameter

_EFFECTS: dict[str, Effect] = {"GET": "read", "HEAD": "read", "DELETE": "irreversible"}
"""By method; every other one is `external` until the operator classifies the tool."""
_REPEATABLE = frozenset({"GET", "HEAD", "PUT", "DELETE"})
"""Methods that RFC 9110 calls idempotent."""
_MAX_VALUE = 2_000
_ALL_SINKS: SinkKind = "other"
"""Whatever is asked of a service is sent to it: reading is free until the run has read something sensitive."""


def tools_of(name: str, spec: ApiSpec, operations: Iterable[Operation]) -> list[Tool]:
    """Return the operations of an API as tools `name.operationId`.

    Args:
        name: The API's name in `config/services.yaml`.
        spec: What is declared of it.
        operations: What its document offers.
    """
    chosen = [one for one in operations if any(fnmatchcase(one.name, pattern) for pattern in spec.operations)]
    return [_tool(name, spec, operation) for operation in chosen]


def _tool(name: str, spec: ApiSpec, operation: Operation) -> Tool:
    effect = _EFFECTS.get(operation.method, "external")
    arguments = operation.schema["properties"]
    return Tool(
        name=f"{name}.{operation.name}",
        description=operation.description,
        parameters=operation.schema,
        function=_caller(name, spec, operation),
        takes_context=True,
        timeout=spec.seconds + 5.0,
        manifest=Manifest(
            effect=effect,
            owner=spec.owner,
            sinks=dict.fromkeys(arguments, _ALL_SINKS),
            timeout=spec.seconds + 5.0,
            idempotent=operation.method in _REPEATABLE,
        ),
    )


def _caller(name: str, spec: ApiSpec, operation: Operation) -> Callable[..., Awaitable[Any]]:
    async def call(*, context: ToolContext, **arguments: Any) -> Any:
        headers, query, secrets = _authorised(spec.auth)
        url = spec.base_url.rstrip("/") + _path(operation, arguments)
        found, sent = _given(operation.parameters, arguments)
        if query + found:
            url += "?" + urlencode(found + query)
        if len(url) > MAX_URL:
            raise ToolError(f"The arguments make an address of {len(url):,} characters, more than {MAX_URL:,}.")
        headers = {**sent, **headers, "Accept": "application/json"}
        body = None
        if operation.has_body and "body" in arguments:
            headers["Content-Type"] = "application/json"
            body = as_json(arguments["body"])
        if operation.method not in ("GET", "HEAD"):
            headers["Idempotency-Key"] = context.idempotency_key
        service = Service(f"{name}.{operation.name}", service_reach(spec.base_url, private=spec.private), secrets)
        request = Request(operation.method, url, headers, body, max_bytes=spec.max_bytes, seconds=spec.seconds)
        answer = await service.json(request)
        return {"done": f"{operation.method} {operation.path}"} if answer is None else answer

    return call


def _authorised(auth: AuthSpec | None) -> tuple[dict[str, str], list[tuple[str, str]], list[tuple[str, str]]]:
    """Return the headers, query pairs and secrets of a call; the environment is read here, at the time of the call."""
    if auth is None:
        return {}, [], []
    value = secret(auth.secret_env)
    secrets = [(auth.secret_env, value)]
    if auth.kind == "query":
        return {}, [(auth.name, value)], secrets
    if auth.kind == "header":
        return {auth.name: value}, [], secrets
    if auth.kind == "bearer":
        return {"Authorization": f"Bearer {value}"}, [], secrets
    encoded = base64.b64encode(value.encode()).decode()
    secrets += [(auth.secret_env, encoded), (auth.secret_env, value.partition(":")[2])]
    return {"Authorization": f"Basic {encoded}"}, [], secrets


def _path(operation: Operation, arguments: dict[str, Any]) -> str:
    """Return the path with its arguments, each of which stays within its own segment."""
    path = operation.path
    for parameter in operation.parameters:
        if parameter.place != "path":
            continue
        text = _text(arguments[parameter.argument])
        # some servers decode a segment before they cut the path, so an escaped ../ is no better than a plain one
        if not text or re.search(r"(?:^|[/\\])\.{1,2}(?:[/\\]|$)", text) or any(ord(letter) < 32 for letter in text):
            raise ToolError(f'"{parameter.argument}" must be a plain value: not empty, and no path of its own.')
        path = path.replace("{" + parameter.name + "}", quote(text, safe=""))
    return path


def _given(parameters: Iterable[Parameter], arguments: dict[str, Any]) -> tuple[list[tuple[str, str]], dict[str, str]]:
    """Return what of the arguments goes into the query, and what into headers."""
    query: list[tuple[str, str]] = []
    headers: dict[str, str] = {}
    for parameter in parameters:
        value = arguments.get(parameter.argument)
        if value is None or parameter.place == "path":
            continue
        if parameter.place == "header":
            headers[parameter.name] = _header(parameter.argument, _text(value))
        elif isinstance(value, list) and parameter.explode:
            query += [(parameter.name, _text(item)) for item in value]
        else:
            query.append((parameter.name, _text(value)))
    return query, headers


def _header(argument: str, text: str) -> str:
    if not all(32 <= ord(letter) < 127 for letter in text):
        raise ToolError(f'"{argument}" goes into a header and so must be one line of plain ASCII.')
    return text


def _text(value: Any) -> str:
    if isinstance(value, list):
        return ",".join(map(_text, value))
    text = str(value).lower() if isinstance(value, bool) else str(value)
    if len(text) > _MAX_VALUE:
        raise ToolError(f"A value has {len(text):,} characters, more than {_MAX_VALUE:,}.")
    return text.encode("utf-8", "replace").decode()
