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
MEMORY = ("bench.memory", "--items", "200", "--tenants", "2", "--writes", "2", "--indexed", "0")


def figures(*command: str, ends: tuple[int, ...] = (0,)) -> dict[str, Any]:
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("QUARTERDECK_", "PYTEST_"))}
    done = subprocess.run(
        [sys.executable, "-m", *command], cwd=ROOT, env=environ, capture_output=True, text=True, timeout=100
    )
    assert done.returncode in ends, done.stderr[-2000:]
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    measured: dict[str, Any] = told.get("figures", told)
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
        (MEMORY, "8 processes x 2 adds: lost"),
        (
            ("bench.recall", "--embedder", "hash", "--conversations", "1", "--sessions", "2"),
            "friends, held out, temporal: hybrid recall@10",
        ),
        (("bench.startup", "--rounds", "0", "--without-run"), "--help: vendors"),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
def test_starts_and_keeps_what_is_counted(command: tuple[str, ...], figure: str) -> None:
    measured = figures(*command)
    assert figure in measured
    for name, one in measured.items():  # what is counted, not timed, holds at any size
        counted = ("requests", "prompt bytes", "vendors", "over budget", ": lost", ": failed")
        if one["target"] is not None and any(word in name for word in counted):
            assert one["value"] <= one["target"], name


def test_what_remembering_costs_a_call_is_measured_by_tier() -> None:
    measured = figures(
        "bench.remember", "--tasks", "2", "--past", "2", ends=(0, 1)
    )  # 1: above a limit that is meant for many
    assert set(measured["cpu_ms_a_call"]) == {"none", "episodes", "all"}
    assert set(measured["added_ms"]) == {"episodes", "all"}
    assert all(milliseconds > 0 for milliseconds in measured["cpu_ms_a_call"].values())
