"""Reading cases, and judging answers by their checks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from quarterdeck.engine.result import Result
from quarterdeck.errors import InputError, SpecError
from quarterdeck.evaluation.cases import MAX_LINES_BYTES, Case, CheckSpec, load_cases
from quarterdeck.evaluation.checks import plain_failures
from quarterdeck.spec.crew import CrewSpec

CREW = CrewSpec.model_validate({
    "crew": "tide", "inputs": {"day": {}, "pier": {"default": "North"}},
    "agents": {"a": {"role": "r", "goal": "g", "backstory": "b"}},
    "tasks": {"t": {"agent": "a", "description": "d", "expected_output": "e"}},
})  # fmt: skip


def problems(path: Path, text: str) -> list[str]:
    path.write_text(text)
    with pytest.raises(SpecError) as found:
        load_cases(path, CREW, shown=path.name)
    return [str(problem) for problem in found.value.problems]


@pytest.mark.parametrize("bare", [False, True])
def test_yaml_and_json_lines_read_the_same(tmp_path: Path, bare: bool) -> None:
    yaml, lines = tmp_path / "c.yaml", tmp_path / "c.jsonl"
    head, pad = ("", "") if bare else ("cases:\n", "  ")
    yaml.write_text(f"{head}{pad}- name: one\n{pad}  inputs: {{day: x}}\n{pad}  checks: [{{contains: six}}]\n")
    lines.write_text('{"name": "one", "inputs": {"day": "x"}, "checks": [{"contains": "six"}]}\n\n')
    assert load_cases(yaml, CREW) == load_cases(lines, CREW)
    assert load_cases(yaml, CREW)[0].checks == (CheckSpec(contains="six"),)


def test_every_mistake_is_told_where_it_stands(tmp_path: Path) -> None:
    text = """\
cases:
  - name: one
    inputs: {dai: x}
    checks:
      - that: outputs.n > 1
      - matches: "("
      - {}
  - name: one
    inputs: {day: x}
    checks: [{that: "1 +"}, {guardrail: tools/none.py:check}]
"""
    told = problems(tmp_path / "c.yaml", text)
    assert told[0].startswith('c.yaml:3:5  cases.0.inputs: the input "day" of tide is missing')
    assert 'c.yaml:3:14  cases.0.inputs.dai: "dai" is no input of tide; did you mean "day"?' in told
    assert 'c.yaml:5:9  cases.0.checks.0.that: "outputs.n" is not known here' in told[2]
    assert any(one.startswith("c.yaml:6:9  cases.0.checks.1.matches: not a regular expression") for one in told)
    assert any(one.startswith("c.yaml:7:9  cases.0.checks.2: says nothing") for one in told)
    assert any(one.startswith('c.yaml:8:5  cases.1.name: there is a case "one" already') for one in told)
    assert sum("cases.1.checks" in one for one in told) == 2


def test_shape_and_lines(tmp_path: Path) -> None:
    assert problems(tmp_path / "a.yaml", "cases: [{name: one, chekcs: []}]") == [
        'a.yaml:1:21  cases.0: unknown key "chekcs"; did you mean "checks"?'
    ]
    assert "a.jsonl:3:" in problems(tmp_path / "a.jsonl", '{"name": "a", "inputs": {"day": "x"}}\n\n{"name": 1}\n')[0]
    assert problems(tmp_path / "b.jsonl", '{"name": "a", "inputs": {"day": "x"}}\n{"name":\n')[0].startswith(
        "b.jsonl:2:"
    )
    assert "at least one case" in problems(tmp_path / "c.jsonl", "\n")[0]
    assert problems(tmp_path / "d.yaml", "cases: []")
    assert "not UTF-8" in str(_refused(tmp_path / "e.jsonl", b"\xff"))
    with pytest.raises(InputError, match="larger than 4 MB"):
        load_cases(_written(tmp_path / "f.jsonl", b"x" * (MAX_LINES_BYTES + 1)), CREW)
    assert "cannot be read" in str(_refused(tmp_path / "none.jsonl", None))


def _written(path: Path, raw: bytes) -> Path:
    path.write_bytes(raw)
    return path


def _refused(path: Path, raw: bytes | None) -> SpecError:
    if raw is not None:
        path.write_bytes(raw)
    with pytest.raises(SpecError) as found:
        load_cases(path, CREW)
    return found.value


RESULT = Result("id", "succeeded", "goal_met", "", {"n": 3, "sure": True}, "High tide is at Six.")


@pytest.mark.parametrize(
    ("check", "holds"),
    [
        ({"that": "output.n >= 3 and status == 'succeeded'"}, True),
        ({"that": "output.n > 3"}, False),
        ({"that": "inputs.day == 'x' and len(text) > 3"}, True),
        ({"contains": "six"}, True),
        ({"contains": "seven"}, False),
        ({"lacks": "seven"}, True),
        ({"lacks": "SIX"}, False),
        ({"matches": r"at \w+\.$"}, True),
        ({"matches": r"^six"}, False),
        ({"max_characters": 20}, True),
        ({"max_characters": 19}, False),
        ({"min_characters": 21}, False),
        ({"contains": "six", "max_characters": 5}, False),
    ],
)
def test_checks(check: dict[str, Any], holds: bool) -> None:
    assert (plain_failures(CheckSpec.model_validate(check), RESULT, {"day": "x"}) == []) is holds


def test_only_a_check_of_the_status_lets_a_failed_run_pass() -> None:
    assert not Case(name="a", checks=(CheckSpec(that="output.n > 1"),)).may_fail
    assert Case(name="a", checks=(CheckSpec(that="code == 'output_rejected'"),)).may_fail
