"""Cases: inputs of a crew with the checks that its answer has to pass, read from YAML or JSON lines."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from quarterdeck.errors import InputError, SpecError
from quarterdeck.spec.conditions import Condition
from quarterdeck.spec.crew import CrewSpec, Declared
from quarterdeck.spec.problem import Problem, did_you_mean
from quarterdeck.spec.sentences import Finding, findings
from quarterdeck.spec.text import Document, Place, read_document, read_text

MAX_CASES = 1000
MAX_LINES_BYTES = 4_000_000
KNOWN = ("output", "text", "status", "code", "inputs")
"""What the condition of a check can name."""

_JSON_LINES = (".jsonl", ".ndjson")


class CheckSpec(Declared):
    """What an answer has to be; all that is written holds, or the case has failed."""

    that: str | None = Field(default=None, description="A condition over output, text, status, code and inputs.")
    contains: str | None = Field(default=None, description="Stands in the text; upper and lower case alike.")
    lacks: str | None = Field(default=None, description="Does not stand in the text; upper and lower case alike.")
    matches: str | None = Field(default=None, description="A regular expression that is found in the text.")
    min_characters: Annotated[int, Field(ge=0, le=1_000_000)] | None = None
    max_characters: Annotated[int, Field(ge=0, le=1_000_000)] | None = None
    guardrail: str | None = Field(default=None, description="A function tools/FILE.py:NAME, as in crews.")


class Case(Declared):
    """One set of inputs, and what a good answer to it is."""

    name: Annotated[str, Field(min_length=1, max_length=100)]
    inputs: dict[str, Any] = Field(default_factory=dict)
    checks: tuple[CheckSpec, ...] = Field(default=(), max_length=50)
    tags: tuple[str, ...] = Field(default=(), max_length=20)

    @property
    def may_fail(self) -> bool:
        """Whether a run that did not succeed can pass: a check speaks of its status."""
        conditions = [Condition.parse(check.that) for check in self.checks if check.that is not None]
        return any(condition.names & {"status", "code"} for condition in conditions)


class CaseFile(Declared):
    """A YAML file of cases."""

    cases: Annotated[tuple[Case, ...], Field(max_length=MAX_CASES)]


def load_cases(path: Path, crew: CrewSpec, *, shown: str = "", folders: Sequence[Path] = ()) -> list[Case]:
    """Read cases and check them against the crew they are for.

    Args:
        path: YAML with one key `cases`, or a case a line as JSON (`.jsonl`).
        crew: The crew.
        shown: How problems name the file; the path by default.
        folders: The tools folders, for guardrails.

    Raises:
        SpecError: With every problem, each with file, line and column.
        InputError: The file is too large.
    """
    shown = shown or str(path)
    read = _lines(path, shown) if path.suffix.lower() in _JSON_LINES else _yaml(path, shown)
    problems: list[Problem] = []
    cases: list[Case] = []
    names: set[str] = set()
    for document, place, line, case, found in read:
        if case is not None:
            found = [*found, *_wrong(case, place, crew, names, folders)]
            names.add(case.name)
            cases.append(case)
        problems += [_at(document.problem(one.place, one.what, at=one.at), line) for one in found]
    if problems:
        raise SpecError(sorted(set(problems)))
    if not cases:
        raise SpecError([Problem(shown, 1, 1, "cases", "name at least one case")])
    if len(cases) > MAX_CASES:
        raise SpecError([Problem(shown, MAX_CASES + 1, 1, "cases", f"more than {MAX_CASES:,} cases; split the file")])
    return cases


_Read = Iterator[tuple[Document, Place, int, Case | None, list[Finding]]]


def _yaml(path: Path, shown: str) -> _Read:
    document = read_document(path, shown)
    data = {"cases": document.data} if isinstance(document.data, list) else document.data
    file, found = findings(CaseFile, data)
    if isinstance(document.data, list):  # a bare list: its places have no key before them
        found = [Finding(one.place[1:], one.what, one.at and one.at[1:]) for one in found]
    yield document, (), 0, None, found
    if not found and file is not None:
        for index, case in enumerate(file.cases):
            yield document, (index,) if isinstance(document.data, list) else ("cases", index), 0, case, []


def _lines(path: Path, shown: str) -> _Read:
    try:
        with path.open("rb") as stream:
            raw = stream.read(MAX_LINES_BYTES + 1)
        text = raw.decode("utf-8-sig")
    except OSError as error:
        raise SpecError([Problem(shown, 1, 1, "", f"cannot be read: {error.strerror or error}")]) from None
    except UnicodeDecodeError:
        raise SpecError([Problem(shown, 1, 1, "", "not UTF-8; save the file as UTF-8")]) from None
    if len(raw) > MAX_LINES_BYTES:
        raise InputError(f"{shown} is larger than {MAX_LINES_BYTES // 1_000_000} MB; split it. Nothing was run.")
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            document = read_text(line, shown, json=True)
        except SpecError as error:
            raise SpecError([_at(problem, number) for problem in error.problems]) from None
        case, found = findings(Case, document.data)
        yield document, (), number, None if found else case, found


def _at(problem: Problem, line: int) -> Problem:
    """Return a problem of a file of lines, each read by itself, where it stands in the file; 0 leaves it as it is."""
    return Problem(problem.file, line or problem.line, problem.column, problem.where, problem.what)


def _wrong(case: Case, place: Place, crew: CrewSpec, names: set[str], folders: Sequence[Path]) -> Iterator[Finding]:
    if case.name in names:
        yield Finding((*place, "name"), f'there is a case "{case.name}" already')
    for name in case.inputs:
        if name not in crew.inputs:
            hint = did_you_mean(name, crew.inputs) or f"; inputs: {', '.join(crew.inputs) or 'none'}"
            yield Finding((*place, "inputs", name), f'"{name}" is no input of {crew.crew}{hint}')
    for name, declared in crew.inputs.items():
        if name not in case.inputs and declared.default is None:
            yield Finding((*place, "inputs"), f'the input "{name}" of {crew.crew} is missing')
    for index, check in enumerate(case.checks):
        for key, what in _wrong_check(check, folders):
            yield Finding((*place, "checks", index, *([key] if key else [])), what)


def _wrong_check(check: CheckSpec, folders: Sequence[Path]) -> Iterator[tuple[str, str]]:
    if check == CheckSpec():
        yield "", f"says nothing; write one of {', '.join(CheckSpec.model_fields)}"
    if check.that is not None:
        try:
            for name in sorted(Condition.parse(check.that).names):
                if name.split(".")[0] not in KNOWN:
                    hint = did_you_mean(name, KNOWN) or f"; there are {', '.join(KNOWN)}"
                    yield "that", f'"{name}" is not known here{hint}'
        except ValueError as error:
            yield "that", str(error)
    if check.matches is not None:
        try:
            re.compile(check.matches)
        except (re.error, RecursionError, OverflowError) as error:
            yield "matches", f"not a regular expression: {error}"
    if check.guardrail is not None:
        from quarterdeck.tools.loading import load_object

        try:
            load_object(check.guardrail, folders)
        except SpecError as error:
            yield "guardrail", error.problems[0].what
