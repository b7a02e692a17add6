"""Tools that no Python file defines: of MCP servers and of declared services, as far as the files tell of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from quarterdeck.errors import SpecError, ToolError
from quarterdeck.governance.lint import Listed, classified
from quarterdeck.spec.mcp import load_mcp, mcp_file
from quarterdeck.spec.text import Document, read_document
from quarterdeck.tools.declarations import Declaration
from quarterdeck.tools.declared import load_services
from quarterdeck.tools.mcp import Servers
from quarterdeck.tools.places import is_async

if TYPE_CHECKING:
    from quarterdeck.spec.governance import GovernanceConfig
    from quarterdeck.spec.text import Place
    from quarterdeck.spec.workspace import Workspace
    from quarterdeck.tools.tool import Tool


def foreign(workspace: Workspace, config: GovernanceConfig) -> tuple[dict[str, Listed], list[str]]:
    """Return the tools of MCP servers and services by name, and a line for each source that has none to show.

    Of an MCP server there is what a person accepted; none is started or asked.

    Args:
        workspace: The workspace.
        config: What the operator says of them.
    """
    found: dict[str, Listed] = {}
    notes: list[str] = []
    for read in (_of_servers, _of_services):
        try:
            for tool, origin, declared in read(workspace, notes):
                found[tool.name] = classified(declared, config, origin)
        except (SpecError, ToolError) as error:
            notes.append(f"tools are left out: {' '.join(str(error).split())[:500]}")
    return dict(sorted(found.items())), notes


def _of_servers(workspace: Workspace, notes: list[str]) -> Iterator[tuple[Tool, str, Declaration]]:
    tools = Servers.of(workspace).tools()
    file = mcp_file(workspace)
    document = read_document(file, workspace.shown(file)) if file.is_file() else None
    for server in load_mcp(workspace).servers:
        own = [tool for tool in tools if tool.name.startswith(f"mcp_{server}.")]
        for tool in own:
            yield tool, f"MCP server {server}", _declaration(tool, document, ("servers", server))
        if not own:
            notes.append(f"MCP server {server}: no tool of it is accepted; see: quarterdeck mcp pin {server}")


def _of_services(workspace: Workspace, notes: list[str]) -> Iterator[tuple[Tool, str, Declaration]]:
    config, tools = load_services(workspace)
    path: Path | None = workspace.config_path("services.yaml")
    document = read_document(path, workspace.shown(path)) if path is not None else None
    for tool in tools:
        service, _, name = tool.name.partition(".")
        api = service in config.apis
        place: Place = ("apis", service) if api else ("databases", service, "queries", name)
        yield tool, f"{'API' if api else 'database'} {service}", _declaration(tool, document, place)


def _declaration(tool: Tool, document: Document | None, place: Place) -> Declaration:
    """Return what is said of a tool, as if its own file said so, at the place where the operator brought it in."""
    where = document.problem(place, "") if document is not None else None
    own = tool.manifest
    said: dict[str, Any] = {"effect": own.effect, "owner": own.owner, "version": own.version}
    if own.sinks is not None:
        said["sinks"] = dict(own.sinks)
    return Declaration(
        tool.name, where.file if where else "", where.line if where else 0, where.column if where else 0,
        tuple(tool.parameters.get("properties", {})), said, is_async=is_async(tool.function), found=False,
    )  # fmt: skip
