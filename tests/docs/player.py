"""Plays the snippets of one page, one after another in one process: `python player.py`, a job as JSON on stdin.

One process, because what costs is importing crewai. No connection but to this machine is let through.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import shlex
import socket
import sys
import traceback
from pathlib import Path
from typing import Any

from tests.docs.agreeable import agreeable
from tests.docs.snippets import commands

MODELS = """\
default: cheap
groups: {{cheap: [openai/loopback], expensive: [openai/loopback], local: [openai/loopback]}}
models: {{openai/loopback: {{api_base: "{url}", price: free, json_schema: true, context: 32768}}}}
"""


def main() -> None:
    """Play, and write one outcome a snippet as JSON to the file that the job names."""
    from quarterdeck.testing import OpenAIServer, block_live_calls

    job = json.load(sys.stdin)
    _stay_on_this_machine()
    os.chdir(job["workspace"])
    with block_live_calls(False), OpenAIServer(agreeable) as server:
        Path("config").mkdir(exist_ok=True)
        Path("config/models.yaml").write_text(MODELS.format(url=server.url))
        outcomes = [_play(snippet) for snippet in job["snippets"]]
    Path(job["outcomes"]).write_text(json.dumps(outcomes))


def _play(snippet: dict[str, Any]) -> list[dict[str, Any]]:
    if snippet["language"] == "python":
        return [_python(snippet)]
    played: list[dict[str, Any]] = []
    for command in commands(snippet["text"]):
        if command.line == "echo $?":
            played.append({"code": 0, "out": f"{played[-1]['code']}\n", "command": command.line})
        else:
            played.append(_command(command.line))
    return played


def _python(snippet: dict[str, Any]) -> dict[str, Any]:
    out = io.StringIO()
    try:
        with contextlib.redirect_stdout(out):
            exec(compile(snippet["text"], f"{snippet['page']}:{snippet['line']}", "exec"), {"__name__": "__main__"})
    except BaseException:
        return {"code": 1, "out": out.getvalue(), "error": traceback.format_exc(), "command": "python"}
    return {"code": 0, "out": out.getvalue(), "error": "", "command": "python"}


def _command(line: str) -> dict[str, Any]:
    from quarterdeck.__main__ import main as quarterdeck

    name, *arguments = shlex.split(line, comments=True)
    assert name == "quarterdeck", f"only quarterdeck is run here, not {line!r}"
    out, error = io.StringIO(), io.StringIO()
    code: Any = 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(error):
        try:
            quarterdeck(arguments)
        except SystemExit as ended:
            code = ended.code or 0
    return {"code": code, "out": out.getvalue(), "error": error.getvalue(), "command": line}


def _stay_on_this_machine() -> None:
    connect = socket.socket.connect

    def checked(self: socket.socket, address: Any) -> None:
        if self.family != socket.AF_UNIX and address[0] not in ("127.0.0.1", "::1", "localhost"):
            raise AssertionError(f"a snippet wants to connect to {address}")
        return connect(self, address)

    socket.socket.connect = checked  # type: ignore[assignment,method-assign]


if __name__ == "__main__":
    main()
