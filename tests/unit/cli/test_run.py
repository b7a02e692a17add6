"""A run as its user sees it, and as a program reads it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from quarterdeck.models.prices import Price
from quarterdeck.testing import answer, error, text

FACTS = answer({"facts": ["opens at eight", "closes at five"]})
HELLO = [FACTS, text("# Welcome\n\nWe open at eight.")]


def test_a_run_shows_its_tasks_its_report_and_its_use(cli: Any, workspace: Path, script: Callable[..., Any]) -> None:
    with script(HELLO):
        done = cli("run", "hello", "--input", "reader=Ann")
    lines = done.out.splitlines()
    assert done.code == 0 and done.err == ""
    assert lines[0].startswith("hello  run ") and "model scripted" in lines[0] and "limits $0.05 5 min" in lines[0]
    assert lines[1].split()[:4] == ["ok", "facts", "reader", "2"] and "2 facts" in lines[1]
    assert lines[2].split()[:3] == ["ok", "welcome", "host"]
    assert lines[1].index("reader") == lines[2].index("host")
    assert "# Welcome" in lines and "We open at eight." in lines
    run_id = lines[0].split()[2]
    assert f"Report: runs/{run_id}/welcome.md" in lines
    assert (workspace / "runs" / run_id / "welcome.md").read_text() == "# Welcome\n\nWe open at eight."
    assert any("2 model calls   2 tool calls" in line and line.endswith("$0.00") for line in lines)
    assert lines[-1] == f"Why any of it: quarterdeck runs show {run_id}"
    assert "\x1b" not in done.out


def test_json_ends_with_exactly_one_result(cli: Any, workspace: Path, script: Callable[..., Any]) -> None:
    with script(HELLO):
        done = cli("run", "hello", "--json")
    *events, result = [json.loads(line) for line in done.out.splitlines()]
    assert events[0]["kind"] == "run.opened" and events[-1]["kind"] == "run.ended"
    assert all("kind" in event and event["kind"] != "text" for event in events)
    assert set(result) == {
        "run_id", "status", "code", "evidence", "output", "files", "model_calls", "tool_calls", "tokens", "cost_usd",
        "seconds", "degraded",
    }  # fmt: skip
    assert result["run_id"] == events[0]["run_id"]
    assert (result["status"], result["code"], result["cost_usd"]) == ("succeeded", "goal_met", 0.0)
    assert (result["model_calls"], result["tool_calls"]) == (2, 2)
    assert [Path(file).name for file in result["files"]] == ["welcome.md"]


def test_unknown_cost_is_null_and_said(cli: Any, workspace: Path, script: Callable[..., Any]) -> None:
    # without a price a run with a budget is refused, so the budget goes
    free = ("run", "hello", "--set", "limits.usd=null")
    assert "cost unknown" in _unpriced(script, cli, *free).out
    assert json.loads(_unpriced(script, cli, *free, "--json").out.splitlines()[-1])["cost_usd"] is None


def _unpriced(script: Callable[..., Any], cli: Any, *arguments: str) -> Any:
    model = script(HELLO, price=None)
    model.price = None
    return cli(*arguments)


def test_a_priced_run_shows_its_cost(cli: Any, workspace: Path, script: Callable[..., Any]) -> None:
    price = Price.per_million(1, 1)
    model = script(HELLO, price=price)
    model.price = price
    done = cli("run", "hello", "--set", "limits.usd=1.125")
    assert done.code == 0 and "limits $1.125" in done.out and "$0.0" in done.out.splitlines()[-2]


def test_a_failed_run_says_why_and_how_to_go_on(cli: Any, workspace: Path, script: Callable[..., Any]) -> None:
    script([error("refused", "the provider refused")])
    done = cli("run", "hello")
    assert done.code == 1
    assert "fail  facts" in done.out and "the provider refused" in done.out
    assert "Go on with: quarterdeck runs resume" in done.out and "failed in" in done.out


def test_a_partial_run_has_its_own_exit_code(cli: Any, workspace: Path, script: Callable[..., Any]) -> None:
    from quarterdeck.testing import call

    script([call("notes.read", name="welcome.md"), FACTS, text("Welcome.")])
    done = cli("run", "hello", "--set", "tasks.facts.max_turns=1")
    assert done.code == 10 and "part  facts" in done.out and "Why partial:" in done.out


def test_nothing_in_a_report_can_steer_the_terminal(cli: Any, workspace: Path, script: Callable[..., Any]) -> None:
    script([FACTS, text("Red \x1b[31malert\x1b]0;title\x07 \u202eback")])
    done = cli("run", "hello")
    assert "Red [31malert]0;title back" in done.out
    assert not set(done.out) & {"\x1b", "\x07", "\u202e"}


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["hallo"], 2, 'did you mean "hello"?'),
        (["hello", "--input", "redaer=x"], 2, '"redaer" is no input of hello; did you mean "reader"?'),
        (["hello", "--input", "reader"], 2, "write --input NAME=VALUE"),
        (["hello", "--input", "reader=a", "--input", "reader=b"], 2, "given twice"),
        (["hello", "--input-file", "nope.json"], 2, "nope.json cannot be read"),
        (["hello", "--input-file", "README.md"], 2, "README.md is no JSON"),
        (["hello", "--set", "limits.usd=much"], 2, "--set limits.usd"),
        (["hello", "--set", "agents.host.role=x"], 2, "there is no such setting"),
        (["hello", "--model", "openai/gpt-4o-mini-2024-07-18"], 3, "set OPENAI_API_KEY, or run on this machine"),
        (["hello", "--database", "mysql://x"], 4, "SQLite or PostgreSQL"),
    ],
)
def test_what_cannot_run_is_one_clear_line(
    cli: Any, workspace: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], code: int, said: str
) -> None:
    if "--database" in arguments:
        from quarterdeck.testing import ScriptedModel
        from quarterdeck.testing.catalog import ScriptedCatalog

        monkeypatch.setattr("quarterdeck.models.catalog.Catalog", lambda *_: ScriptedCatalog(ScriptedModel()))
    done = cli("run", *arguments)
    assert (done.code, done.out) == (code, "")
    assert said in done.err and len(done.err.strip().splitlines()) == 1
    assert not (workspace / "runs").exists()


def test_a_refusal_is_a_result_for_programs_too(cli: Any, workspace: Path) -> None:
    done = cli("run", "hello", "--input", "x=1", "--json")
    result = json.loads(done.out)
    assert done.code == 2 and done.err
    assert (result["run_id"], result["status"], result["code"]) == (None, "failed", "input")


def test_inputs_of_a_file_are_overridden_on_the_line(cli: Any, workspace: Path, script: Callable[..., Any]) -> None:
    (workspace / "in.json").write_text('{"reader": "Bob"}')
    model = script([*HELLO, *HELLO])
    assert cli("run", "hello", "--input-file", "in.json").code == 0
    assert "Bob needs most" in model.requests[0].messages[1].content
    assert cli("run", "hello", "--input-file", "in.json", "--input", "reader=Ann").code == 0
    assert "Ann needs most" in model.requests[2].messages[1].content


def test_missing_weights_are_named_and_nothing_is_run(
    cli: Any, workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QUARTERDECK_MODELS", str(tmp_path / "none"))
    done = cli("run", "hello")
    assert done.code == 3
    wanted = "Model local: weights missing (1.1 GB). Get them with: quarterdeck models pull local --yes"
    assert done.err.strip() == wanted
    assert not (workspace / "runs").exists()


def test_yes_fetches_missing_weights(
    cli: Any, workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from quarterdeck.errors import ModelError

    pulled = []

    def pull(name: str, *, source: Any, progress: Callable[[int, int], None]) -> Path:
        pulled.append((name, source))
        for done in range(0, 101):
            progress(done * 1_000_000, 100_000_000)
        raise ModelError("no further", "no_weights")

    monkeypatch.setenv("QUARTERDECK_MODELS", str(tmp_path / "none"))
    monkeypatch.setattr("quarterdeck.models.weights.pull", pull)
    done = cli("run", "hello", "--yes")
    assert pulled == [("qwen2.5-coder-1.5b", "auto")] and done.code == 3
    assert len(done.out.splitlines()) == 11  # every tenth percent where there is no terminal


def test_a_bug_is_one_line_and_exit_70(cli: Any, workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> None:
        raise RuntimeError("the\nhull leaks")

    monkeypatch.setattr("quarterdeck.spec.load.load_crew", broken)
    done = cli("run", "hello")
    assert done.code == 70 and "Traceback" not in done.err
    assert done.err.startswith("RuntimeError: the hull leaks. This is a bug")
    monkeypatch.setenv("QUARTERDECK_DEBUG", "1")
    assert "Traceback" in cli("run", "hello").err
