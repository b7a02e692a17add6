"""A loopback model in a process of its own, so that its CPU is not counted as ours."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Any


class Loopback:
    """Starts `bench/server.py` and asks it what it has seen.

    Args:
        delay: Seconds before each answer.
        tool: A tool that it calls once a conversation.
        arguments: The JSON text of the tool's arguments.
    """

    def __init__(self, delay: float = 0.0, tool: str = "", arguments: str = "{}") -> None:
        command = [sys.executable, str(Path(__file__).with_name("server.py")), "--delay", str(delay)]
        self._command = [*command, "--tool", tool, "--arguments", arguments]
        self.url = ""

    def __enter__(self) -> Loopback:
        self._process = subprocess.Popen(self._command, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        self.url = self._process.stdout.readline().strip()
        if not self.url:
            raise RuntimeError("the loopback model did not start; run `python bench/server.py` to see why")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.terminate()
        self._process.communicate(timeout=10)

    def reset(self) -> dict[str, Any]:
        """Return what it has seen since the last reset."""
        return self._ask("/reset", "POST")

    def _ask(self, path: str, method: str) -> dict[str, Any]:
        request = urllib.request.Request(self.url.removesuffix("/v1") + path, method=method)
        with urllib.request.urlopen(request, timeout=10) as answer:
            seen: dict[str, Any] = json.loads(answer.read())
        return seen
