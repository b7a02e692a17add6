"""What reaches a terminal, and what words figures get."""

from __future__ import annotations

import io
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quarterdeck.cli import text
from quarterdeck.cli.progress import LinesView, gist
from quarterdeck.cli.screen import Screen, aligned
from quarterdeck.journal.events import Decision, RunOpened, TaskEnded, TaskStarted, TextArrived, ToolStarted
from quarterdeck.spec.crew import CrewSpec

SPEC = CrewSpec.model_validate({
    "crew": "trial",
    "agents": {"critic": {"role": "r", "goal": "g", "backstory": "b"}},
    "tasks": {"review": {"agent": "critic", "description": "d", "expected_output": "e"}},
})  # fmt: skip
ENDED = TaskEnded(path="review", task="review", agent="critic", status="succeeded", code="goal_met", output={"a": [1]})


@given(st.text())
def test_cleaned_text_holds_nothing_that_a_terminal_obeys(said: str) -> None:
    cleaned = text.clean(said + "\x1b[2J\x9b31m\x07\r")
    assert all(ord(letter) >= 32 and not 127 <= ord(letter) < 160 for letter in cleaned if letter not in "\n\t")


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (text.duration(0.04), "0.0 s"), (text.duration(41.2), "41 s"), (text.duration(98), "1 min 38 s"),
        (text.duration(600), "10 min"), (text.duration(7500), "2 h 5 min"), (text.tokens(612), "0.6k tokens"),
        (text.money(Decimal("0.5")), "$0.50"), (text.money(Decimal("0.0012")), "$0.0012"),
        (text.money(None), "cost unknown"), (text.size(1_117_320_768), "1.1 GB"), (text.count(1, "file"), "1 file"),
    ],
)  # fmt: skip
def test_figures_in_words(said: str, expected: str) -> None:
    assert said == expected


def test_columns_are_aligned() -> None:
    assert aligned([("a", "long", "x"), ("bbb", "y")]) == ["a    long  x", "bbb  y"]


def test_a_decision_joins_the_line_of_its_task() -> None:
    out = io.StringIO()
    with LinesView(Screen(out), SPEC) as view:
        view(RunOpened(run_id="abc", crew="trial", models=("m",)))
        view(TaskStarted(path="review", task="review", agent="critic"))
        view(ENDED)
        why = '"all_answered" does not hold: dredging'
        view(Decision(path="review", task="review", what="back to gather (1 of 2)", why=why))
    lines = out.getvalue().splitlines()
    assert view.run_id == "abc" and len(lines) == 2
    assert "1 a, back to gather (1 of 2): dredging" in lines[1]


def test_a_terminal_shows_what_is_going_on_and_obeys_nothing_of_it() -> None:
    out = io.StringIO()
    screen = Screen(out, terminal=True)
    with LinesView(screen, SPEC) as view:
        view(RunOpened(run_id="abc", crew="trial", models=("m",)))
        view(TaskStarted(path="review", task="review", agent="critic"))
        arguments = {"name": "tide\x1b]0;owned\x07.txt"}
        place = {"path": "review/turn-1/tool-1", "task": "review", "agent": "critic"}
        view(ToolStarted(**place, tool="notes.read", arguments=arguments))
        shown = str(view._at_work())
        view(TextArrived(path="review/turn-2", task="review", agent="critic", text="so"))
        assert "writing" in str(view._at_work())
        view(ENDED)
    assert "notes.read(name=" in shown and "\x1b" not in shown and "\x07" not in shown
    assert "ok" in out.getvalue() and "]0;owned\x07" not in out.getvalue()


def test_markdown_is_rendered_on_a_terminal_without_boxes_and_links() -> None:
    out = io.StringIO()
    Screen(out, terminal=True).markdown("# Title\n\nSee [this](https://example.org/x).\n\x1b[31mred")
    shown = out.getvalue()
    assert "Title" in shown and "# Title" not in shown
    assert "\x1b]8;" not in shown and "\x1b[31m" not in shown and "\u2500" not in shown and "\u250f" not in shown


def test_ascii_where_nothing_else_can_be_shown() -> None:
    raw = io.BytesIO()
    out = io.TextIOWrapper(raw, encoding="ascii", write_through=True)
    Screen(out).line("caf\u00e9 \u2713")
    assert raw.getvalue() == b"caf? ?\n"


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        ({"questions": ["a", "b", "c"]}, "3 questions"),
        ({"questions": ["a"]}, "1 question"),
        ([{"item": "q", "output": {"facts": [1, 2]}}, {"item": "r", "output": {"facts": [3]}}], "3 facts for 2 items"),
        ([1, 2], "2 entries"),
        ("Hello\nthere", "Hello there"),
        (None, ""),
    ],
)
def test_the_gist_of_an_output(output: object, expected: str) -> None:
    assert gist(output) == expected
