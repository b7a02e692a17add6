"""The opt-outs are in force whatever the environment says; preferences are left alone."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from quarterdeck import optouts


def test_promises_are_set_and_preferences_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(os, "environ", {"CREWAI_DISABLE_TELEMETRY": "false", "OMP_WAIT_POLICY": "active"})
    optouts.apply(tmp_path)
    assert os.environ["CREWAI_DISABLE_TELEMETRY"] == "true"
    assert os.environ["CREWAI_TRACING_ENABLED"] == "false"
    assert os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] == "True"
    assert os.environ["OMP_WAIT_POLICY"] == "active"
    assert os.environ["CREWAI_STORAGE_DIR"] == str(tmp_path)
    assert "OTEL_SDK_DISABLED" not in os.environ, "that would silence our own tracing too"
