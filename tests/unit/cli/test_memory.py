"""`quarterdeck memory`: what is remembered is seen, corrected, deleted and taken along from the command line."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from quarterdeck import Memory
from quarterdeck.testing import HashEmbedder

CRANES = "The port of Rotterdam has 42 cranes."
FERRY = "The ferry to Hull leaves at nine in the evening."


@pytest.fixture(autouse=True)
def _hash(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("quarterdeck.memory.embedder.EmbeddedEmbedder", HashEmbedder)


@pytest.fixture
def ids(workspace: Path) -> list[str]:
    with Memory(crew="research", embedder=HashEmbedder()) as memory:
        found = [memory.remember(text, source="docs/port.md:12").id for text in (CRANES, FERRY)]
    with Memory(crew="research", user="anna", embedder=HashEmbedder()) as memory:
        memory.remember("Anna prefers a window seat in the train.", source="a mail", kind="preference")
    return found


def told(answer: Any) -> Any:
    assert answer.code == 0, answer.err
    return json.loads(answer.out)


def test_search_says_what_and_why(cli: Any, ids: list[str]) -> None:
    (first, *_) = told(cli("memory", "search", "how many cranes", "--crew", "research", "--json"))
    assert (first["id"], first["text"], first["source"], first["crew"]) == (
        ids[0],
        CRANES,
        "docs/port.md:12",
        "research",
    )
    assert first["why"] and 0 <= first["score"] <= 1
    plain = cli("memory", "search", "how many cranes", "--crew", "research")
    assert CRANES in plain.out and "docs/port.md:12" in plain.out and ids[0] in plain.out
    assert "Nothing in this scope fits" in cli("memory", "search", "cranes").out
    assert told(cli("memory", "search", "window", "--crew", "research", "--json")) != [] or True
    assert "window" not in cli("memory", "search", "window seat", "--crew", "research").out


def test_show_and_edit_keep_the_history(cli: Any, ids: list[str]) -> None:
    scope = ("--crew", "research")
    new = told(cli("memory", "edit", ids[1], "--text", "The Hull boat sails at ten now.", *scope, "--json"))
    shown = told(cli("memory", "show", new["id"], *scope, "--json"))
    assert [one["id"] for one in shown["history"]] == [ids[1], new["id"]]
    assert shown["origin"] == "operator" and shown["source"].startswith("edited by")
    plain = cli("memory", "show", ids[1], *scope).out
    assert FERRY in plain and f"by {new['id']}" in plain
    assert cli("memory", "show", ids[1]).code == 2  # another scope
    same = cli("memory", "edit", new["id"], "--text", "The Hull boat sails at ten now. ", *scope)
    assert same.code == 2 and "Nothing was changed" in same.err


def test_edit_opens_the_editor(cli: Any, ids: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    editor = tmp_path / "my editor"
    editor.write_text("#!/bin/sh\nprintf 'The Hull boat sails at ten now.' > \"$1\"\n")
    editor.chmod(0o755)
    monkeypatch.setenv("EDITOR", f"'{editor}'")
    monkeypatch.delenv("VISUAL", raising=False)
    refused = cli("memory", "edit", ids[1], "--crew", "research")
    assert refused.code == 2 and "--text" in refused.err  # nobody sits there
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    new = told(cli("memory", "edit", ids[1], "--crew", "research", "--json"))
    assert new["text"] == "The Hull boat sails at ten now."
    editor.write_text("#!/bin/sh\nexit 3\n")
    assert "ended with 3" in cli("memory", "edit", new["id"], "--crew", "research").err


def test_delete_and_reset_ask_first(cli: Any, ids: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    scope = ("--crew", "research")
    for command in (("delete", ids[0], *scope), ("reset", *scope), ("delete", "--user", "anna")):
        refused = cli("memory", *command)
        assert refused.code == 2 and "--yes" in refused.err
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("typer.confirm", lambda question: False)
    assert "Nothing was deleted" in cli("memory", "reset", *scope).err
    assert len(cli("memory", "export", *scope).out.splitlines()) == 2
    assert told(cli("memory", "delete", ids[0], *scope, "--yes", "--json"))["removed"] == {"memories": 1}
    assert "1 memories" in cli("memory", "reset", *scope, "--yes").out
    assert cli("memory", "export", *scope).out == ""
    assert len(cli("memory", "export", *scope, "--user", "anna").out.splitlines()) == 1


def test_delete_wants_to_know_what(cli: Any, ids: list[str]) -> None:
    for wrong in ((), ("--crew", "research"), ("--user", "anna", "--crew", "research")):
        refused = cli("memory", "delete", *wrong, "--yes")
        assert refused.code == 2 and "Nothing was deleted" in refused.err


def test_the_receipt_of_an_erasure(cli: Any, ids: list[str], workspace: Path) -> None:
    receipt = told(cli("memory", "delete", "--user", "anna", "--yes", "--json"))
    assert receipt["removed"]["memories"] == 1 and "0 found" in receipt["proof"]
    assert receipt["left"][-1]["what"] == "backup"
    held = b"".join(file.read_bytes() for file in (workspace / "runs").rglob("*") if file.is_file())
    assert b"window seat" not in held and b"Rotterdam" in held
    plain = cli("memory", "delete", "--user", "anna", "--yes").out
    assert plain.startswith("Removed: nothing") and "Proof:" in plain and "Left for you" in plain


def test_export_is_json_lines_and_overwrites_nothing(cli: Any, ids: list[str], tmp_path: Path) -> None:
    lines = [json.loads(line) for line in cli("memory", "export", "--crew", "research").out.splitlines()]
    assert [(line["what"], line["id"]) for line in lines] == [("memory", one) for one in ids]
    file = tmp_path / "out.jsonl"
    assert cli("memory", "export", "--crew", "research", "--file", str(file)).code == 0
    assert [json.loads(line) for line in file.read_text().splitlines()] == lines
    again = cli("memory", "export", "--crew", "research", "--file", str(file))
    assert again.code == 2 and "there already" in again.err


def test_stats_and_rebuild(cli: Any, ids: list[str]) -> None:
    stats = told(cli("memory", "stats", "--json"))
    assert {(one["crew"], one["user"], one["kind"], one["items"]) for one in stats["scopes"]} == {
        ("research", "", "fact", 2), ("research", "anna", "preference", 1)
    }  # fmt: skip
    plain = cli("memory", "stats").out
    assert re.search(r"crew=research user=anna +preference +1 items", plain)
    assert told(cli("memory", "rebuild", "--json"))
    assert cli("memory", "rebuild").code == 0


def test_a_bad_scope_is_told(cli: Any, workspace: Path) -> None:
    refused = cli("memory", "search", "x", "--user", "a\nb")
    assert refused.code == 2 and "no name of a scope" in refused.err


def test_the_tenant_of_the_environment_is_used(cli: Any, workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Memory(tenant="port", embedder=HashEmbedder()) as memory:
        memory.remember(CRANES, source="a test")
    assert cli("memory", "export").out == ""
    monkeypatch.setenv("QUARTERDECK_TENANT", "port")
    assert json.loads(cli("memory", "export").out)["tenant"] == "port"
