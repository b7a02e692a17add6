"""Live calls are blocked in tests unless a test is marked."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from quarterdeck.errors import ModelError
from quarterdeck.models.live import SWITCH, check_live
from quarterdeck.testing import block_live_calls

SUITE = """
import pytest
from quarterdeck.models.live import check_live

def test_guarded():
    with pytest.raises(Exception, match="blocked in tests"):
        check_live("openai/x")

@pytest.mark.live
def test_marked():
    check_live("openai/x")
"""


def test_this_suite_is_guarded() -> None:
    with pytest.raises(ModelError, match="openai/x is blocked"):
        check_live("openai/x")


@pytest.mark.live
def test_a_marked_test_is_not() -> None:
    check_live("openai/x")


def test_the_guard_restores_what_was_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(SWITCH)
    with block_live_calls():
        assert os.environ[SWITCH] == "0"
        with block_live_calls(False):
            check_live("openai/x")
        assert os.environ[SWITCH] == "0"
    assert SWITCH not in os.environ


def test_the_plugin_works_in_a_users_suite(tmp_path: Path) -> None:
    (tmp_path / "test_user.py").write_text(SUITE)
    options = ["-q", "--strict-markers", "-p", "quarterdeck.testing.plugin", "test_user.py"]
    command = [sys.executable, "-m", "pytest", *options]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert "2 passed" in done.stdout, done.stdout + done.stderr
