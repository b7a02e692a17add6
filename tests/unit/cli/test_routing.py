"""Routing and pins on the command line: what is refused, what is shown, and why a model was asked."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from quarterdeck.testing import answer

LOOSE = """\
default: loose
groups: {loose: [openai/gpt-4o], cheap: [openai/gpt-4o-mini-2024-07-18], expensive: [openai/gpt-4.1-2025-04-14]}
models: {openai/gpt-4o: {rate: {requests: 60, tokens: 90000}}}
"""
SURE = """\
crew: sure
agents: {a: {role: Pilot, goal: g, backstory: b}}
tasks: {t: {agent: a, description: d, expected_output: e, output: {berth: string, confidence: number}}}
"""


@pytest.fixture
def loose(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (workspace / "config" / "models.yaml").write_text(LOOSE)
    (workspace / "crews" / "sure.yaml").write_text(SURE)
    monkeypatch.setenv("OPENAI_API_KEY", "x")
    monkeypatch.setattr("quarterdeck.cli.doctor._reaches", lambda url: False)
    return workspace


def test_production_refuses_an_alias_before_anything_is_spent(
    cli: Any, loose: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QUARTERDECK_PROFILE", "production")
    done = cli("run", "sure")
    assert done.code == 3
    assert "openai/gpt-4o can change its meaning" in done.err and "Nothing was run or spent." in done.err
    assert not (loose / "runs").exists()
    found = cli("validate")
    assert found.code == 2 and "config/models.yaml:2" in found.out and "groups.loose.0" in found.out
    told = {finding["what"]: finding for finding in json.loads(cli("doctor", "--json").out)}
    assert told["models not pinned: openai/gpt-4o; this is production"]["level"] == "fail"
    monkeypatch.setenv("QUARTERDECK_PROFILE", "live")
    assert cli("run", "sure").code == 2


def test_what_is_pinned_and_how_fast_is_shown(cli: Any, loose: Path) -> None:
    row = next(line for line in cli("models", "list").out.splitlines() if line.startswith("openai/gpt-4o "))
    assert row.endswith("not pinned, 60 requests and 90,000 tokens a minute")
    models = {model["name"]: model for model in json.loads(cli("models", "list", "--json").out)}
    assert models["openai/gpt-4o"]["pinned"] is False
    assert models["openai/gpt-4o"]["rate"] == {"requests": 60, "tokens": 90000, "per": "minute"}
    assert models["openai/gpt-4.1-2025-04-14"]["pinned"] is True
    told = {finding["what"]: finding["level"] for finding in json.loads(cli("doctor", "--json").out)}
    assert told["model auto: openai/gpt-4o-mini-2024-07-18, then openai/gpt-4.1-2025-04-14"] == "ok"
    assert told["models not pinned: openai/gpt-4o"] == "info"


def test_a_run_with_auto_says_when_and_why_it_went_up(cli: Any, loose: Path, script: Callable[..., Any]) -> None:
    model = script([answer({"berth": "N", "confidence": 0.2}), answer({"berth": "S", "confidence": 0.9})])
    done = cli("run", "sure", "--model", "auto")
    assert done.code == 0, done.out + done.err
    assert [request.model for request in model.requests] == ["cheap", "expensive"]
    assert "route expensive: confidence 0.2 is below 0.6" in done.out
    assert "the ladder starts with it" not in done.out
    shown = cli("runs", "show", "LAST").out
    assert "decided: route cheap, because the ladder starts with it" in shown
    assert "decided: route expensive, because confidence 0.2 is below 0.6" in shown
