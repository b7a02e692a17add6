"""The loopback model of the benchmarks, in a process of its own: prints its URL, serves until it is killed.

python bench/server.py [--port 0] [--delay 0.2] [--tool NAME --arguments JSON]
GET  /stats   requests, prompt_bytes, open, aborted, cpu_seconds
POST /reset   the same, then counts from zero
"""

from __future__ import annotations

import argparse
import asyncio

from quarterdeck.testing.server import HttpAnswer, OpenAIServer, ReadyAnswer


class BenchServer(OpenAIServer):
    """Calls the tool once a conversation, then answers; looks at bytes only."""

    def __init__(self, text: str, tool: str, arguments: str, delay: float) -> None:
        super().__init__(HttpAnswer(text), keep=False, delay=delay)
        self._final = self._ready
        self.script(HttpAnswer(tool_calls=((tool, arguments),)) if tool else HttpAnswer(text))
        self._first = self._ready

    def next(self, body: bytes, headers: bytes) -> ReadyAnswer:
        answered = b'"role":"tool"' in body or b'"role": "tool"' in body
        self._ready = self._final if answered else self._first
        return super().next(body, headers)


async def serve(arguments: argparse.Namespace) -> None:
    """Listen, say where, and serve for ever."""
    server = BenchServer(arguments.text, arguments.tool, arguments.arguments, arguments.delay)
    await server.listen(arguments.port)
    print(server.url, flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--delay", type=float, default=0.0, help="seconds before each answer")
    parser.add_argument("--text", default="The answer is 42.")
    parser.add_argument("--tool", default="", help="name of a tool to call once a conversation")
    parser.add_argument("--arguments", default="{}", help="the JSON text of its arguments")
    try:
        asyncio.run(serve(parser.parse_args()))
    except KeyboardInterrupt:
        pass
