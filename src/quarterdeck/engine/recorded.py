"""The crew of a recorded run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from quarterdeck.errors import JournalError
from quarterdeck.spec.crew import CrewSpec

if TYPE_CHECKING:
    from quarterdeck.journal.record import RunRecord


def crew_of(record: RunRecord) -> CrewSpec:
    """Return the crew of a run, as it was declared when the run started.

    Raises:
        JournalError: It is the run of a gate in some program, which alone can go on with it.
    """
    if "crew" not in record.spec:
        raise JournalError(
            f"Run {record.id} is one of a gate in a program. It goes on when the program makes the same call again, "
            f'with Gate(..., run_id="{record.id}").',
            code="changed",
        )
    return CrewSpec.model_validate(record.spec["crew"])
