"""What an agent looks up in the knowledge of its crew."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.unit.engine.conftest import AGENT, MakeCrew

from quarterdeck.engine.crew import Crew
from quarterdeck.journal.events import ToolCalled
from quarterdeck.memory import embedder
from quarterdeck.testing import HashEmbedder, ScriptedModel, call, text
from quarterdeck.tools.loading import load_module

TOOLS = Path(__file__).parents[3] / "tools"


@pytest.fixture(autouse=True)
def hashed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedder, "embedder_of", lambda *args: HashEmbedder())


def clerk(make_crew: MakeCrew, *turns: Any, **more: Any) -> Crew:
    search = load_module(TOOLS / "knowledge.py", TOOLS).search
    agents = {"clerk": {**AGENT, "tools": ("knowledge.search",)}}
    model = ScriptedModel([*turns])
    return make_crew(model, {"ask": {}}, agents=agents, tools={"knowledge.search": search}, **more)


def called(crew: Crew, run_id: str) -> list[ToolCalled]:
    return [row.event for row in crew.store.chain(run_id)[0] if isinstance(row.event, ToolCalled)]


def test_passages_come_with_their_source_through_the_gate(make_crew: MakeCrew, tmp_path: Path) -> None:
    (tmp_path / "tariff.md").write_text("# Tariff\n\nA berth costs 40 EUR a day.\n")
    asked = call("knowledge.search", query="what does a berth cost")
    crew = clerk(make_crew, asked, text("40 EUR"), knowledge=("tariff.md",))
    result = crew.kickoff({})
    assert result.status == "succeeded", result.evidence
    (found,) = called(crew, result.run_id)
    assert found.status == "ok" and "tariff.md:1-3" in json.dumps(found.result)


@pytest.mark.parametrize(
    ("knowledge", "why"), [((), "has no knowledge"), (("nowhere",), "nowhere: there is no such file or folder")]
)
def test_where_there_is_nothing_the_agent_is_told(make_crew: MakeCrew, knowledge: Any, why: str) -> None:
    crew = clerk(make_crew, call("knowledge.search", query="berth"), text("I cannot say."), knowledge=knowledge)
    (found,) = called(crew, crew.kickoff({}).run_id)
    assert found.status == "error" and why in json.dumps(found.result)
