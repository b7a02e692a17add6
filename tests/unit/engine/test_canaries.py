"""Fifty planted secrets, each at a place of its own: none may come out anywhere."""

from __future__ import annotations

import base64
import hashlib
import json
import logging
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from tests.unit.engine.conftest import MakeCrew

from quarterdeck.errors import ToolError
from quarterdeck.journal.events import Event
from quarterdeck.testing import ScriptedModel, call, text
from quarterdeck.tools.secrets import Masker, MaskFilter

STARTS = ("sk-", "ghp_", "p/w+", "a=b&", "é-")
CANARIES = {
    f"CANARY_{number}_TOKEN": STARTS[number % 5] + hashlib.sha256(bytes([number])).hexdigest()[:28]
    for number in range(50)
}
VALUES = list(CANARIES.values())


@dataclass
class Headers:
    authorization: str
    cookie: bytes


PLACES: list[Callable[[str], Any]] = [
    lambda value: value,
    lambda value: {"deep": [{"er": {"still": [value]}}]},
    lambda value: {value: "as a key"},
    lambda value: f"https://x.example/a?key={quote(value, safe='')}",
    lambda value: f"postgresql://user:{quote(value)}@db/x",
    lambda value: {"Authorization": f"Bearer {value}"},
    lambda value: {"Authorization": "Basic " + base64.b64encode(f"user:{value}".encode()).decode()},
    lambda value: Headers(f"token {value}", value.encode()),
    lambda value: repr(value.encode()),
    lambda value: json.dumps({"body": json.dumps({"key": value})}),
    lambda value: value.encode().hex(),
    lambda value: value[::-1],
    lambda value: f"{value[:14]}\n{value[14:]}",
    lambda value: [ValueError(value)],
    lambda value: Path(f"/tmp/{value}"),
    lambda value: (value, {value}),
    lambda value: "x" * 15_000 + value,
]
TOOL_CANARIES = 40


def look(number: int) -> Any:
    """Look something up.

    Args:
        number: Which.
    """
    value = VALUES[number]
    logging.getLogger("tests.tool").warning("asked with %s", value)
    if number % 10 == 8:
        raise ToolError(f"401 for {value}")
    if number % 10 == 9:
        raise RuntimeError(f"header Authorization: Bearer {value}")
    return PLACES[number % len(PLACES)](value)


def shown(value: str) -> set[str]:
    """Return the pieces by which a value can be recognised, in several encodings."""
    piece = value[6:26]
    whole = value.encode()
    return {piece, piece[::-1], piece.encode().hex(), base64.b64encode(whole).decode()[4:24],
            base64.b64encode(b"user:" + whole).decode()[12:32]}  # fmt: skip


def leaked(text: str) -> set[str]:
    return {name for name, value in CANARIES.items() if any(piece in text for piece in shown(value))}


@pytest.fixture(autouse=True)
def planted(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in CANARIES.items():
        monkeypatch.setenv(name, value)


def test_the_test_would_see_them() -> None:
    assert all(leaked(f"a {value} b") == {name} for name, value in CANARIES.items())
    assert leaked(base64.b64encode(f"user:{VALUES[3]}".encode()).decode()) == {"CANARY_3_TOKEN"}


async def test_no_canary_comes_out(make_crew: MakeCrew, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.handler.addFilter(MaskFilter(Masker()))
    steps = [call("canaries.look", number=number) for number in range(TOOL_CANARIES)]
    own = VALUES[TOOL_CANARIES:]  # what a model, an input or an answer might say by itself
    steps.append(call("canaries.look", number=own[0]))
    steps += [call("canaries.look", number=number) for number in range(3)]  # for those that a summariser gets
    steps.append(call(f"no.{own[1]}", key=own[2]))
    model = ScriptedModel([*steps, text(f"The keys are {own[3]} and {own[4]}.")])
    crew = make_crew(
        model,
        {"look": {"description": "Look it all up for {who}.", "max_turns": 100}},
        tools={"canaries.look": look},
        inputs={"who": {"type": "string"}},
        limits={"model_calls": 200, "tool_calls": 200},
    )
    heard: list[Event] = []
    result = await crew.akickoff({"who": own[5]}, listener=heard.append)
    stored = crew.store.run(result.run_id)
    await crew.aclose()

    assert result.tool_calls >= TOOL_CANARIES, result.evidence
    assert leaked("".join(str(request) for request in model.requests)) == set(), "in a prompt"
    assert leaked("".join(event.model_dump_json() for event in heard)) == set(), "in what listeners hear"
    assert leaked(f"{result}{stored.inputs}{stored.spec}") == set(), "in the result"
    assert leaked(caplog.text) == set() and "asked with" in caplog.text, "in the log"
    assert leaked(dump(tmp_path / "journal.db")) == set(), "in the journal"
    for file in tmp_path.rglob("*"):
        if file.is_file():
            assert leaked(file.read_bytes().decode("utf-8", "replace")) == set(), file.name
    assert dump(tmp_path / "journal.db").count("[secret CANARY_") >= TOOL_CANARIES


def dump(database: Path) -> str:
    with sqlite3.connect(database) as connection:
        written = "\n".join(connection.iterdump())
    connection.close()
    return written


async def test_what_was_masked_replays(make_crew: MakeCrew) -> None:
    model = ScriptedModel([call("canaries.look", number=0, key=VALUES[1]), text("Done."), text("Done again.")])
    asked: list[int] = []

    def look_once(number: int, key: str) -> Any:
        """Look something up.

        Args:
            number: Which.
            key: With what.
        """
        asked.append(number)
        return look(number)

    crew = make_crew(model, {"look": {}}, tools={"canaries.look": look_once})
    result = await crew.akickoff()
    again = await crew.afork(result.run_id, "look/turn-2")
    await crew.aclose()
    assert result.status == again.status == "succeeded" and again.text == "Done again."
    assert asked == [0] and len(model.requests) == 3 and model.requests[1] == model.requests[2]
