"""Thousands of crews in one process, journal on disk: memory stays flat."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
RUNS = 5000
WARM_UP = 2
"""Of the ten samples, those before which caches and threads are still filling up: 1,000 runs."""
GROWTH = 1.05


@pytest.mark.timeout(300)
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="resident memory is read from /proc")
def test_memory_stays_flat_over_five_thousand_crews(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.soak.crews", str(tmp_path), str(RUNS)]
    done = subprocess.run(command, cwd=ROOT, env=os.environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    assert seen["ends"] == {"succeeded": RUNS} and seen["events"] > 10 * RUNS
    resident = seen["resident"]
    assert len(resident) == 10
    assert resident[-1] <= resident[WARM_UP - 1] * GROWTH, resident
