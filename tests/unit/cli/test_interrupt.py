"""Ctrl-C: once cleanly, twice at once."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

STUBBORN = """
import asyncio, time
from quarterdeck.cli.interrupt import run_until_interrupted
async def work():
    try:
        print("ready", flush=True)
        await asyncio.sleep(60)
    finally:
        print("cleaning", flush=True)
        time.sleep(60)
run_until_interrupted(work())
"""
RUN = """
import sys
from pathlib import Path
from quarterdeck.cli.run import run_crew
from quarterdeck.cli.screen import Screen
from quarterdeck.engine.crew import Crew
from quarterdeck.testing import ScriptedModel, answer, hang
from quarterdeck.testing.catalog import ScriptedCatalog
crew = Crew.load("hello", catalog=ScriptedCatalog(ScriptedModel([answer({"facts": ["f"]}), hang()])))
sys.exit(run_crew(crew, lambda crew, view: crew.akickoff({}, listener=view), Screen()))
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_stops_cleanly_and_says_how_to_go_on(workspace: Path, number: signal.Signals) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", RUN], cwd=workspace, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None and process.stderr is not None
        header = process.stdout.readline()
        run_id = header.split()[2]
        assert "facts" in process.stdout.readline()
        process.send_signal(number)
        rest = process.stdout.read()
        assert process.wait(30) == 130, process.stderr.read()
    assert rest == f"Stopped. 2 calls are recorded. Go on with: quarterdeck runs resume {run_id}\n"


def test_the_second_ends_the_process_at_once() -> None:
    with subprocess.Popen([sys.executable, "-c", STUBBORN], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGINT)
        assert process.stdout.readline() == "cleaning\n"
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 130
