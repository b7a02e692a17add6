"""How words and meaning are combined into one score, and the reason that is told with it.

Neither is stretched by what else was found: the score of words is how much of the query a memory holds, that of meaning
is the cosine. So where no memory holds what is asked for in these words, words count next to nothing, and meaning
decides; ranks, and scores made to reach from 0 to 1, would forget that. A turn of a conversation leaves out what its
neighbour has just said: what the neighbours hold of the query counts for it, too, but never less than its own.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from quarterdeck.memory.fulltext import Word

DAY = 86400.0


@dataclass(frozen=True, slots=True)
class Weights:
    """How much each reason counts. Chosen on conversations of three styles; `bench/recall.py` has others, too.

    Attributes:
        text: Of the share of the query's words, squared: half of them by chance is much less than half of the answer.
        meaning: Of the cosine.
        group: Of the group: the mean score of its best members.
        recent: Of being recent.
        before: Of a word that the memory before it in the group holds, and it does not.
        after: Of a word that the memory after it holds.
        lent: Of the cosine by which the memory before is nearer; of the one after half as much.
        repeated: Of the score, lost by a memory whose text stands above it already.
        half_life: Days after which a memory counts half as recent.
    """

    text: float = 0.7
    meaning: float = 0.3
    group: float = 0.25
    recent: float = 0.01
    before: float = 0.85
    after: float = 0.3
    lent: float = 0.4
    repeated: float = 0.5
    half_life: float = 30.0

    @property
    def total(self) -> float:
        """The score of a memory that has everything."""
        return self.text + self.meaning + self.group + self.recent


@dataclass(frozen=True, slots=True)
class Candidate:
    """What is known of a memory before its text is read: its number, id, place, age and the hash of its text."""

    number: int
    id: str
    group: str
    place: int
    created_at: float
    digest: str


@dataclass(frozen=True, slots=True)
class Ranked:
    """A candidate with its score from 0 to 1, and the parts that add up to it."""

    candidate: Candidate
    score: float
    parts: dict[str, float]
    neighbour: str


LEAST_MEANING = 0.25
"""Cosine from which on a memory fits that holds no word of the query: two texts about nothing alike reach 0.2."""
LEAST_OF_BEST = 0.1
"""Of what the query finds in the best memory, so much has to be in another one; else it is only the next in the row."""
GROUP_BEST = 3
"""Members of a group whose scores say how well it fits."""


class Scoring:
    """What memories are worth for one query.

    Args:
        words: The words of the query.
        near: Cosine by number; one may be added later.
        weights: How much each reason counts.
    """

    def __init__(self, words: Sequence[Word], near: Mapping[int, float], weights: Weights) -> None:
        most = sum(word.telling for word in words) or 1.0
        self._words = [(word.telling / most, word.held) for word in words]
        self._near = near
        self._weights = weights
        self._held: dict[int, list[float]] = {}

    def own(self, number: int) -> tuple[float, float]:
        """Return what a memory is worth by its own words and by its own meaning; 0 where nothing is known of it."""
        return self._text(self._holds(number)), self._meaning(self._near.get(number, 0.0))

    def lent(self, number: int, beside: Sequence[tuple[Candidate | None, float, float]]) -> tuple[float, str]:
        """Return what neighbours add to a memory's own worth, and the id of the one that adds most.

        Args:
            number: The memory.
            beside: Each neighbour, the share of its words that counts, and of the cosine by which it is nearer.
        """
        own, cosine = self._holds(number), self._near.get(number, 0.0)
        text, meaning = self.own(number)
        held, nearer, by, most = own, meaning, "", 0.0
        for one, share, closer in beside:
            if one is None:
                continue
            theirs = [max(mine, share * much) for mine, much in zip(own, self._holds(one.number), strict=True)]
            meant = self._meaning(cosine + closer * max(0.0, self._near.get(one.number, 0.0) - cosine))
            gain = self._text(theirs) - text + meant - meaning
            held, nearer = [*map(max, held, theirs)], max(nearer, meant)
            if gain > most:
                by, most = one.id, gain
        return self._text(held) - text + nearer - meaning, by

    def _holds(self, number: int) -> list[float]:
        """Return how much of the query a memory holds by each word."""
        held = self._held.get(number)
        if held is None:
            held = self._held[number] = [telling * much.get(number, 0.0) for telling, much in self._words]
        return held

    def _text(self, held: Sequence[float]) -> float:
        share = min(1.0, sum(held))
        return self._weights.text * share * share

    def _meaning(self, cosine: float) -> float:
        return self._weights.meaning * min(1.0, max(0.0, cosine))


def rank(candidates: Sequence[Candidate], scoring: Scoring, weights: Weights, now: float) -> list[Ranked]:
    """Return the candidates that fit, best first; equal ones in the order of their numbers.

    One fits that holds a word of the query or is near to it in meaning, by itself or by its neighbours, and is not
    next to nothing beside the best. Being recent, or in a good group, is no reason by itself.

    Args:
        candidates: Those that hold, neighbours of good ones included.
        scoring: What each is worth by itself.
        weights: How much each reason counts.
        now: Seconds since 1970.
    """
    places = {(one.group, one.place): one for one in candidates if one.group}
    parts: list[tuple[Candidate, dict[str, float], str]] = []
    members: dict[str, list[float]] = defaultdict(list)
    for one in candidates:
        text, meaning = scoring.own(one.number)
        before, after = places.get((one.group, one.place - 1)), places.get((one.group, one.place + 1))
        beside = ((before, weights.before, weights.lent), (after, weights.after, weights.lent / 2))
        lent, by = scoring.lent(one.number, beside)
        parts.append((one, {"text": text, "meaning": meaning, "neighbour": lent}, by))
        if one.group:
            members[one.group].append(text + meaning + lent)
    groups = {group: sum(sorted(scores, reverse=True)[:GROUP_BEST]) / GROUP_BEST for group, scores in members.items()}
    most = weights.text + weights.meaning or 1.0
    best = max((sum(made.values()) for _, made, _ in parts), default=0.0)
    ranked = []
    for one, made, by in parts:
        fit = sum(made.values())
        near = made["text"] > 0 or fit >= weights.meaning * LEAST_MEANING
        if not near or fit <= 0 or fit < best * LEAST_OF_BEST:
            continue
        made["group"] = weights.group * groups.get(one.group, 0.0) / most
        made["recent"] = weights.recent * 0.5 ** (max(0.0, now - one.created_at) / DAY / weights.half_life)
        told = {name: round(value / weights.total, 6) for name, value in made.items()}
        ranked.append(Ranked(one, min(1.0, sum(told.values())), told, by))
    return _in_order(_without_repeats(_in_order(ranked), weights.repeated))


def why(ranked: Ranked) -> str:
    """Return for people why a memory was chosen, such as `text 0.31, neighbour of k3h8m2v7c5x9p4q6 0.08`."""
    said = []
    for name, value in ranked.parts.items():
        if abs(value) >= 0.005:
            said.append(f"{name}{f' of {ranked.neighbour}' if name == 'neighbour' else ''} {value:.2f}")
    return ", ".join(said) or "nothing else fits better"


def _in_order(ranked: Sequence[Ranked]) -> list[Ranked]:
    return sorted(ranked, key=lambda one: (-one.score, one.candidate.number))


def _without_repeats(ranked: Sequence[Ranked], loss: float) -> list[Ranked]:
    """Return them with what repeats the text of a better one marked down."""
    if not loss:
        return list(ranked)
    seen: set[str] = set()
    found = []
    for one in ranked:
        if one.candidate.digest in seen:
            parts = one.parts | {"repeated": round(-loss * one.score, 6)}
            one = Ranked(one.candidate, max(0.0, sum(parts.values())), parts, one.neighbour)
        seen.add(one.candidate.digest)
        found.append(one)
    return found
