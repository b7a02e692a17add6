"""How full text and meaning are combined into one score, and the reason that is told with it.

Scores of both are normalised by the query's own least and greatest and added with weights. Their values say how much
better one is than the next; ranks do not, which is why fusing ranks found less than full text alone. Then a memory
gains from its neighbours in a conversation or a document, from the group that it stands in, and from being recent.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

DAY = 86400.0


@dataclass(frozen=True, slots=True)
class Weights:
    """How much each reason counts. Chosen once on conversations that `bench/recall.py` makes; none knows any text.

    Attributes:
        text: Of full text.
        meaning: Of nearness of the vectors.
        neighbour: Of the better one of the two neighbours in the group.
        group: Of the group: the sum of the scores of its best members.
        recent: Of being recent.
        half_life: Days after which a memory counts half as recent.
    """

    text: float = 0.5
    meaning: float = 0.5
    neighbour: float = 0.2
    group: float = 0.15
    recent: float = 0.02
    half_life: float = 30.0

    @property
    def total(self) -> float:
        """The score of a memory that has everything."""
        return self.text + self.meaning + self.neighbour + self.group + self.recent


@dataclass(frozen=True, slots=True)
class Candidate:
    """What is known of a memory before its text is read: its number, id, place and age."""

    number: int
    id: str
    group: str
    place: int
    created_at: float


@dataclass(frozen=True, slots=True)
class Ranked:
    """A candidate with its score from 0 to 1, and the parts that add up to it."""

    candidate: Candidate
    score: float
    parts: dict[str, float]
    neighbour: str


GROUP_BEST = 3
"""Members of a group whose scores say how well it fits."""


def base(
    text: Mapping[int, float], meaning: Mapping[int, float], weights: Weights, most: float = 0.0
) -> dict[int, tuple[float, float]]:
    """Return both normalised and weighted scores of each memory by number; 0 where one knows nothing of it.

    Args:
        text: BM25 by number.
        meaning: Cosine by number.
        weights: How much each counts.
        most: The BM25 of a memory that holds the whole query; the best one's is 1 without it.
    """
    words, near = _normalised(text, least=0.0, most=most), _normalised(meaning)
    return {
        number: (weights.text * words.get(number, 0.0), weights.meaning * near.get(number, 0.0))
        for number in {*text, *meaning}
    }


def rank(
    candidates: Sequence[Candidate], scores: Mapping[int, tuple[float, float]], weights: Weights, now: float
) -> list[Ranked]:
    """Return candidates, best first; equal ones in the order of their numbers.

    Args:
        candidates: Those that hold, neighbours of good ones included.
        scores: As `base` returned them.
        weights: How much each reason counts.
        now: Seconds since 1970.
    """
    own = {one.number: sum(scores.get(one.number, (0.0, 0.0))) for one in candidates}
    groups = _groups(candidates, own)
    best_group = max(groups.values(), default=0.0) or 1.0
    places = {(one.group, one.place): one for one in candidates if one.group}
    ranked = []
    for one in candidates:
        text, meaning = scores.get(one.number, (0.0, 0.0))
        near = _neighbour(one, places, own)
        parts = {
            "text": text,
            "meaning": meaning,
            "neighbour": weights.neighbour * own[near.number] if near else 0.0,
            "group": weights.group * groups.get(one.group, 0.0) / best_group,
            "recent": weights.recent * 0.5 ** (max(0.0, now - one.created_at) / DAY / weights.half_life),
        }
        parts = {name: round(value / weights.total, 6) for name, value in parts.items()}
        ranked.append(Ranked(one, min(1.0, sum(parts.values())), parts, near.id if near else ""))
    return sorted(ranked, key=lambda one: (-one.score, one.candidate.number))


def why(ranked: Ranked) -> str:
    """Return for people why a memory was chosen, such as `text 0.31, neighbour of k3h8m2v7c5x9p4q6 0.08`."""
    said = []
    for name, value in ranked.parts.items():
        if value >= 0.005:
            said.append(f"{name}{f' of {ranked.neighbour}' if name == 'neighbour' else ''} {value:.2f}")
    return ", ".join(said) or "nothing else fits better"


def _normalised(scores: Mapping[int, float], least: float | None = None, most: float = 0.0) -> dict[int, float]:
    """Return scores as shares of the way from the least to the greatest; of BM25 the least is 0, which is no hit."""
    if not scores:
        return {}
    floor = min(scores.values()) if least is None else least
    span = max(most, *scores.values()) - floor if most else max(scores.values()) - floor
    return {number: (score - floor) / span if span > 0 else 1.0 for number, score in scores.items()}


def _groups(candidates: Sequence[Candidate], own: Mapping[int, float]) -> dict[str, float]:
    members = defaultdict(list)
    for one in candidates:
        if one.group:
            members[one.group].append(own[one.number])
    return {group: sum(sorted(scores, reverse=True)[:GROUP_BEST]) for group, scores in members.items()}


def _neighbour(
    one: Candidate, places: Mapping[tuple[str, int], Candidate], own: Mapping[int, float]
) -> Candidate | None:
    if not one.group:
        return None
    beside = [near for place in (one.place - 1, one.place + 1) if (near := places.get((one.group, place)))]
    return max(beside, key=lambda near: own[near.number], default=None)
