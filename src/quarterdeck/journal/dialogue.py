"""What a run asked people and what they said to it, as its journal has it."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from quarterdeck.journal.events import ApprovalAnswered, ApprovalAsked, Event, Instructed
from quarterdeck.journal.record import StoredEvent

ASKED = ApprovalAsked.model_fields["kind"].default
ANSWERED = ApprovalAnswered.model_fields["kind"].default
INSTRUCTED = Instructed.model_fields["kind"].default


class Dialogue:
    """The questions of one run, the answers to them, and the instructions that it was given.

    An approval that a fork took over from its parent is left out: it was given for another run.

    Args:
        rows: All events of the run; their chain has been verified.
        pinned: The numbers of those that a fork took over.
    """

    def __init__(self, rows: Sequence[StoredEvent] = (), pinned: Collection[int] = ()) -> None:
        self._asked: dict[str, ApprovalAsked] = {}
        self._answered: dict[str, ApprovalAnswered] = {}
        self._instructed: list[Instructed] = []
        for row in rows:
            if row.kind == INSTRUCTED or (row.kind in (ASKED, ANSWERED) and row.seq not in pinned):
                self.add(row.event)

    def add(self, event: Event) -> None:
        """Take in an event that this process has recorded; of two answers the first one counts."""
        if isinstance(event, ApprovalAsked):
            self._asked[event.id] = event
        elif isinstance(event, ApprovalAnswered):
            self._answered.setdefault(event.id, event)
        elif isinstance(event, Instructed):
            self._instructed.append(event)

    def asked(self, path: str) -> list[ApprovalAsked]:
        """Return the questions at a path, oldest first."""
        return [asked for asked in self._asked.values() if asked.path == path]

    def answer_to(self, asked: ApprovalAsked) -> ApprovalAnswered | None:
        """Return the answer to a question, or None."""
        return self._answered.get(asked.id)

    @property
    def open(self) -> list[ApprovalAsked]:
        """The questions without an answer, oldest first."""
        return [asked for asked in self._asked.values() if asked.id not in self._answered]

    @property
    def approvals(self) -> list[tuple[ApprovalAsked, ApprovalAnswered]]:
        """The questions that were answered, with their answers, oldest question first."""
        return [(asked, self._answered[asked.id]) for asked in self._asked.values() if asked.id in self._answered]

    @property
    def instructions(self) -> list[Instructed]:
        """What people told the run, each once, oldest first."""
        return list({event.id: event for event in reversed(self._instructed)}.values())[::-1]

    def heard(self, path: str) -> list[Instructed]:
        """Return the instructions that the model call at a path was given."""
        return [event for event in self._instructed if path and event.path == path]

    def refusal(self, answer: ApprovalAnswered, now: float) -> str:
        """Return why an answer cannot be taken; empty when it can.

        Args:
            answer: What a person says.
            now: Seconds since 1970 (UTC).
        """
        asked = self._asked.get(answer.id)
        if asked is None or asked.path != answer.path:
            return f"This run has asked nothing by the id {answer.id[:40]} at {answer.path[:200]!r}."
        before = self._answered.get(answer.id)
        if before is not None:
            return f"{answer.id} was {before.answer} already{f' by {before.by}' if before.by else ''}."
        if answer.answer == "rejected":
            return ""
        if now > asked.expires_at:
            return f"{answer.id} has expired. It is asked anew when the run is resumed."
        if answer.answer == "approved" and answer.arguments_hash != asked.arguments_hash:
            return f"The answer to {answer.id} is for other arguments than the run has asked about."
        if answer.answer == "edited" and (answer.arguments is None or not answer.arguments_hash):
            return f"The answer to {answer.id} does not say what is to be done in its place."
        return ""
