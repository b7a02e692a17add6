"""The benchmarks still start and measure what they say; with tiny numbers, so the figures mean nothing here."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]


def figures(*command: str) -> dict[str, Any]:
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("QUARTERDECK_", "PYTEST_"))}
    done = subprocess.run(
        [sys.executable, "-m", *command], cwd=ROOT, env=environ, capture_output=True, text=True, timeout=100
    )
    assert done.returncode == 0, done.stderr[-2000:]
    measured: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])["figures"]
    return measured


@pytest.mark.parametrize(
    ("command", "figure"),
    [
        (("bench.journal", "--appends", "4", "--rounds", "1"), "one run alone: CPU"),
        (("bench.overhead", "--runs", "1", "--rounds", "1"), "with tools: quarterdeck above bare"),
        (("bench.concurrency", "--crews", "2", "--rounds", "1", "--only", "bare"), "bare: wall"),
        (("bench.graph", "--delay", "0.01", "--rounds", "1"), "3 tasks of 0.01 s: wall"),
        (("bench.faults", "--runs", "4", "--rates", "0.2"), "20%: runs over budget"),
        (("bench.rates", "--seconds", "3"), "10 a second: fullest window"),
        (("bench.stages", "--calls", "4", "--rounds", "1"), "all stages above it"),
        (("bench.gate", "--calls", "4", "--rounds", "1"), "autonomous read: added by the gate"),
        (("bench.startup", "--rounds", "0", "--without-run"), "--help: vendors"),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
def test_starts_and_keeps_what_is_counted(command: tuple[str, ...], figure: str) -> None:
    measured = figures(*command)
    assert figure in measured
    for name, one in measured.items():  # what is counted, not timed, holds at any size
        counted = ("requests", "prompt bytes", "vendors", "over budget")
        if one["target"] is not None and any(word in name for word in counted):
            assert one["value"] <= one["target"], name
