"""Outcomes: what a change of a crew did to its score, kept as lines of JSON beside the runs."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from quarterdeck.errors import QuarterdeckError
from quarterdeck.journal.fingerprint import fingerprint

if TYPE_CHECKING:
    from quarterdeck.spec.crew import CrewSpec
    from quarterdeck.tools.secrets import Masker

FILE = "comparisons.jsonl"
MAX_BYTES = 1_000_000
"""So much of the end of the file is read."""
NOT_TOLD = frozenset({"limits", "concurrency", "autonomy"})
"""Keys of a crew that no agent is told; a comparison runs both sides with the same."""
LAST_DAY = 253_402_300_799
Share = Annotated[float, Field(ge=0, le=1)]
Difference = Annotated[float, Field(ge=-1, le=1)]


class Outcome(BaseModel):
    """The scores of two states of a crew on the same cases.

    Attributes:
        at: When it was found, in seconds since 1970.
        run_id: The run whose crew was held against the present one.
        before: Identifies the crew of that run; see `identity`.
        now: Identifies the crew as its files were.
        model: That all agents used.
        cases: How many.
        runs: Of both sides together.
        score_before: The share of runs that passed.
        score_now: As `score_before`.
        low: Of the 95 % confidence interval of the difference.
        high: As `low`.
    """

    model_config = ConfigDict(extra="ignore", frozen=True, allow_inf_nan=False)

    at: Annotated[float, Field(ge=0, le=LAST_DAY)]
    crew: str
    run_id: str
    before: str
    now: str
    model: str
    cases: Annotated[int, Field(ge=1)]
    runs: Annotated[int, Field(ge=2)]
    score_before: Share
    score_now: Share
    low: Difference
    high: Difference


def declared(spec: CrewSpec, masker: Masker) -> Any:
    """Return what makes a crew what it is, as data without secrets: all but its limits and its dial.

    Args:
        spec: The crew, of a file or of the journal, which holds no secrets.
        masker: Knows the secrets.
    """
    data = spec.model_dump(mode="json")
    return masker.data({key: value for key, value in data.items() if key not in NOT_TOLD})


def identity(spec: CrewSpec, masker: Masker) -> str:
    """Return what identifies a crew, the same for its file and for its runs. The arguments as for `declared`."""
    return fingerprint(declared(spec, masker))


def keep(folder: Path, outcome: Outcome) -> None:
    """Add an outcome to those of a workspace; processes that do so at once lose nothing.

    Args:
        folder: Where runs write.
        outcome: The outcome.

    Raises:
        QuarterdeckError: The file cannot be written.
    """
    path = folder / FILE
    line = f"{outcome.model_dump_json()}\n".encode()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            os.write(descriptor, line)  # one write of one line
        finally:
            os.close(descriptor)
    except OSError as error:
        raise QuarterdeckError(
            f"The comparison was made but not kept: {path} cannot be written ({error.strerror}). Make it writable.",
            code="not_written",
        ) from None


def kept(folder: Path, before: str, now: str) -> list[Outcome]:
    """Return what is known of a change, newest first; lines that are no outcomes are passed over.

    Args:
        folder: Where runs write.
        before: Identifies the earlier crew.
        now: Identifies the present one.

    Raises:
        QuarterdeckError: The file is there and cannot be read.
    """
    try:
        with (folder / FILE).open("rb") as stream:
            stream.seek(max(0, stream.seek(0, os.SEEK_END) - MAX_BYTES))
            lines = stream.read(MAX_BYTES).splitlines()
    except FileNotFoundError:
        return []
    except OSError as error:
        raise QuarterdeckError(f"{folder / FILE} cannot be read: {error.strerror}. Make it readable.") from None
    found = []
    for line in reversed(lines):
        try:
            outcome = Outcome.model_validate_json(line)
        except ValidationError:
            continue
        if (outcome.before, outcome.now) == (before, now):
            found.append(outcome)
    return found
