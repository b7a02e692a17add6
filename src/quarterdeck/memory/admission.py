"""The write gate: what may become a memory, what is one already, and what it replaces."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol

from sqlalchemy import update

from quarterdeck.errors import ModelError, SpecError
from quarterdeck.journal.tables import memories as table
from quarterdeck.memory.claims import contradicts, normal, same_particulars
from quarterdeck.memory.junk import junk
from quarterdeck.spec.problem import Problem

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from quarterdeck.journal.store import Store
    from quarterdeck.memory.embedder import Embedder
    from quarterdeck.memory.item import Item, Recalled, Scope
    from quarterdeck.models.personal import Finder
    from quarterdeck.spec.memory import LongtermSpec
    from quarterdeck.tools.secrets import Masker

MAX_CHARACTERS = 2_000
"""Of one memory: what is longer is a document."""
MAX_SOURCE = 500
MAX_CANDIDATES = 500
"""Of one call; the rest is refused."""
NEIGHBOURS = 8
"""Memories that a candidate is compared with: those that a search for it finds first."""
SAME = 0.95
"""Cosine from which on two texts with the same numbers and names are one memory."""
NEAR = 0.8
"""Cosine from which on a model may be asked whether two texts contradict each other."""
MAX_JUDGED = 8
"""Questions to such a model in one call."""
PATTERN_SECONDS = 0.05
"""What one regular expression of the deny-list may take on one text."""
MAX_CONFIDENCE = 0.99
"""What repetition alone can raise confidence to."""
PERSONAL = ("email", "iban", "credit_card", "ip", "phone")
_RANK = {"operator": 2, "user": 2}

Judge = Callable[[str, str], Awaitable[bool]]
"""Asked with an older and a newer text: whether the newer one contradicts the older one. May be a model."""


class Memories(Protocol):
    """What of the long-term store the gate needs."""

    async def search(self, query: str, scope: Scope, limit: int) -> list[Recalled]:
        """Return what is remembered in exactly this scope and near to a text, best first."""
        ...

    async def add(self, items: Sequence[Item]) -> list[str]:
        """Keep items; return their ids."""
        ...

    async def supersede(self, old: str, new: str) -> Any:
        """Mark a memory as replaced."""
        ...


@dataclass(frozen=True, slots=True)
class Admitted:
    """What became of candidates.

    Attributes:
        added: New memories, with their ids.
        merged: Candidates that were remembered already, each with the id of the memory that was confirmed.
        superseded: Ids of memories that no longer hold, each with the id of the one that replaces it.
        refused: Candidates that were not let in, each with the reason.
    """

    added: tuple[Item, ...] = ()
    merged: tuple[tuple[Item, str], ...] = ()
    superseded: tuple[tuple[str, str], ...] = ()
    refused: tuple[tuple[Item, str], ...] = ()


@dataclass(slots=True)
class _Work:
    """The state of one call."""

    texts: dict[str, Sequence[float]] = field(default_factory=dict)
    new: list[Item] = field(default_factory=list)
    merged: list[tuple[Item, Item]] = field(default_factory=list)
    replaced: list[tuple[Item, Item]] = field(default_factory=list)
    refused: list[tuple[Item, str]] = field(default_factory=list)
    judged: int = 0


class Admission:
    """Decides on what is remembered, by a profile.

    Args:
        memories: The long-term store.
        store: The database that it keeps its rows in.
        profile: The rules: confidence, deny-list, time to live.
        embedder: Finds what means the same; without it only what reads the same is merged.
        masker: Knows the secrets that must not be remembered.
        personal: Whether personal data that is known by its form may be remembered.
        judge: Asked about near texts that no rule decides; None to ask nobody.
        clock: Returns seconds since 1970.

    Raises:
        SpecError: A pattern of the deny-list is no regular expression.
    """

    def __init__(
        self,
        memories: Memories,
        store: Store,
        profile: LongtermSpec,
        *,
        embedder: Embedder | None = None,
        masker: Masker | None = None,
        personal: bool = True,
        judge: Judge | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._memories = memories
        self._store = store
        self._profile = profile
        self._embedder = embedder
        self._masker = masker
        self._judge = judge
        self._clock = clock
        self._denied = _compiled(profile.deny)
        self._personal: dict[str, Finder] = {}
        if not personal:
            from quarterdeck.models.personal import finders

            self._personal = finders(PERSONAL)
        self._one_at_a_time = asyncio.Lock()

    async def admit(self, candidates: Iterable[Item]) -> Admitted:
        """Let candidates in, or say why not. Calls wait for each other, so that two alike do not both come in.

        Args:
            candidates: What could be remembered; the older first.

        Raises:
            JournalError: The database cannot be used.
        """
        work = _Work()
        asked = list(candidates)
        fit: list[Item] = []
        for number, item in enumerate(asked):
            why = f"more than {MAX_CANDIDATES} at once" if number >= MAX_CANDIDATES else await self._refusal(item)
            if why:
                work.refused.append((item, why))
            else:
                fit.append(self._dated(item))
        async with self._one_at_a_time:
            around = [await self._around(item) for item in fit]
            await self._embed(work, [*fit, *(known for near in around for known in near)])
            for item, near in zip(fit, around, strict=True):
                await self._place(work, item, near)
            return await self._write(work)

    async def _refusal(self, item: Item) -> str:
        """Return why an item must not be remembered, whatever is remembered already; empty when it may be."""
        if not item.source.strip() or len(item.source) > MAX_SOURCE:
            return "it does not say where it comes from" if not item.source.strip() else "its source is too long"
        if len(item.text) > MAX_CHARACTERS:
            return f"more than {MAX_CHARACTERS:,} characters"
        if "\0" in item.text or item.text.encode("utf-8", "replace").decode() != item.text:
            return "it is no text"
        if not self._profile.min_confidence <= item.confidence <= 1:  # also refuses what is no number
            return f"confidence {item.confidence:.2f}, at least {self._profile.min_confidence:.2f} is asked for"
        if self._masker is not None and self._masker.mask(item.text) != item.text:
            return "it holds a secret"
        if self._personal:
            from quarterdeck.models.personal import find

            if found := find(item.text, self._personal):
                return f"it holds personal data ({found[0][2].lower()})"
        if self._denied and (why := await asyncio.to_thread(self._denial, item.text)):
            return why
        return junk(item)

    def _denial(self, text: str) -> str:
        for pattern in self._denied:
            try:
                if pattern.search(text, timeout=PATTERN_SECONDS):
                    return f"the deny-list has {pattern.pattern[:100]!r}"
            except TimeoutError:
                return f"{pattern.pattern[:100]!r} of the deny-list took too long on it"
        return ""

    def _dated(self, item: Item) -> Item:
        now = self._clock()
        ends = now + self._profile.days * 86400 if self._profile.days else 0.0
        expires = min(filter(None, (item.expires_at, ends)), default=0.0)
        return replace(item, text=item.text.strip(), created_at=item.created_at or now, expires_at=expires)

    async def _around(self, item: Item) -> list[Item]:
        found = await self._memories.search(item.text, item.scope, NEIGHBOURS)
        return [one.item for one in found if one.item.scope == item.scope and one.item.kind != "document"]

    async def _embed(self, work: _Work, items: Sequence[Item]) -> None:
        """Note the vectors of all texts that are compared; without an embedder only what reads the same is the same."""
        texts = list(dict.fromkeys(item.text for item in items))
        if self._embedder is None or not texts:
            return
        try:
            work.texts.update(zip(texts, await self._embedder.embed(texts), strict=True))
        except ModelError:
            return

    async def _place(self, work: _Work, item: Item, near: Sequence[Item]) -> None:
        """Decide whether an item is new, known, or replaces something."""
        gone = {old.id for old, _ in work.replaced}
        known = [*near, *(other for other in work.new if other.scope == item.scope)]
        opposed: list[Item] = []
        for other in known:
            if other.id and other.id in gone:
                continue
            if self._same(work, item, other):
                work.merged.append((item, other))
                return
            if await self._opposed(work, other, item):
                opposed.append(other)
        for other in opposed:
            if _rank(other) > _rank(item):
                work.refused.append((item, f"it contradicts {other.id or other.text[:60]!r}, which a person has said"))
                return
        work.replaced += [(other, item) for other in opposed]
        work.new.append(item)

    def _same(self, work: _Work, item: Item, other: Item) -> bool:
        if normal(item.text) == normal(other.text):
            return True
        if contradicts(other.text, item.text) or not same_particulars(item.text, other.text):
            return False
        return _cosine(work, item, other) > SAME

    async def _opposed(self, work: _Work, old: Item, new: Item) -> bool:
        if contradicts(old.text, new.text):
            return True
        if self._judge is None or work.judged >= MAX_JUDGED or _cosine(work, old, new) < NEAR:
            return False
        work.judged += 1
        try:
            return await self._judge(old.text, new.text)
        except ModelError:
            return False

    async def _write(self, work: _Work) -> Admitted:
        ids = await self._memories.add(work.new) if work.new else []
        added = [replace(item, id=id) for item, id in zip(work.new, ids, strict=True)]
        known = {id(item): new for item, new in zip(work.new, added, strict=True)}
        superseded = []
        for old, new in work.replaced:
            pair = (known.get(id(old), old).id, known[id(new)].id)
            await self._memories.supersede(*pair)
            superseded.append(pair)
        merged = [(item, known.get(id(old), old)) for item, old in work.merged]
        if merged:
            await self._store.writer.ask(lambda connection: _confirm(connection, merged))
        return Admitted(
            tuple(added), tuple((item, old.id) for item, old in merged), tuple(superseded), tuple(work.refused)
        )


def _confirm(connection: Connection, merged: Sequence[tuple[Item, Item]]) -> None:
    """Raise confidence and recency of memories that were said again; the row and its text stay."""
    kept = {old.id: old for _, old in merged}
    for item, old in merged:
        now = kept[old.id]
        sure = max(now.confidence, item.confidence)
        if item.source != old.source:  # the same source twice is no second witness
            sure = max(sure, min(MAX_CONFIDENCE, 1 - (1 - now.confidence) * (1 - item.confidence)))
        lasts = max(now.expires_at, item.expires_at) if now.expires_at and item.expires_at else 0.0
        kept[old.id] = replace(now, confidence=sure, expires_at=lasts, created_at=max(now.created_at, item.created_at))
    for one in kept.values():
        values = {"confidence": one.confidence, "created_at": one.created_at, "expires_at": one.expires_at}
        connection.execute(update(table).where(table.c.id == one.id).values(values))


def _cosine(work: _Work, one: Item, other: Item) -> float:
    first, second = work.texts.get(one.text), work.texts.get(other.text)
    return sum(a * b for a, b in zip(first, second, strict=True)) if first and second else 0.0


def _rank(item: Item) -> int:
    return _RANK.get(item.origin, 1)


def _compiled(patterns: Sequence[str]) -> list[Any]:
    import regex

    made = []
    for number, pattern in enumerate(patterns):
        try:
            made.append(regex.compile(pattern, regex.IGNORECASE))
        except regex.error as error:
            what = f"{pattern[:100]!r} is no regular expression: {error}"
            raise SpecError([Problem("memory", 1, 1, f"longterm.deny[{number}]", what)]) from None
    return made
