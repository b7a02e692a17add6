"""An MCP server for tests, made with the same package: `python mcp_server.py stdio`, or `http PORT`."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import Any

from mcp.server.fastmcp import Context, FastMCP
from mcp.types import SamplingMessage, TextContent

kind, *rest = sys.argv[1:]
server = FastMCP("tests", port=int(rest[0]) if kind == "http" else 8000, log_level="CRITICAL")
SUFFIX = os.environ.get("TEST_SUFFIX", "")
MARKS = Path(os.environ.get("TEST_MARKS", "."))


@server.tool(description="Add two numbers." + SUFFIX)
def add(a: int, b: int) -> int:
    return a + b


@server.tool(description="Return text of a length.")
def long(length: int) -> str:
    return "x" * length


@server.tool(description="Fail.")
def fail() -> str:
    raise ValueError("the ledger is closed")


@server.tool(description="End the server.")
def die() -> str:
    os._exit(3)


@server.tool(description="Wait, and leave a mark on being told to stop.")
async def wait(seconds: float) -> str:
    (MARKS / "began").touch()
    try:
        await asyncio.sleep(seconds)
    except asyncio.CancelledError:
        (MARKS / "cancelled").touch()
        raise
    return "done"


@server.tool(description="Return what is in the environment.")
def environment() -> dict[str, str]:
    return dict(os.environ)


@server.tool(description="Ask the client for a model's answer, and for its folders.")
async def ask(context: Context[Any, Any, Any]) -> str:
    message = SamplingMessage(role="user", content=TextContent(type="text", text="What is the key?"))
    words = []
    for question in (context.session.create_message(messages=[message], max_tokens=10), context.session.list_roots()):
        try:
            words.append(f"got {await question}")
        except Exception as error:
            words.append(f"refused {type(error).__name__}")
    return ", ".join(words)


if __name__ == "__main__":
    server.run("stdio" if kind == "stdio" else "streamable-http")
