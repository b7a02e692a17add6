"""Whose memory stands in whose prompt: what a user's run has left is given to that user's runs, to nobody else's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.unit.engine.conftest import AGENT

from quarterdeck.engine.crew import Crew
from quarterdeck.engine.scope import Parts
from quarterdeck.journal.events import MemoryRecalled
from quarterdeck.journal.tables import episodes, memories
from quarterdeck.spec.crew import CrewSpec
from quarterdeck.spec.workspace import Workspace
from quarterdeck.testing import HashEmbedder, ScriptedModel, text
from quarterdeck.testing.catalog import ScriptedCatalog

HERS = "At the harbour gate the berth of the yacht Kestrel is number seven."
HIS = "At the harbour gate the berth of the tug Marabou is number nine."
LONGTERM = "longterm: {extract: true, reach: user}\n"
SPEC = CrewSpec.model_validate(
    {
        "crew": "desk",
        "memory": "own",
        "inputs": {"topic": {"type": "string", "default": "the berth at the harbour gate"}},
        "agents": {"clerk": AGENT},
        "tasks": {"ask": {"agent": "clerk", "description": "Speak of {topic}.", "expected_output": "Text."}},
    }
)


class Desk:
    """One crew whose runs act for users; each run says something, which is extracted as a fact of it."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch, by: str) -> None:
        self.root = root
        self._env = monkeypatch
        self._by = by
        (root / "crews").mkdir()
        (root / "memory").mkdir()

    def profile(self, body: str) -> None:
        (self.root / "memory" / "own.yaml").write_text(body)

    def run(self, user: str, said: str) -> tuple[Crew, str, str]:
        """Run for a user; return the crew, the run's id, and all that any model was told in it."""
        fact = text(json.dumps({"memory": [{"text": said, "source": "p1", "confidence": 0.9}]}))
        model = ScriptedModel.rules([("Memory Extractor", lambda request: fact), (lambda _: True, text(said))])
        # whoever makes the crew has the last word: the variable then names somebody else
        self._env.setenv("QUARTERDECK_USER", user if self._by == "variable" else "somebody else")
        crew = Crew(
            SPEC,
            workspace=Workspace(self.root),
            database_url=f"sqlite:///{self.root}/journal.db",
            catalog=ScriptedCatalog(model),
            parts=Parts(tools={}, outputs={}, guardrails={}, functions={}),
            user="" if self._by == "variable" else user,
        )
        result = crew.kickoff()
        assert result.status == "succeeded", result.evidence
        told = "\n".join(str(message.content) for request in model.requests for message in request.messages)
        assert len(model.requests) >= (2 if user else 1), "the agent was asked, and what extracts for a user"
        return crew, result.run_id, told


@pytest.fixture(params=["variable", "argument"])
def desk(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    return Desk(tmp_path, monkeypatch, request.param)


@pytest.fixture(params=["words", "meaning"], autouse=True)
def embedder(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    made = None if request.param == "words" else HashEmbedder()
    monkeypatch.setattr("quarterdeck.engine.longterm.Longterm._embedder_of", lambda self, run: made)


def recalled(crew: Crew, run_id: str) -> list[dict[str, Any]]:
    events = [row.event for row in crew.store.events(run_id) if isinstance(row.event, MemoryRecalled)]
    assert len(events) == 1 and not events[0].why
    return list(events[0].found)


@pytest.mark.parametrize("other", ["bob", "anna", "Ann"])
@pytest.mark.parametrize("more", ["", "episodes: {recall: 5}\n", "private: true\nepisodes: {recall: 5}\n"])
def test_nothing_of_one_users_memory_stands_in_anothers_prompt(desk: Desk, more: str, other: str) -> None:
    desk.profile(LONGTERM + more)
    crew, her_first, _ = desk.run("ann", HERS)
    his_crew, his_first, told = desk.run(other, HIS)
    assert recalled(his_crew, his_first) == [] and _of(told, HERS, her_first) == []
    rows = {row.about: row for row in crew.store.read(memories.select())}
    assert {name: row.text for name, row in rows.items()} == {"ann": HERS, other: HIS}
    past = {row.about for row in crew.store.read(episodes.select())}
    assert past == ({"ann", other} if more else set())
    for user, own, first, others, not_first in (
        ("ann", HERS, her_first, HIS, his_first), (other, HIS, his_first, HERS, her_first),
    ):  # fmt: skip
        crew, run_id, told = desk.run(user, "Ask at the office.")
        found = recalled(crew, run_id)
        assert {one["kind"] for one in found} == ({"fact", "episode"} if more else {"fact"})
        assert rows[user].id in {one["id"] for one in found}
        assert f"- {own} [run {first}, ask, model]" in told, "a user's own is there, with its source"
        assert _of(told, others, not_first) == [] and _of(json.dumps(found), others, not_first) == []


def _of(told: str, said: str, run_id: str) -> list[str]:
    """Return what of somebody's run, its words, its ship and its source, stands in a text."""
    return [one for one in (said, "Kestrel" if said == HERS else "Marabou", run_id) if one in told]


def test_what_a_crew_shares_is_there_for_another_user(desk: Desk) -> None:
    """The other way round: were a user's own not kept apart, this is what their prompts would hold."""
    desk.profile("longterm: {extract: true, reach: crew}\nepisodes: {recall: 5}\n")
    _, first, _ = desk.run("ann", HERS)
    crew, run_id, told = desk.run("bob", HIS)
    assert _of(told, HERS, first) == [HERS, "Kestrel", first]
    assert {one["kind"] for one in recalled(crew, run_id)} == {"fact", "episode"}


def test_a_run_for_nobody_has_no_part_in_what_is_a_users_own(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    desk.profile(f"{LONGTERM}private: true\nepisodes: {{recall: 5}}\n")
    _, first, _ = desk.run("ann", HERS)
    monkeypatch.setattr(desk, "_by", "variable")
    crew, run_id, told = desk.run("", HIS)
    assert recalled(crew, run_id) == [] and _of(told, HERS, first) == []
    assert {row.about for row in crew.store.read(memories.select())} == {"ann"}
