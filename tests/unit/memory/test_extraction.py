from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.unit.models.stages import Next, Remembered, context_of, failure, model_of

from quarterdeck.errors import LimitReached
from quarterdeck.journal.events import Decision
from quarterdeck.memory.extraction import PATH, Passage, extract
from quarterdeck.memory.item import Item, Scope
from quarterdeck.models.port import ModelReply

OURS = Scope("acme", "research")
PASSAGES = [
    Passage("run 7f3k2q, input topic", "How was 2023 at the port of Aldersund?", "user", "user"),
    Passage(
        "run 7f3k2q, gather",
        "In 2023 the port of Aldersund handled 12 million tonnes. Jon Lind said so.",
        "tool:documents.read",
    ),
]


def says(*facts: object, fence: bool = False) -> ModelReply:
    text = json.dumps({"memory": list(facts)})
    return ModelReply(f"```json\n{text}\n```" if fence else text)


def fact(text: str, source: str = "p2", confidence: object = 0.9) -> dict[str, Any]:
    return {"text": text, "source": source, "confidence": confidence}


async def taken(
    *script: Any, journal: Remembered | None = None, context: int = 128_000, passages: Any = PASSAGES
) -> tuple[tuple[Item, ...], Next]:
    port = Next(*script)
    at = context_of(journal)
    from dataclasses import replace

    found = await extract(
        passages,
        OURS,
        port=port,
        model=model_of("cheap", context),
        context=replace(at, path=PATH),
        known=["Known fact."],
    )
    return found, port


@pytest.mark.parametrize("fence", [False, True])
async def test_one_call_gives_facts_with_source_label_and_confidence(fence: bool) -> None:
    said = "The port of Aldersund handled 12 million tonnes in 2023."
    (item,), port = await taken(says(fact(said), fence=fence))
    assert (item.text, item.source, item.origin) == (said, "run 7f3k2q, gather", "tool:documents.read")
    assert item.confidence == 0.9 and item.scope == OURS
    (request,) = port.requests
    assert port.contexts[0].path == "memory/extract"
    assert "Memory Extractor" in request.messages[0].content  # mem0's own instructions
    assert "[p2] In 2023 the port" in request.messages[1].content and "Known fact." in request.messages[1].content
    sources = request.schema["properties"]["memory"]["items"]["properties"]["source"]["enum"]  # type: ignore[index]
    assert sources == ["p1", "p2"]


async def test_a_resumed_run_asks_the_very_same() -> None:
    _, first = await taken(says())
    _, second = await taken(says())
    assert first.requests == second.requests


async def test_what_the_source_does_not_have_is_not_sure() -> None:
    invented = [fact("The port of Aldersund handled 14 million tonnes in 2023."), fact("The director is Anna Berg.")]
    found, _ = await taken(
        says(*invented, fact("The port is in Aldersund.", "p9"), fact("It is so.", "p2", "high"), "x")
    )
    assert [item.confidence for item in found] == [0.36, 0.36, 0.9, 0]
    assert found[2].source == ""  # the gate refuses it


async def test_a_small_model_is_given_few_words_and_less_text() -> None:
    long = [Passage("run 1, gather", f"begin {'x' * 50_000} end")]
    _, port = await taken(says(), context=4096, passages=long)
    (request,) = port.requests
    assert "Memory Extractor" not in request.messages[0].content
    size = sum(len(message.content) for message in request.messages)
    assert size <= (4096 - request.max_tokens) * 3
    assert "begin" in request.messages[1].content and " end" in request.messages[1].content


@pytest.mark.parametrize(
    ("outcome", "why"),
    [
        (failure("server"), "it was server"),
        (LimitReached("no money left", "usd"), "no money left"),
        (ModelReply("no JSON at all"), ""),
        (ModelReply('{"facts": []}'), "no list of memories"),
        (ModelReply("{" * 5000), ""),
        (ModelReply("[" * 100_000), "too deep"),
    ],
    ids=["failed", "budget", "text", "other", "broken", "deep"],
)
async def test_what_fails_is_a_decision_and_never_the_runs_failure(outcome: Any, why: str) -> None:
    journal = Remembered()
    found, _ = await taken(outcome, journal=journal)
    assert found == ()
    (decision,) = journal.decisions()
    assert (decision.what, decision.path) == ("memory", PATH) and why in decision.why
    again = Remembered(decided=[decision])
    found, port = await taken(says(fact("The port is in Aldersund.")), journal=again)
    assert found == () and port.requests == []  # what came after rests on it


async def test_nothing_said_asks_nothing() -> None:
    found, port = await taken(says(), passages=[Passage("run 1", "  ")])
    assert found == () and port.requests == []


def test_mem0_is_imported_without_telemetry_and_writes_nothing_at_home(tmp_path: Path) -> None:
    code = (
        "from quarterdeck.memory.extraction import mem0_modules; mem0_modules(); import os\n"
        "from mem0.memory import telemetry\n"
        "print(telemetry.MEM0_TELEMETRY, os.path.exists(os.path.expanduser('~/.mem0')))"
    )
    environ = {**os.environ, "HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    ended = subprocess.run([sys.executable, "-c", code], env=environ, capture_output=True, text=True, check=True)
    assert ended.stdout.split() == ["False", "False"]


def test_the_decision_is_one_of_the_journal() -> None:
    assert Decision(path=PATH, what="memory", why="x").kind == "decision"
