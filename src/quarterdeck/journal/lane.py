"""One run of this process, as the writer sees it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop

    from quarterdeck.errors import JournalError


class Letter(NamedTuple):
    """One row of the inbox: an event that a person wants recorded in a run which a process works on."""

    id: str
    run_id: str
    body: str


@dataclass(slots=True, eq=False)
class Lane:
    """One run as the writer sees it.

    Attributes:
        loop: Where the run lives; it is told there that somebody cancelled it, or has something to say.
        on_cancel: Called once, on that loop.
        on_letters: Called on that loop with what is in the run's inbox; again until it is taken out.
        session: The database session that holds the run, or None when a file holds it.
        failure: Why nothing more can be written: the run's chain would have a gap.
    """

    run_id: str
    loop: AbstractEventLoop
    on_cancel: Callable[[], None]
    on_letters: Callable[[list[Letter]], None] = lambda letters: None
    session: int | None = None
    failure: JournalError | None = None
