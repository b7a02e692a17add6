"""The research crew remembers: a second run reads less, says what it knew, and still proves every sentence."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from quarterdeck.engine.crew import Crew
from quarterdeck.models.port import ModelRequest
from quarterdeck.spec.workspace import Workspace
from quarterdeck.testing import ScriptedModel, text
from quarterdeck.testing.catalog import ScriptedCatalog
from quarterdeck.testing.steps import Step

WIND = "The wind farm produced 42 terawatt hours in 2023."
SHIPS = "In 2023 the harbour counted 2,310 ships from 41 countries."
QUESTIONS = ["How much did the wind farm produce in 2023?", "How many ships did the harbour count in 2023?"]


def say(request: ModelRequest) -> Step:
    """Answer as an honest model would: by the schema that is asked for."""
    names = set((request.schema or {}).get("properties", {}))
    said = request.messages[-1].content
    if "questions" in names:
        return text(json.dumps({"questions": QUESTIONS}))
    if names == {"facts"}:
        source, quote = ("wind.md:1-3", WIND) if "wind" in said.rsplit("question:", 1)[1] else ("ships.md:1-3", SHIPS)
        fact = {"source": source, "quote": quote, "claim": quote, "answers_question": "yes"}
        return text(json.dumps({"facts": [fact]}))
    if "answered" in names:
        return text(json.dumps({"answered": "yes"}))
    quotes = [line.split(": ", 1) for line in said.splitlines() if line.startswith("F")]
    return text(json.dumps({"title": "2023", "sentences": [{"text": q, "facts": [name]} for name, q in quotes]}))


@pytest.fixture
def documents(tmp_path: Path) -> Path:
    folder = tmp_path / "documents"
    folder.mkdir()
    (folder / "wind.md").write_text(f"# Wind\n\n{WIND}\n")
    (folder / "ships.md").write_text(f"# Ships\n\n{SHIPS}\n")
    (tmp_path / "crews").mkdir()
    return folder


def research(tmp_path: Path, folder: Path, tenant: str = "") -> tuple[Any, list[Any], list[ModelRequest]]:
    with ScriptedModel.rules([(lambda _: True, say)]) as model:
        crew = Crew.load(
            "research",
            workspace=Workspace(tmp_path),
            catalog=ScriptedCatalog(model),
            database_url=f"sqlite:///{tmp_path}/journal.db",
            tenant=tenant,
        )
        result = crew.kickoff({"topic": "Wind and ships in 2023", "sources": str(folder)})
        events = [row.event for row in crew.store.events(result.run_id)]
        crew.store.close()
    assert result.status == "succeeded", result.evidence
    return result, events, list(model.requests)


def calls(events: list[Any], tool: str) -> int:
    return sum(event.kind == "tool.called" and event.tool == tool for event in events)


def test_a_second_run_reads_less_and_says_what_it_knew(tmp_path: Path, documents: Path) -> None:
    first, events, requests = research(tmp_path, documents)
    assert calls(events, "documents.search") == 2 and "Known from earlier runs" not in first.output
    [written] = [event for event in events if event.kind == "memory.written"]
    assert len(written.ids) == 2
    second, again, fewer = research(tmp_path, documents)
    assert calls(again, "documents.search") == 0
    assert len(requests) == 6 and len(fewer) == 2
    report = second.output
    assert "## Known from earlier runs" in report
    for number, (quote, name) in enumerate([(WIND, "wind.md"), (SHIPS, "ships.md")], 1):
        assert f"{quote} [{number}]" in report
        assert f"- [{number}] {name}" in report and f"- [{number}]: found by a run of " in report
    prompt = fewer[0].messages[-1].content
    assert "Remembered from earlier runs" in prompt and "Wind and ships in 2023" in prompt
    assert f"run {first.run_id}" in prompt, "what the crew did last time"


def test_what_no_longer_stands_in_the_documents_is_read_anew(tmp_path: Path, documents: Path) -> None:
    research(tmp_path, documents)
    (documents / "wind.md").write_text("# Wind\n\nNothing is said here of any farm at all in that year.\n")
    result, events, _ = research(tmp_path, documents)
    assert calls(events, "documents.search") > 0
    assert WIND not in result.output and SHIPS in result.output
    assert "1 remembered facts no longer stand" in " ".join(result.tasks["known"].notes)


def test_another_tenant_knows_nothing_of_it(tmp_path: Path, documents: Path) -> None:
    research(tmp_path, documents, "one")
    _, events, requests = research(tmp_path, documents, "two")
    assert calls(events, "documents.search") == 2
    assert not any("Remembered from" in message.content for request in requests for message in request.messages)
