"""`config/mcp.yaml`: the MCP servers whose tools a workspace uses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from quarterdeck.errors import SpecError
from quarterdeck.spec.crew import Declared
from quarterdeck.spec.sentences import Finding, findings
from quarterdeck.spec.text import read_document

if TYPE_CHECKING:
    from pathlib import Path

    from quarterdeck.spec.workspace import Workspace

Variable = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,99}$")]
ServerName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,30}$")]


class ServerSpec(Declared):
    """One server: a command to start, or the URL of one that runs."""

    command: Annotated[str, Field(max_length=500)] | None = None
    args: Annotated[tuple[str, ...], Field(max_length=100)] = ()
    env: dict[Variable, Annotated[str, Field(max_length=2000)]] = Field(
        default_factory=dict, description="What the command finds in its environment; a secret as `env:NAME`."
    )
    url: Annotated[str, Field(pattern=r"^https?://[^\s@]{1,500}$")] | None = None
    auth_env: Variable | None = Field(default=None, description="The variable that holds the bearer token for the URL.")
    timeout: Annotated[float, Field(gt=0, le=3600)] = Field(default=60.0, description="Seconds a call.")
    tools: Annotated[tuple[str, ...], Field(max_length=200)] = Field(
        default=(), description="The server's own names of those to take; empty for all that it has."
    )


class McpConfig(Declared):
    """The servers by name; a tool of one is called `mcp_server.tool`."""

    servers: dict[ServerName, ServerSpec] = Field(default_factory=dict, max_length=50)


def load_mcp(workspace: Workspace) -> McpConfig:
    """Read `config/mcp.yaml` of a workspace; without it there are no servers.

    Raises:
        SpecError: The file is wrong; carries every problem.
    """
    path = mcp_file(workspace)
    if not path.is_file():
        return McpConfig()
    document = read_document(path, workspace.shown(path))
    config, found = findings(McpConfig, document.data)
    if config is not None and not found:
        for name, server in config.servers.items():
            if (server.command is None) == (server.url is None):
                found.append(Finding(("servers", name), "needs either command or url"))
            if server.url is not None and (server.args or server.env):
                found.append(Finding(("servers", name), "args and env belong to a command; a url has auth_env"))
            if server.command is not None and server.auth_env is not None:
                found.append(Finding(("servers", name), "auth_env belongs to a url; a command has env"))
    if config is None or found:
        raise SpecError(sorted(document.problem(one.place, one.what, at=one.at) for one in found))
    return config


def mcp_file(workspace: Workspace) -> Path:
    """Return where the servers of a workspace are declared: in its own file, never in the starter's."""
    return workspace.root / "config" / "mcp.yaml"
