"""What a run records of its crew, and of the Quarterdeck that ran it."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from quarterdeck.errors import JournalError
from quarterdeck.spec.crew import CrewSpec

if TYPE_CHECKING:
    from quarterdeck.journal.record import RunRecord


def crew_of(record: RunRecord) -> CrewSpec:
    """Return the crew of a run, as it was declared when the run started.

    Raises:
        JournalError: It is the run of a gate in some program, which alone can go on with it, or of a single call.
    """
    if "proposal" in record.spec:
        raise JournalError(
            f"Run {record.id} carries out one call that was proposed in shadow. It goes on with: "
            f"quarterdeck approvals approve {record.id}",
            code="changed",
        )
    if "crew" not in record.spec:
        raise JournalError(
            f"Run {record.id} is one of a gate in a program. It goes on when the program makes the same call again, "
            f'with Gate(..., run_id="{record.id}").',
            code="changed",
        )
    return CrewSpec.model_validate(record.spec["crew"])


@cache
def own_version() -> str:
    """Return the version of Quarterdeck that is installed."""
    from importlib.metadata import version

    return version("quarterdeck")
