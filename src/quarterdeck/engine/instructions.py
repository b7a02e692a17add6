"""What people tell a run while it works: every agent at work hears it with its next model call."""

from __future__ import annotations

from typing import TYPE_CHECKING

from quarterdeck.engine.prompts import instructed
from quarterdeck.journal.events import Instructed, ModelCalled

if TYPE_CHECKING:
    from quarterdeck.engine.assignment import Assignment
    from quarterdeck.engine.scope import RunScope
    from quarterdeck.memory.window import Window


class Instructions:
    """Brings what people say into one assignment, each instruction once, in a replay at the same turn as before.

    Args:
        work: The assignment.
        run: The run it belongs to.
    """

    def __init__(self, work: Assignment, run: RunScope) -> None:
        self._work = work
        self._journal = run.journal
        self._heard: set[str] = set()

    def hear(self, window: Window, step: str) -> None:
        """Add what is new to the window of the next model call.

        Args:
            window: Of the assignment.
            step: Of that call, such as `turn-3`.
        """
        if not self._journal.dialogue.instructions:
            return
        path = f"{self._work.path}/{step}"
        news = self._journal.dialogue.heard(path)
        if not news and self._journal.recorded(ModelCalled, path) is None:
            news = [one for one in self._journal.dialogue.instructions if one.id not in self._heard]
            for one in news:
                self._record(one, path)
        for one in news:
            self._heard.add(one.id)
            window.pin(instructed(one.text))

    def _record(self, said: Instructed, path: str) -> None:
        place = {"path": path, "task": self._work.task, "agent": self._work.agent_name}
        heard = said.model_copy(update=place)
        self._journal.note(heard)
        self._journal.dialogue.add(heard)
