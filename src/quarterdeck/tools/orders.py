"""A call of a tool as data for another process, and what that process says of it."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
from pydantic_core import PydanticSerializationError

from quarterdeck.errors import ToolError
from quarterdeck.tools.places import address_of, address_outright, is_plain
from quarterdeck.tools.tool import RootFolder, ToolContext

if TYPE_CHECKING:
    from quarterdeck.spec.services import ServicesConfig
    from quarterdeck.tools.tool import Tool

_ENDS = frozenset({"SystemExit", "KeyboardInterrupt", "CancelledError", "GeneratorExit"})
"""Names of what is raised to end a program or a task, and is no failure."""


def order_of(tool: Tool, arguments: dict[str, Any], context: ToolContext | None) -> bytes | None:
    """Return a call as one line of JSON; None where the tool is not found again, or its arguments are more than data.

    Arguments that JSON does not keep as they are travel if the tool has types for them, and are validated again.

    Args:
        tool: What to call; its function may be a `partial`, as that of a look whether the world has changed.
        arguments: Validated.
        context: What it may know of the run.
    """
    outright = bool(tool.manifest.isolated)
    address = address_outright(tool.function) if outright else address_of(tool.function)
    if address is None:
        return None
    positional, keywords = _given(tool, arguments, context)
    where = [key for key, value in (*enumerate(positional), *keywords.items()) if isinstance(value, ToolContext)]
    known = next((value for value in (*positional, *keywords.values()) if isinstance(value, ToolContext)), None)
    positional = [None if at in where else value for at, value in enumerate(positional)]
    keywords = {name: value for name, value in keywords.items() if name not in where}
    validate = False
    if not is_plain(positional) or not is_plain(keywords):
        if tool.validator is None or positional or "method" in address:
            return None
        try:
            keywords = tool.validator.dump_python(keywords, mode="json", by_alias=True)
        except (PydanticSerializationError, ValueError):
            return None
        validate = True
    order = {
        "tool": tool.name,
        "address": address,
        "positional": positional,
        "arguments": keywords,
        "validate": validate,
        "context_at": where,
        "context": None if known is None else _context(known),
    }
    if outright:
        order |= {"memory_mb": tool.manifest.memory_mb, "cpu_seconds": tool.manifest.cpu_seconds}
    try:
        return orjson.dumps(order, default=str) + b"\n"
    except (TypeError, ValueError):
        return None


def result_of(said: dict[str, Any]) -> Any:
    """Return what a tool in another process returned.

    Raises:
        ToolError: It raised that, or something whose class of error is known, or ended itself (class `killed`).
        RuntimeError: It raised something else; this one is of a kind of that name.
    """
    if "error" not in said:
        return said["result"]
    if said["error"] == "tool":
        raise ToolError(
            said["message"],
            error_class=said["error_class"],
            unsent=said["unsent"],
            retry_after=said["retry_after"],
        )
    if said["error"] in _ENDS:
        raise ended_itself("It", said["error"], said["message"])
    raise raised(said["error"], said["message"])


def raised(kind: str, message: str) -> RuntimeError:
    """Return an exception of a kind of this name, to raise for one that must not, or cannot, be raised itself."""
    made: RuntimeError = type(kind, (RuntimeError,), {})(message)
    return made


def ended_itself(name: str, kind: str, message: str) -> ToolError:
    """Return what is raised where a tool raised what no failure is, such as `SystemExit`.

    Nobody knows how far it had come, as with a process that died.
    """
    return ToolError(f"{name} ended itself: {kind}: {message}".rstrip(": "), error_class="killed")


def context_from(given: dict[str, Any], state: dict[str, Any]) -> ToolContext:
    """Return what a tool may know of the run, in the other process: all but what only async tools have a use for.

    Args:
        given: As it came in the order.
        state: What the tools of the run keep in that process.
    """
    services, roots = given.pop("services"), given.pop("roots")
    return ToolContext(
        **{**given, "folder": Path(given["folder"])},
        state=state,
        roots={name: RootFolder(Path(path), write) for name, (path, write) in roots.items()},
        services=None if services is None else _services(services),
    )


def _services(declared: dict[str, Any]) -> ServicesConfig:
    from quarterdeck.spec.services import ServicesConfig  # takes longer to import than all the rest

    return ServicesConfig.model_validate(declared)


def _given(tool: Tool, arguments: dict[str, Any], context: ToolContext | None) -> tuple[list[Any], dict[str, Any]]:
    keywords = {**arguments, "context": context} if tool.takes_context else arguments
    if isinstance(tool.function, partial):
        return list(tool.function.args), {**tool.function.keywords, **keywords}
    return [], keywords


def _context(context: ToolContext) -> dict[str, Any]:
    services = context.services
    return {
        "run_id": context.run_id,
        "idempotency_key": context.idempotency_key,
        "inputs": context.inputs,
        "folder": str(context.folder),
        "path": context.path,
        "force": context.force,
        "roots": {name: (str(root.path), root.write) for name, root in context.roots.items()},
        "services": services.model_dump(mode="json", by_alias=True) if services and services.model_fields_set else None,
    }
