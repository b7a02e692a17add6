"""What is remembered, for whom, and why it was recalled."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Literal, get_args

Kind = Literal["fact", "preference", "lesson", "document", "message"]

_NAME = re.compile(r"[^\x00-\x1f\x7f\ud800-\udfff]{0,200}")
_ORIGIN = re.compile(
    r"(?:user|operator|person|model|memory|(?:tool|memory|input):\S.{0,149}?)(?: \(not trusted\))?(?: \(sensitive\))?"
)
# what a terminal or a reader would obey: controls, and the marks that reorder what stands beside them
_UNSEEN = re.compile("[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Scope:
    """Whose a memory is. Compulsory in every query, compared exactly: no prefix, no wildcard, no folding of case.

    Attributes:
        tenant: The tenant; empty for an installation of one.
        crew: The crew, or empty for all crews of the tenant.
        agent: The agent, or empty for all agents of the crew.
        user: The user whom it is about, or empty.

    Raises:
        ValueError: A name is longer than 200 characters or holds control characters.
    """

    tenant: str = ""
    crew: str = ""
    agent: str = ""
    user: str = ""

    def __post_init__(self) -> None:
        """Refuse names that no database should be asked about."""
        for name in (self.tenant, self.crew, self.agent, self.user):
            if not _NAME.fullmatch(name):
                raise ValueError(f"{name[:40]!r} is no name of a scope: at most 200 characters, no control characters")


@dataclass(frozen=True, slots=True)
class Item:
    """One memory.

    Attributes:
        id: Of 16 characters; unique in the database.
        kind: What sort of thing it is.
        source: Where it comes from, such as `run 7f3k2q, gather` or `docs/wind.md:12`.
        origin: Its label: `user`, `operator`, `tool:NAME`, `model` or `memory`.
        confidence: 0 to 1.
        created_at: Seconds since 1970 (UTC).
        expires_at: Seconds since 1970 (UTC); 0 for never.
        superseded_by: The id of the memory that contradicts and replaces it; empty while it holds.
        group: What it is a part of, such as a conversation or a document; neighbours share it, in `place` order.
        place: Its number within the group.
    """

    id: str
    scope: Scope
    text: str
    kind: Kind = "fact"
    source: str = ""
    origin: str = "model"
    confidence: float = 1.0
    created_at: float = 0.0
    expires_at: float = 0.0
    superseded_by: str = ""
    group: str = ""
    place: int = 0


@dataclass(frozen=True, slots=True)
class Recalled:
    """A memory that a recall chose.

    Attributes:
        score: 0 to 1; comparable within one recall.
        why: For people: `text 0.81, meaning 0.64, neighbour of ...`.
    """

    item: Item
    score: float
    why: str
    parts: dict[str, float] = field(default_factory=dict)


def is_kind(text: str) -> bool:
    """Say whether a text is the name of a kind of memory."""
    return text in get_args(Kind)


def is_origin(text: str) -> bool:
    """Say whether a text is a label of origin, such as `user` or `tool:web.fetch (not trusted) (sensitive)`."""
    return text.isprintable() and _ORIGIN.fullmatch(text) is not None


def one_line(text: str) -> str:
    """Return a text on one line, with nothing in it that a terminal obeys or that reorders what is read."""
    return " ".join(_UNSEEN.sub(" ", text).split())
