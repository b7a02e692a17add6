"""A run recalls in the order of the reranker that its profile names, pays for it, and goes on where it fails."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from tests.unit.engine.conftest import MakeCrew
from tests.unit.memory.test_rerank import write_network

from quarterdeck import Memory
from quarterdeck.engine.crew import Crew
from quarterdeck.errors import ModelError
from quarterdeck.models.port import Usage
from quarterdeck.models.prices import FREE, Price
from quarterdeck.spec.memory import LongtermSpec, MemoryProfile
from quarterdeck.spec.workspace import Workspace
from quarterdeck.testing import ScriptedModel, text
from quarterdeck.testing.catalog import ScriptedCatalog

FERRY = "The ferry to Hull leaves at nine."
CRANE = "A ferry to Hull was lifted by a crane, a crane and a crane."
INPUTS: Any = {"topic": {"type": "string", "default": "ferry to Hull"}}


@pytest.fixture(autouse=True)
def by_words(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("quarterdeck.engine.longterm.installed", lambda name: None)
    monkeypatch.setenv("QUARTERDECK_MODELS", str(tmp_path / "models"))


@pytest.fixture
def make(make_crew: MakeCrew, tmp_path: Path) -> Any:
    (tmp_path / "memory").mkdir()
    known = Memory(
        workspace=Workspace(tmp_path), database_url=f"sqlite:///{tmp_path}/journal.db", crew="trial",
        profile=MemoryProfile(longterm=LongtermSpec()),
    )  # fmt: skip
    with known as memory:
        for fact in (FERRY, CRANE):
            memory.remember(fact, source="a test")

    def make(model: ScriptedModel, rerank: str, *tasks: str, **more: Any) -> Crew:
        (tmp_path / "memory" / "trial.yaml").write_text(f"longterm: {{rerank: {rerank}}}\n")
        described = {name: {"description": f"{name} {{topic}}"} for name in tasks}
        return make_crew(model, described, memory="trial", inputs=INPUTS, **more)

    return make


def events(crew: Crew, run_id: str, kind: str) -> list[Any]:
    return [row.event for row in crew.store.events(run_id) if row.kind == kind]


def test_a_run_recalls_in_the_order_of_a_network_on_this_machine(make: Any, tmp_path: Path) -> None:
    write_network(tmp_path / "models")
    with ScriptedModel([text("Done.")]) as model:
        crew = make(model, "tiny.onnx", "ask")
        run = crew.kickoff()
    [recalled] = events(crew, run.run_id, "memory.recalled")
    assert [one["text"] for one in recalled.found] == [CRANE, FERRY] and recalled.why == ""
    assert recalled.found[0]["why"].startswith("cross-encoder 1.00, text ")
    assert [one.path for one in events(crew, run.run_id, "model.called")] == ["ask/turn-1"]


def test_a_run_pays_for_a_hosted_one(make: Any) -> None:
    asked: list[Sequence[str]] = []

    async def rerank(query: str, texts: Sequence[str]) -> tuple[list[float], Usage, Decimal]:
        asked.append((query, *texts))
        return [0.9 if "crane" in one else 0.1 for one in texts], Usage(prompt_tokens=7), Decimal("0.002")

    with ScriptedModel([text("Done.")]) as model:
        model.rerank = rerank  # type: ignore[attr-defined]
        crew = make(model, "cohere/rerank-v3.5", "ask", limits={"usd": 1})
        run = crew.kickoff()
    assert run.status == "succeeded" and asked == [("ferry to Hull", FERRY, CRANE)]
    [recalled] = events(crew, run.run_id, "memory.recalled")
    assert [one["text"] for one in recalled.found] == [CRANE, FERRY]
    ranked, _ = events(crew, run.run_id, "model.called")
    assert ranked.path.startswith("memory/rerank-") and ranked.cost_usd == "0.002" and ranked.prompt_tokens == 7


@pytest.mark.parametrize("why", ["fails", "no budget", "no file"])
def test_a_run_goes_on_in_the_order_of_the_search_and_its_journal_says_so_once(
    make: Any, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []

    async def rerank(query: str, texts: Sequence[str]) -> Any:
        calls.append(query)
        raise ModelError("The reranker refuses.", "refused")

    dear = Price(Decimal(0), Decimal(0), request=Decimal("0.5" if why == "no budget" else "0.001"))
    monkeypatch.setattr(ScriptedCatalog, "price_of", lambda self, name: dear if "rerank" in name else FREE)
    with ScriptedModel([text("One."), text("Two.")]) as model:
        model.rerank = rerank  # type: ignore[attr-defined]
        crew = make(
            model, "gone.onnx" if why == "no file" else "cohere/rerank-v3.5", "ask", "tell", limits={"usd": 0.4}
        )
        run = crew.kickoff()
    recalled = events(crew, run.run_id, "memory.recalled")
    assert [[one["text"] for one in event.found] for event in recalled] == [[FERRY, CRANE]] * 2
    assert all(event.why == "" for event in recalled) and len(calls) == (1 if why == "fails" else 0)
    [told] = [one for one in events(crew, run.run_id, "decision") if one.path == "memory/rerank"]
    assert told.chosen == "order of the search" and "without the reranker" in told.why
    assert run.status == "succeeded"
