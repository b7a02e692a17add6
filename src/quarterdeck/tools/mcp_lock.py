"""`config/mcp.lock`: the tools of MCP servers as a person accepted them. What is not in it does not exist.

A server can describe a tool harmlessly until it is trusted and otherwise afterwards. So names, descriptions and
schemas are taken from this file alone, and a tool that its server now describes otherwise is not called.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from quarterdeck.errors import SpecError, ToolError
from quarterdeck.journal.fingerprint import fingerprint
from quarterdeck.spec.problem import Problem
from quarterdeck.tools.signature import tidy

MAX_TOOLS = 200
MAX_DESCRIPTION = 4000
MAX_SCHEMA_BYTES = 32_000
MAX_LOCK_BYTES = 4_000_000
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,63}")
_UNFIT = re.compile(r"[^A-Za-z0-9_-]+")
_NOT_CHECKED = ("pattern", "patternProperties", "format")
"""Keywords that a server could make our own checks slow with; the server checks them itself."""


@dataclass(frozen=True, slots=True)
class Described:
    """A tool as its server describes it.

    Attributes:
        name: The server's own name of it.
        description: What it says the tool does.
        schema: JSON Schema of the arguments.
    """

    name: str
    description: str
    schema: dict[str, Any]

    @property
    def hash(self) -> str:
        """Identifies the whole description."""
        return fingerprint(asdict(self))

    @property
    def short_name(self) -> str:
        """The part of our name behind `mcp_server.`."""
        name = _UNFIT.sub("_", self.name)[:64]
        return name if _NAME.fullmatch(name) else f"_{name}"[:64]

    def parameters(self) -> dict[str, Any]:
        """Return the schema as it is used here: without references.

        Raises:
            ToolError: It is too large, refers to another document or to itself, or is none.
        """
        if len(orjson.dumps(self.schema)) > MAX_SCHEMA_BYTES or len(self.description) > MAX_DESCRIPTION:
            raise ToolError(f"{self.name[:80]}: its description is too long")
        if any(not reference.startswith("#/$defs/") for reference in _references(self.schema)):
            raise ToolError(f"{self.name[:80]}: its schema refers to something outside it")
        try:
            schema = tidy(self.schema)
        except (ValueError, KeyError, RecursionError) as error:
            raise ToolError(f"{self.name[:80]}: its schema cannot be used ({error})") from None
        if schema.get("type", "object") != "object":
            raise ToolError(f"{self.name[:80]}: its arguments are no object")
        plain: dict[str, Any] = _without(schema, _NOT_CHECKED)
        return {"type": "object", "properties": {}, **plain, "additionalProperties": False}


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: str
    description: str
    schema_: dict[str, Any] = Field(alias="schema")
    hash: str


class _Lock(BaseModel):
    model_config = ConfigDict(extra="forbid")

    version: int = Field(default=1, ge=1, le=1)
    servers: dict[str, dict[str, _Entry]] = {}


def read_lock(file: Path, shown: str) -> dict[str, dict[str, Described]]:
    """Return the accepted tools of each server, by their short names.

    Args:
        file: The lock; one that is not there has no tools.
        shown: Its path for problems.

    Raises:
        SpecError: It cannot be read, or was changed by hand.
    """
    if not file.is_file():
        return {}
    try:
        if file.stat().st_size > MAX_LOCK_BYTES:
            raise ValueError(f"it is larger than {MAX_LOCK_BYTES:,} bytes")
        lock = _Lock.model_validate_json(file.read_bytes())
    except (OSError, ValidationError, ValueError) as error:
        raise _broken(shown, f"cannot be read: {str(error).splitlines()[0]}") from None
    servers: dict[str, dict[str, Described]] = {}
    for server, entries in lock.servers.items():
        for short, entry in entries.items():
            tool = Described(entry.name, entry.description, entry.schema_)
            if entry.hash != tool.hash or short != tool.short_name:
                raise _broken(shown, f"{server}.{short} was changed by hand")
            servers.setdefault(server, {})[short] = tool
    return servers


def write_lock(file: Path, servers: Mapping[str, Mapping[str, Described]]) -> None:
    """Write the lock at once: whoever reads sees the old one or the new one."""
    data = {
        "version": 1,
        "servers": {
            server: {
                short: {"name": tool.name, "description": tool.description, "schema": tool.schema, "hash": tool.hash}
                for short, tool in sorted(tools.items())
            }
            for server, tools in sorted(servers.items())
        },
    }
    file.parent.mkdir(parents=True, exist_ok=True)
    temporary = file.with_suffix(".tmp")
    with temporary.open("wb") as stream:
        stream.write(orjson.dumps(data, option=orjson.OPT_INDENT_2) + b"\n")
        stream.flush()
        os.fsync(stream.fileno())
    temporary.replace(file)


def usable(tools: Iterable[Described]) -> tuple[dict[str, Described], list[str]]:
    """Return the tools that can be used, by short name, and what is wrong with the others."""
    good: dict[str, Described] = {}
    wrong: list[str] = []
    for tool in list(tools)[:MAX_TOOLS]:
        try:
            tool.parameters()
        except ToolError as error:
            wrong.append(str(error))
            continue
        if tool.short_name in good:
            wrong.append(f"{tool.name[:80]}: another tool has this name already")
            continue
        good[tool.short_name] = tool
    return good, wrong


def _broken(shown: str, what: str) -> SpecError:
    advice = "Delete it, and accept anew what each server has: quarterdeck mcp pin SERVER --accept"
    return SpecError([Problem(shown, 1, 1, "", f"{what}. {advice}")])


def _references(node: Any) -> list[str]:
    if isinstance(node, list):
        return [found for part in node for found in _references(part)]
    if not isinstance(node, dict):
        return []
    own = [str(node[key]) for key in ("$ref", "$dynamicRef", "$recursiveRef") if isinstance(node.get(key), str)]
    return own + [found for part in node.values() for found in _references(part)]


def _without(node: Any, keywords: tuple[str, ...], named: bool = False) -> Any:
    if isinstance(node, list):
        return [_without(part, keywords) for part in node]
    if not isinstance(node, dict):
        return node
    return {
        key: _without(part, keywords, named=key == "properties" and not named)
        for key, part in node.items()
        if named or key not in keywords  # below `properties` these are names of arguments
    }
