"""`quarterdeck mcp`: the MCP servers of a workspace, and accepting the tools that they have."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated

import typer

from quarterdeck.cli import options
from quarterdeck.errors import InputError

if TYPE_CHECKING:
    from quarterdeck.spec.workspace import Workspace
    from quarterdeck.tools.mcp_lock import Described

app = options.make_app("Show the MCP servers of a workspace, and accept the tools that they have.")

CHANGED = 2


@app.command("list")
def list_tools(json: options.Json = False) -> None:
    """List the accepted tools of all declared servers; no server is reached."""
    from quarterdeck.cli.screen import Screen
    from quarterdeck.spec.workspace import Workspace
    from quarterdeck.tools.mcp import Servers

    tools = Servers.of(Workspace.find()).tools()
    screen = Screen()
    if json:
        screen.data([{"name": tool.name, "description": tool.description} for tool in tools])
    elif not tools:
        screen.line("No tools are accepted. Declare a server in config/mcp.yaml, then: quarterdeck mcp pin SERVER")
    else:
        screen.columns([(tool.name, tool.description[:100]) for tool in tools])


@app.command("pin")
def pin(
    server: Annotated[str, typer.Argument(help="As declared in config/mcp.yaml.")],
    accept: Annotated[
        bool, typer.Option("--accept", help="Accept what it has now, and write config/mcp.lock.")
    ] = False,
    json: options.Json = False,
) -> None:
    """Show how the tools of a server differ from those that were accepted; with --accept, accept them.

    Exit codes: 0 nothing differs or it was accepted, 2 something differs.
    """
    from quarterdeck.cli.screen import Screen
    from quarterdeck.spec.mcp import load_mcp
    from quarterdeck.spec.workspace import Workspace
    from quarterdeck.tools.mcp import lock_file
    from quarterdeck.tools.mcp_lock import read_lock, write_lock

    workspace = Workspace.find()
    declared = load_mcp(workspace).servers
    if server not in declared:
        raise InputError(f'No server "{server[:60]}" in config/mcp.yaml. There are: {", ".join(declared) or "none"}.')
    lock = lock_file(workspace)
    before = read_lock(lock, workspace.shown(lock))
    now, wrong = asyncio.run(_describe(server, workspace))
    rows = _differences(before.get(server, {}), now)
    screen = Screen()
    if accept:
        write_lock(lock, {**before, server: now})
    if json:
        screen.data({"server": server, "tools": sorted(now), "changes": rows, "left_out": wrong, "accepted": accept})
    else:
        for what, name, description in rows:
            screen.line(f"{what:8} mcp_{server}.{name}  {description}")
        for problem in wrong:
            screen.line(f"left out {problem}")
        screen.line(_verdict(server, len(rows), len(now), accept))
    raise typer.Exit(CHANGED if rows and not accept else 0)


async def _describe(server: str, workspace: Workspace) -> tuple[dict[str, Described], list[str]]:
    from quarterdeck.spec.mcp import load_mcp
    from quarterdeck.tools.mcp import Servers

    servers = Servers(load_mcp(workspace).servers, {}, workspace.root)
    try:
        return await servers.server(server).describe()
    finally:
        await servers.close()


def _differences(before: dict[str, Described], now: dict[str, Described]) -> list[tuple[str, str, str]]:
    rows = []
    for name in sorted({*before, *now}):
        old, new = before.get(name), now.get(name)
        if old is None and new is not None:
            rows.append(("new", name, " ".join(new.description.split())[:300]))
        elif new is None:
            rows.append(("gone", name, ""))
        elif old is not None and old.hash != new.hash:
            rows.append(("changed", name, " ".join(new.description.split())[:300]))
    return rows


def _verdict(server: str, changes: int, tools: int, accepted: bool) -> str:
    if accepted:
        return f"Accepted {tools} tools of {server}. Say in config/governance.yaml what they do to the world."
    if not changes:
        return f"The {tools} tools of {server} are those that were accepted."
    return f"Nothing was changed. To accept what {server} has now: quarterdeck mcp pin {server} --accept"
