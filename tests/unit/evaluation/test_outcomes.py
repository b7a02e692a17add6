"""Outcomes of changes: kept as lines, read back bounded, whatever else stands in the file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from quarterdeck.errors import QuarterdeckError
from quarterdeck.evaluation.outcomes import FILE, MAX_BYTES, Outcome, declared, identity, keep, kept
from quarterdeck.spec.crew import CrewSpec
from quarterdeck.tools.secrets import Masker


def outcome(**changes: Any) -> Outcome:
    fields = {
        "at": 1.0, "crew": "quiz", "run_id": "r1", "before": "a", "now": "b", "model": "cheap", "cases": 12,
        "runs": 24, "score_before": 0.5, "score_now": 0.75, "low": 0.1, "high": 0.4,
    }  # fmt: skip
    return Outcome.model_validate({**fields, **changes})


def test_the_newest_of_a_change_come_first(tmp_path: Path) -> None:
    folder = tmp_path / "runs"
    assert kept(folder, "a", "b") == []
    first, other, second = outcome(), outcome(now="c"), outcome(at=2.0)
    for one in (first, other, second):
        keep(folder, one)
    assert kept(folder, "a", "b") == [second, first]
    assert kept(folder, "a", "c") == [other] and kept(folder, "b", "a") == []


@pytest.mark.parametrize(
    "line", ["no json", "{}", "[1]", '{"at": 1e999}', "\x00\xff", outcome().model_dump_json().replace("0.75", "7.5")]
)
def test_lines_that_are_no_outcomes_are_passed_over(tmp_path: Path, line: str) -> None:
    keep(tmp_path, outcome())
    with (tmp_path / FILE).open("a", encoding="latin-1") as stream:
        stream.write(f"{line}\n")
    keep(tmp_path, outcome(at=2.0))
    assert [one.at for one in kept(tmp_path, "a", "b")] == [2.0, 1.0]


def test_only_the_end_of_a_large_file_is_read(tmp_path: Path) -> None:
    keep(tmp_path, outcome())
    with (tmp_path / FILE).open("a") as stream:
        stream.write("x" * MAX_BYTES + "\n")
    keep(tmp_path, outcome(at=2.0))
    assert [one.at for one in kept(tmp_path, "a", "b")] == [2.0]


def test_a_file_that_cannot_be_written_or_read_is_told(tmp_path: Path) -> None:
    (tmp_path / FILE).mkdir()
    with pytest.raises(QuarterdeckError, match=r"made but not kept: .* cannot be written"):
        keep(tmp_path, outcome())
    with pytest.raises(QuarterdeckError, match="cannot be read"):
        kept(tmp_path, "a", "b")


def test_limits_and_secrets_are_no_part_of_what_a_crew_is() -> None:
    agent = {"role": "R", "goal": "Use abc-4711-xyz-99.", "backstory": "B"}
    task = {"agent": "a", "description": "D", "expected_output": "E"}
    spec = CrewSpec.model_validate({"crew": "c", "agents": {"a": agent}, "tasks": {"t": task}})
    masker = Masker({"PORT_TOKEN": "abc-4711-xyz-99"})
    masked = CrewSpec.model_validate(masker.data(spec.model_dump(mode="json")))
    limited = masked.model_copy(update={"limits": spec.limits.model_copy(update={"usd": 1.0})})
    assert identity(spec, masker) == identity(limited, masker)
    assert "4711" not in str(declared(spec, masker))
    assert identity(spec, masker) != identity(spec.model_copy(update={"crew": "d"}), masker)
