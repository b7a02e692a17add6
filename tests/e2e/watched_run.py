"""Runs a crew in a process that watches its own sockets from the first import on; started by `test_sockets.py`.

Prints what was connected to and looked up, and how the run ended, as JSON.
"""

from __future__ import annotations

import sys
from typing import Any

OPENED: list[list[str]] = []
WATCHED = ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto", "socket.sendmsg")


def watch(event: str, arguments: tuple[Any, ...]) -> None:
    """Note what a socket is used for."""
    if event in WATCHED:
        where = arguments[:2] if event == "socket.getaddrinfo" else arguments[-1]
        OPENED.append([event, str(where[0] if len(where) == 1 else f"{where[0]}:{where[1]}")])


sys.addaudithook(watch)

import json  # noqa: E402 - the hook comes before everything else
import time  # noqa: E402


def main(model: str) -> None:
    """Run the crew `greeting` of the current folder on a LiteLLM model, or on a scripted one when none is named."""
    from quarterdeck import Crew
    from quarterdeck.models.catalog import Catalog
    from quarterdeck.testing import ScriptedModel, call, text
    from quarterdeck.testing.catalog import ScriptedCatalog

    script = ScriptedModel([call("words.count", text="ahoy there"), text("Two words."), text("Goodbye.")])
    catalog: Catalog | None = None if model else ScriptedCatalog(script)
    result = Crew.load("greeting", catalog=catalog).kickoff({"name": "Ann"}, model=model)
    import crewai  # loaded by the run
    import litellm  # loaded by the run on a LiteLLM model, else now, with the same switches off

    time.sleep(1.0)  # what a library sends, it sends from a thread of its own, a moment later
    modules = [crewai.__name__, litellm.__name__]
    print(json.dumps({"opened": OPENED, "status": result.status, "why": result.evidence, "modules": modules}))


if __name__ == "__main__":
    main(sys.argv[1])
