"""What of a run may be read later, and by whom: sensitive stays sensitive, a user's own stays theirs."""

from __future__ import annotations

import json
import logging
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from tests.unit.engine.conftest import MakeCrew
from tests.unit.governance.test_provenance import described

from quarterdeck.engine.crew import Crew
from quarterdeck.governance.origins import Origins
from quarterdeck.journal.events import MemoryWritten
from quarterdeck.journal.tables import episodes, memories
from quarterdeck.memory.session import LocalSession
from quarterdeck.testing import HashEmbedder, ScriptedModel, call, text

TOPIC: Any = {"topic": {"type": "string", "default": "the gate of the harbour"}}
GATE = "The code of the harbour gate is kept by Anna Berg."
CANARIES = {
    "email": "ann.canary@aldersund.example", "iban": "NL91 ABNA 0417 1643 00", "phone": "+31 10 713 4455",
}  # fmt: skip
SAID = (
    f"Anna of the harbour gate reads {CANARIES['email']}, is paid at {CANARIES['iban']} and hears {CANARIES['phone']}."
)


@pytest.fixture(autouse=True)
def by_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("quarterdeck.engine.longterm.installed", lambda name: None)
    monkeypatch.delenv("QUARTERDECK_USER", raising=False)


@pytest.fixture
def profile(tmp_path: Path) -> Any:
    def write(body: str) -> None:
        (tmp_path / "memory").mkdir(exist_ok=True)
        (tmp_path / "memory" / "trial.yaml").write_text(body)

    return write


def extracting(fact: str, *steps: Any) -> ScriptedModel:
    """A model that takes some steps, and finds one fact in what was said."""
    found = text(json.dumps({"memory": [{"text": fact, "source": "p1", "confidence": 0.9}]}))
    left = list(steps)

    def say(request: Any) -> Any:
        return left.pop(0) if left else text("Done.")

    return ScriptedModel.rules([("Memory Extractor", lambda request: found), (lambda _: True, say)])


def prompt(model: ScriptedModel) -> str:
    return str(model.requests[0].messages[1].content)


def dump(path: Path, *tables: str) -> str:
    with sqlite3.connect(path) as connection:
        lines = [line for line in connection.iterdump() if any(f'"{table}' in line for table in tables)]
    connection.close()
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("sensitive", "label"), [(True, "tool:vault.read (not trusted) (sensitive)"), (False, "model")]
)
def test_a_fact_carries_on_what_it_was_made_of(
    make_crew: MakeCrew, profile: Any, monkeypatch: pytest.MonkeyPatch, sensitive: bool, label: str
) -> None:
    profile("longterm: {extract: true, recall: 3}\n")
    made: list[Origins] = []
    begin = Origins.__init__

    def noted(self: Origins, *given: Any, **named: Any) -> None:
        begin(self, *given, **named)
        made.append(self)

    monkeypatch.setattr(Origins, "__init__", noted)

    @described(effect="read", owner="t", sinks={}, sensitive=True)
    def read() -> str:
        return f"Note: {GATE}"

    def run(*steps: Any) -> tuple[Crew, ScriptedModel]:
        model = extracting(GATE, *steps)
        crew = make_crew(model, {"ask": {}}, tools={"vault.read": read}, memory="trial", inputs=TOPIC)
        assert crew.kickoff().status == "succeeded"
        return crew, model

    crew, _ = run(*([call("vault.read")] if sensitive else []), text(f"I was told: {GATE}"))
    (row,) = crew.store.read(memories.select())
    assert (row.text, row.origin) == (GATE, label)
    made.clear()
    _, model = run(text("Ask at the office."))
    assert GATE in prompt(model) and f", {label}]" in prompt(model)
    assert any(one.sensitive for one in made) is sensitive, "the rule on open sinks holds in the second run too"


@pytest.mark.parametrize("reach", ["crew", "agent", "user"])
@pytest.mark.parametrize("user", ["", "ann"])
def test_without_a_user_private_memory_is_nobodys(
    make_crew: MakeCrew, profile: Any, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch,
    user: str, reach: str,
) -> None:  # fmt: skip
    profile(f"private: true\nlongterm: {{extract: true, reach: {reach}}}\nepisodes: {{recall: 3}}\n")

    def run(who: str, said: str) -> tuple[Crew, ScriptedModel]:
        if who:
            monkeypatch.setenv("QUARTERDECK_USER", who)
        else:
            monkeypatch.delenv("QUARTERDECK_USER", raising=False)
        model = extracting("Ann of the harbour gate has the disease called gout.", text(said))
        crew = make_crew(model, {"ask": {}}, memory="trial", inputs=TOPIC)
        assert crew.kickoff().status == "succeeded"
        return crew, model

    crew, _ = run(user, "I am Ann of the harbour gate and my disease is gout.")
    kept = len(crew.store.read(memories.select())), len(crew.store.read(episodes.select()))
    assert kept == ((1, 2) if user else (0, 0))
    told = [one.message for one in caplog.records if "QUARTERDECK_USER" in one.getMessage()]
    assert len(told) == (0 if user else 1) and "\n" not in "".join(told)
    for other in ("", "bob"):
        _, model = run(other, "I am Bob.")
        assert "gout" not in prompt(model) and "Ann" not in prompt(model)
    _, model = run("ann", "It is me again.")
    assert ("gout" in prompt(model)) is bool(user), "what is a user's own is theirs again in the next run"


class Noting(HashEmbedder):
    """An embedder that notes what is embedded."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    async def embed(self, texts: Sequence[str]) -> list[list[float]]:
        self.seen.extend(texts)
        return await super().embed(texts)


@pytest.mark.parametrize("private", [True, False])
def test_personal_data_does_not_outlive_a_run(
    make_crew: MakeCrew, profile: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch, private: bool,
) -> None:  # fmt: skip
    monkeypatch.setenv("QUARTERDECK_USER", "ann")
    rest = "longterm: {extract: true}\nepisodes: {recall: 3}\nsession: {tools: [desk.find]}\n"
    profile(f"private: true\n{rest}" if private else rest)
    if not private:
        (tmp_path / "config").mkdir(exist_ok=True)
        (tmp_path / "config" / "governance.yaml").write_text("redact: {pii: [email, iban, phone]}\n")
    caches: list[LocalSession] = []
    begin = LocalSession.__init__

    def noted(self: LocalSession, *given: Any, **named: Any) -> None:
        begin(self, *given, **named)
        caches.append(self)

    monkeypatch.setattr(LocalSession, "__init__", noted)
    embedder = Noting()
    monkeypatch.setattr("quarterdeck.engine.longterm.Longterm._embedder_of", lambda self, run: embedder)

    @described(effect="read", owner="t", sinks={})
    def find(who: str) -> str:
        if who == "gone":
            raise RuntimeError(f"no desk for {SAID}")
        return SAID

    caplog.set_level(logging.DEBUG)
    model = extracting(SAID, call("desk.find", who="here"), call("desk.find", who="gone"), text(SAID))
    tasks = {"ask": {"description": f"Ask {SAID}"}}
    crew = make_crew(model, tasks, tools={"desk.find": find}, memory="trial", inputs=TOPIC)
    assert crew.kickoff().status == "succeeded"
    told = next(row.event for row in crew.store.events(crew.store.runs()[0].id) if row.kind == "memory.written")
    assert isinstance(told, MemoryWritten)
    assert told.refused == ()
    (row,) = crew.store.read(memories.select())
    written = dump(tmp_path / "journal.db", "memories", "vectors", "memory_text", "episodes")
    assert "gate" in row.text and "<EMAIL>" in row.text and "<IBAN>" in row.text and "<PHONE>" in row.text
    assert "no desk for Anna of the harbour gate reads <EMAIL>" in written, "failures stand in an episode"
    kept = {
        name: value for name, value in CANARIES.items() for piece in (value, value.replace(" ", "")) if piece in written
    }
    assert kept == {}
    assert not [one for one in CANARIES.values() if one in "".join(embedder.seen)], "a vector is made of what is kept"
    assert not [one for one in CANARIES.values() if one in caplog.text]
    assert len(caches) == 1 and caches[0]._kept == {}, "the session cache ends with its run"
    index = tmp_path / "memory-index"
    assert not [one for one in index.rglob("*") if one.is_file() and b"canary" in one.read_bytes()]
