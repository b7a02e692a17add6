"""The write gate: what may become a memory, what is one already, and what it replaces."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, get_args

from quarterdeck.errors import ModelError, SpecError
from quarterdeck.memory.claims import contradicts, grounded, normal, same_particulars
from quarterdeck.memory.item import Kind, is_kind, is_origin, one_line
from quarterdeck.memory.junk import junk
from quarterdeck.memory.manage import Case, Verdict
from quarterdeck.memory.recheck import outcome
from quarterdeck.memory.rows import new_id
from quarterdeck.memory.trust import rank
from quarterdeck.memory.written import Change
from quarterdeck.spec.problem import Problem
from quarterdeck.tools.words import content_stems

if TYPE_CHECKING:
    from sqlalchemy import Connection

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
NEAR = 0.5
"""Cosine from which on a model is asked what a new text means for a known one."""
NEAR_STEMS = 2
"""Words in common from which on it is, where nothing is compared by meaning."""
MAX_REPLACED = 3
"""Memories that one fact can replace by a model's word."""
PATTERN_SECONDS = 0.05
"""What one regular expression of the deny-list may take on one text."""
MAX_CONFIDENCE = 0.99
"""What repetition alone can raise confidence to."""
PERSONAL = ("email", "iban", "credit_card", "ip", "phone")

Manager = Callable[[Sequence[Case]], Coroutine[Any, Any, Sequence[Verdict]]]
"""Asked once a call what new texts mean for known ones that are near to them. May be a model."""
Work = Callable[["Connection"], None]


class Memories(Protocol):
    """What of the long-term store the gate needs."""

    async def search(self, query: str, scope: Scope, limit: int) -> list[Recalled]:
        """Return what is remembered in exactly this scope and near to a text, best first."""
        ...

    async def apply(
        self, change: Change, commit: Callable[[Work], Coroutine[Any, Any, None]] | None = None
    ) -> Mapping[str, str] | None:
        """Add, replace and confirm, in one transaction: one of its own, or that which `commit` puts it into.

        Returns what was not added after all, see `recheck.Settled.instead`.
        """
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
    verdicts: Mapping[int, Sequence[Verdict]] = field(default_factory=dict)
    """Of a manager, by the identity of the new item."""


Commit = Callable[[Admitted, Work], Coroutine[Any, Any, None]]
"""Records what became of candidates, in the transaction that makes it so."""


class Admission:
    """Decides on what is remembered, by a profile.

    Args:
        memories: The long-term store.
        profile: The rules: confidence, deny-list, time to live.
        embedder: Finds what means the same; without it only what reads the same is merged.
        masker: Knows the secrets that must not be remembered.
        personal: Whether personal data that is known by its form may be remembered.
        manager: Asked about near texts that no rule decides; None to ask nobody.
        clock: Returns seconds since 1970.

    Raises:
        SpecError: A pattern of the deny-list is no regular expression.
    """

    def __init__(
        self,
        memories: Memories,
        profile: LongtermSpec,
        *,
        embedder: Embedder | None = None,
        masker: Masker | None = None,
        personal: bool = True,
        manager: Manager | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._memories = memories
        self._profile = profile
        self._embedder = embedder
        self._masker = masker
        self._manager = manager
        self._clock = clock
        self._denied = _compiled(profile.deny)
        self._personal: dict[str, Finder] = {}
        if not personal:
            from quarterdeck.models.personal import finders

            self._personal = finders(PERSONAL)
        self._one_at_a_time = asyncio.Lock()

    async def admit(self, candidates: Iterable[Item], commit: Commit | None = None) -> Admitted:
        """Let candidates in, or say why not. Calls wait for each other, so that two alike do not both come in.

        Args:
            candidates: What could be remembered; the older first.
            commit: Records it in one transaction with what it changes; nothing is recorded if not given.

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
            work.verdicts = await self._asked(work, fit, around)
            for item, near in zip(fit, around, strict=True):
                await self._place(work, item, near)
            return await self._write(work, commit)

    async def _refusal(self, item: Item) -> str:
        """Return why an item must not be remembered, whatever is remembered already; empty when it may be."""
        if not item.source.strip() or len(item.source) > MAX_SOURCE:
            return "it does not say where it comes from" if not item.source.strip() else "its source is too long"
        if not is_kind(item.kind):
            return f"{one_line(item.kind)[:40]!r} is no kind of memory; there are {', '.join(get_args(Kind))}"
        if not is_origin(item.origin):
            return f"{one_line(item.origin)[:80]!r} is no label of origin, such as user, operator, model or tool:NAME"
        if len(item.text) > MAX_CHARACTERS:
            return f"more than {MAX_CHARACTERS:,} characters"
        if "\0" in item.text or item.text.encode("utf-8", "replace").decode() != item.text:
            return "it is no text"
        if not self._profile.min_confidence <= item.confidence <= 1:  # also refuses what is no number
            return f"confidence {item.confidence:.2f}, at least {self._profile.min_confidence:.2f} is asked for"
        if self._masker is not None and any(self._masker.mask(one) != one for one in (item.text, item.source)):
            return "it holds a secret"
        if self._personal:
            from quarterdeck.models.personal import find

            if found := find(f"{item.text}\n{item.source}", self._personal):
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
        text, source = item.text.strip(), one_line(item.source)
        return replace(item, text=text, source=source, created_at=item.created_at or now, expires_at=expires)

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

    async def _asked(
        self, work: _Work, fit: Sequence[Item], around: Sequence[Sequence[Item]]
    ) -> Mapping[int, Sequence[Verdict]]:
        """Return a manager's verdicts on what no rule decides."""
        verdicts: dict[int, list[Verdict]] = defaultdict(list)
        cases = []
        for item, near in zip(fit, around, strict=True) if self._manager is not None else ():
            alike = tuple(other for other in near if self._near(work, item, other))
            decided = any(self._same(work, item, other) or contradicts(other.text, item.text) for other in near)
            if alike and not decided:
                cases.append(Case(item, alike))
        if self._manager is not None and cases:
            for verdict in await self._manager(cases):
                verdicts[id(verdict.item)].append(verdict)
        return verdicts

    def _near(self, work: _Work, item: Item, other: Item) -> bool:
        if item.text in work.texts and other.text in work.texts:
            return _cosine(work, item, other) >= NEAR
        return len(set(content_stems(item.text)) & set(content_stems(other.text))) >= NEAR_STEMS

    async def _place(self, work: _Work, item: Item, near: Sequence[Item]) -> None:
        """Decide whether an item is new, known, or replaces something."""
        gone, gone_ids = {id(old) for old, _ in work.replaced}, {old.id for old, _ in work.replaced if old.id}
        known = [other for other in near if other.id not in gone_ids]
        known += [other for other in work.new if other.scope == item.scope and id(other) not in gone]
        alike = [other for other in known if self._same(work, item, other)]
        best = max(alike, key=rank, default=None)
        if best is not None and rank(best) >= rank(item):
            work.merged.append((item, best))
            return
        opposed = [other for other in known if other not in alike and contradicts(other.text, item.text)]
        advice = [one for one in work.verdicts.get(id(item), ()) if any(one.memory.id == other.id for other in known)]
        for one in advice:
            # a fact with a number or name that the memory lacks says more than it, whatever a model holds
            if one.event == "NONE" and grounded(item.text, one.memory.text) and rank(one.memory) >= rank(item):
                work.merged.append((item, one.memory))
                return
        updates = [one for one in advice if one.event != "NONE"][:MAX_REPLACED]
        opposed += [one.memory for one in updates if one.memory not in opposed]
        for other in opposed:
            if rank(other) > rank(item):
                work.refused.append((item, _outranked(other)))
                return
        if len(opposed) == len(updates) == 1:
            item = await self._merged(item, updates[0])
        # said again by who is trusted more: the words of that one hold from now on, and the older ones are its history
        for other in alike:
            sure, lasts = _said_again(other, item)
            item = replace(item, confidence=sure, expires_at=lasts)
        work.replaced += [(other, item) for other in (*opposed, *alike)]
        work.new.append(item)

    async def _merged(self, item: Item, update: Verdict) -> Item:
        """Return what a model makes of a memory and a fact, where it holds all of the fact and nothing of its own.

        Only where both are of one origin: a text that mixes two would carry the wrong label.
        """
        text, old = " ".join(update.text.split()), update.memory
        if update.event != "UPDATE" or old.origin != item.origin or normal(text) in (normal(old.text), ""):
            return item
        if not grounded(text, f"{item.text}\n{old.text}") or not grounded(item.text, text):
            return item
        source = item.source if old.source in item.source else f"{item.source}; {old.source}"[:MAX_SOURCE]
        sure = min(item.confidence, old.confidence)
        made = replace(item, text=text, source=source, confidence=sure)
        return item if await self._refusal(made) else made

    def _same(self, work: _Work, item: Item, other: Item) -> bool:
        if normal(item.text) == normal(other.text):
            return True
        if contradicts(other.text, item.text) or not same_particulars(item.text, other.text):
            return False
        return _cosine(work, item, other) > SAME

    async def _write(self, work: _Work, commit: Commit | None) -> Admitted:
        added = tuple(item if item.id else replace(item, id=new_id()) for item in work.new)
        known = {id(item): new for item, new in zip(work.new, added, strict=True)}
        replaced = tuple((known.get(id(old), old).id, known[id(new)].id) for old, new in work.replaced)
        merged = tuple((item, known.get(id(old), old)) for item, old in work.merged)
        done = Admitted(added, tuple((item, old.id) for item, old in merged), replaced, tuple(work.refused))
        # in the order of their ids, so that two processes do not wait for each other; then what is new and replaced
        # by the next of this call already, as it came
        fresh = {item.id for item in added}
        replaced = (
            *sorted(one for one in replaced if one[0] not in fresh),
            *(one for one in replaced if one[0] in fresh),
        )
        change = Change(added, replaced, tuple(sorted(_confirmed(merged), key=lambda one: one.id)))
        if commit is not None or change != Change():
            instead = await self._memories.apply(change, None if commit is None else partial(commit, done))
            return outcome(done, instead or {})
        return done


def _confirmed(merged: Iterable[tuple[Item, Item]]) -> Iterable[Item]:
    """Return memories that were said again with raised confidence and recency; the text stays."""
    kept = {old.id: old for _, old in merged}
    for item, old in merged:
        now = kept[old.id]
        sure, lasts = _said_again(now, item)
        kept[old.id] = replace(now, confidence=sure, expires_at=lasts, created_at=max(now.created_at, item.created_at))
    return kept.values()


def _said_again(old: Item, item: Item) -> tuple[float, float]:
    """Return how sure a memory is once it was said again, and until when it lasts."""
    sure = max(old.confidence, item.confidence)
    if item.source != old.source:  # the same source twice is no second witness
        sure = max(sure, min(MAX_CONFIDENCE, 1 - (1 - old.confidence) * (1 - item.confidence)))
    return sure, max(old.expires_at, item.expires_at) if old.expires_at and item.expires_at else 0.0


def _cosine(work: _Work, one: Item, other: Item) -> float:
    first, second = work.texts.get(one.text), work.texts.get(other.text)
    return sum(a * b for a, b in zip(first, second, strict=True)) if first and second else 0.0


def _outranked(by: Item) -> str:
    said = "a person has said" if rank(by) == 3 else "is from a more trusted source"
    return f"it contradicts {by.id or by.text[:60]!r}, which {said}"


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
