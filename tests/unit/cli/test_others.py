"""new, prompts, models, doctor."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from quarterdeck.testing import text


def test_new_names_its_crew_and_refuses_a_full_folder(cli: Any, tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"
    assert cli("new", str(folder), "--crew", "greeting").code == 0
    assert "crew: greeting" in (folder / "crews" / "greeting.yaml").read_text()
    assert "quarterdeck run greeting" in (folder / "README.md").read_text()
    assert "runs/" in (folder / ".gitignore").read_text()
    again = cli("new", str(folder))
    assert again.code == 2 and "is not empty. Nothing was written" in again.err
    assert cli("new", str(tmp_path / "c"), "--crew", "../x").code == 2
    assert not (tmp_path / "c").exists()


def test_prompts_are_those_that_a_run_sends(cli: Any, workspace: Path, script: Callable[..., Any]) -> None:
    from quarterdeck.testing import answer

    with script([answer({"facts": ["f"]}), text("Welcome.")]) as model:
        shown = json.loads(cli("prompts", "show", "hello", "--input", "reader=Ann", "--json").out)
        assert cli("run", "hello", "--input", "reader=Ann").code == 0
    for one, request in zip(shown, model.requests, strict=True):
        sent = [message.content for message in request.messages]
        if one["task"] == "welcome":
            sent[1] = sent[1].replace('{"facts":["f"]}', "{facts}")
        if one["task"] == "facts":
            given = sent[1].index("## notes.read\n") + len("## notes.read\n")
            sent[1] = (
                sent[1][:given] + '{result of notes.read(name="welcome.md")}' + sent[1][sent[1].index("\n\nList") :]
            )
        assert [message["content"] for message in one["messages"]] == sent
        assert [tool["name"] for tool in one["tools"]] == [tool.name for tool in request.tools]
        assert one["schema"] == request.schema


def test_prompts_of_one_agent(cli: Any, workspace: Path, script: Callable[..., Any]) -> None:
    script([])
    out = cli("prompts", "show", "hello", "--agent", "host").out
    assert "You are Host." in out and "{facts}" in out and "Careful reader" not in out
    unknown = cli("prompts", "show", "hello", "--agent", "hots")
    assert unknown.code == 2 and 'did you mean "host"?' in unknown.err


def test_models_list(cli: Any, workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QUARTERDECK_MODELS", str(tmp_path / "none"))
    monkeypatch.setenv("ANTHROPIC_API_KEY", "secret-of-mine")
    out = cli("models", "list").out
    assert "weights missing (1.1 GB)" in out and "no key (OPENAI_API_KEY)" in out and "key set" in out
    models = {model["name"]: model for model in json.loads(cli("models", "list", "--json").out)}
    assert models["local"]["weights_here"] is False and models["local"]["usd_per_million"] == {"input": 0, "output": 0}
    assert "secret-of-mine" not in out


def test_models_pull_needs_consent_and_takes_a_file(
    cli: Any, workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QUARTERDECK_MODELS", str(tmp_path / "none"))
    asked = cli("models", "pull", "local")
    assert asked.code == 3 and "1.1 GB" in asked.err and "--yes" in asked.err
    wrong = tmp_path / "other.gguf"
    wrong.write_bytes(b"x")
    done = cli("models", "pull", "local", "--from", str(wrong))
    assert done.code == 3 and "1 bytes" in done.err
    assert cli("models", "pull", "nothing").code == 3


def test_models_test_shows_what_a_call_took(cli: Any, workspace: Path, script: Callable[..., Any]) -> None:
    with script([text("ready")]):
        done = cli("models", "test")
    assert done.code == 0 and "answers: ready" in done.out and "$0.00" in done.out
    with script([text("ready")]):
        result = json.loads(cli("models", "test", "--json").out)
    assert result["text"] == "ready" and result["cost_usd"] == 0.0 and result["tokens"] > 0


def test_doctor_says_what_is_missing_and_how_to_mend_it(
    cli: Any, workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("quarterdeck.cli.doctor._reaches", lambda url: False)
    monkeypatch.setenv("QUARTERDECK_MODELS", str(tmp_path / "none"))
    done = cli("doctor")
    assert done.code == 1
    lines = done.out.splitlines()
    assert lines[0].startswith("ok    Python 3.")
    assert any(line.startswith("ok    database sqlite (WAL), writable, schema current") for line in lines)
    missing = next(line for line in lines if "weights missing" in line)
    assert missing.startswith("fail  model local") and missing.endswith("quarterdeck models pull local")
    assert any(line.startswith("info  network:") for line in lines)
    monkeypatch.setenv("OPENAI_API_KEY", "secret-of-mine")
    with_key = cli("doctor", "--json")
    assert with_key.code == 0 and "secret-of-mine" not in with_key.out  # another model is the default now
    levels = {finding["what"]: finding["level"] for finding in json.loads(with_key.out)}
    assert levels["key for openai set"] == "ok" and levels["telemetry of all libraries off"] == "ok"


def test_doctor_and_validate_say_before_a_run_that_names_cannot_be_redacted(
    cli: Any, workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("quarterdeck.cli.doctor._reaches", lambda url: False)
    monkeypatch.setenv("QUARTERDECK_MODELS", str(tmp_path / "none"))
    governance = workspace / "config" / "governance.yaml"
    governance.write_text(governance.read_text() + "\nredact: {pii: [email, person]}\n")
    lines = cli("doctor").out.splitlines()
    missing = next(line for line in lines if "redact.pii" in line)
    assert missing.startswith("fail  redact.pii: the model that finds person")
    assert missing.endswith("quarterdeck models pull names --yes")
    done = cli("validate")
    assert done.code == 0 and "warning: config/governance.yaml: redact.pii: the model that finds person" in done.out
    monkeypatch.setattr("quarterdeck.models.weights.installed", lambda name: tmp_path)
    assert "ok    redact.pii: the model that finds person is here" in cli("doctor").out
    assert "warning" not in cli("validate").out


def test_doctor_knows_whether_code_can_be_kept_in(
    cli: Any, workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("quarterdeck.cli.doctor._reaches", lambda url: False)
    program = tmp_path / "bwrap"
    program.write_text("#!/bin/sh\necho bubblewrap 0.8.0\n")
    program.chmod(0o755)
    monkeypatch.setattr("quarterdeck.tools.sandbox.bubblewrap", lambda: str(program))
    assert f"ok    sandbox: bubblewrap 0.8.0 ({program})" in cli("doctor").out
    program.write_text("#!/bin/sh\nexit 1\n")
    assert f"warn  sandbox: {program} cannot be run" in cli("doctor").out
    monkeypatch.setattr("quarterdeck.tools.sandbox.bubblewrap", lambda: "")
    lacking = next(line for line in cli("doctor").out.splitlines() if "sandbox" in line)
    assert lacking.startswith("info  sandbox: no bubblewrap") and "apt-get install bubblewrap" in lacking


def test_doctor_fails_on_a_damaged_database(cli: Any, workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("quarterdeck.cli.doctor._reaches", lambda url: False)
    (workspace / "runs").mkdir()
    (workspace / "runs" / "journal.db").write_bytes(b"no database at all " * 100)
    done = cli("doctor")
    assert done.code == 1 and "fail  database: The journal" in done.out


def test_prompts_of_a_hierarchical_crew_show_manager_and_workers(
    cli: Any, workspace: Path, script: Callable[..., Any]
) -> None:
    script([])
    (workspace / "crews" / "led.yaml").write_text(
        "crew: led\nprocess: hierarchical\nagents: {boss: {use: host}, hand: {use: reader, tools: [notes.read]}}\n"
        "tasks: {all: {description: Do it., expected_output: Text.}}\nhierarchical: {manager: boss}\n"
    )
    boss, hand = json.loads(cli("prompts", "show", "led", "--json").out)
    assert (boss["agent"], [tool["name"] for tool in boss["tools"]]) == ("boss", ["delegate"])
    assert hand["agent"] == "hand" and hand["messages"][1]["content"] == "{work}"
    assert [tool["name"] for tool in hand["tools"]] == ["notes.read"]
