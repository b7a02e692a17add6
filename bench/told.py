"""What a maker of conversations for `bench.recall` makes, and what all makers share."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field

from quarterdeck.memory.item import Item, Scope

DAY = 86400.0
START = 1.7e9


@dataclass
class Conversation:
    """Turns that are remembered, and questions: of what class, in what words, and which turns are the evidence."""

    scope: Scope
    turns: list[Item] = field(default_factory=list)
    questions: list[tuple[str, str, set[str]]] = field(default_factory=list)


class Teller:
    """Makes one conversation by chance: sessions of turns.

    Args:
        number: The seed, and the name.
        sessions: How many.
    """

    days = 6
    """Between two sessions."""

    def __init__(self, number: int, sessions: int) -> None:
        self.number = number
        self.sessions = sessions
        self.chance = random.Random(f"{type(self).__name__} {number}")
        self.made = Conversation(Scope("bench", f"{type(self).__name__} {number}"))
        self.planned: dict[int, list[Callable[[], None]]] = defaultdict(list)
        self._asked: dict[tuple[str, str], set[str]] = {}

    def plan(self, *parts: Callable[[], None]) -> None:
        """Let parts happen in as many different sessions, if there are so many."""
        sessions = list(range(self.sessions)) * (1 + len(parts) // self.sessions)
        for session, part in zip(self.chance.sample(sessions, len(parts)), parts, strict=True):
            self.planned[session].append(part)

    def begin(self, session: int) -> list[Callable[[], None]]:
        """Begin a session; return what was planned for it."""
        self.group, self.place, self.at = f"session {session}", 0, START + session * self.days * DAY
        return self.planned[session]

    def say(self, text: str) -> str:
        """Add a turn; return its id."""
        name = f"{len(self.made.turns):08d}{self.number:08d}"
        self.made.turns.append(
            Item(name, self.made.scope, text, "message", origin="user", created_at=self.at + self.place,
                 group=self.group, place=self.place)
        )  # fmt: skip
        self.place += 1
        return name

    def ask(self, kind: str, question: str, evidence: set[str]) -> None:
        """Add a question, or evidence to one that is asked already."""
        if (kind, question) not in self._asked:
            self._asked[kind, question] = set()
            self.made.questions.append((kind, question, self._asked[kind, question]))
        self._asked[kind, question] |= evidence
