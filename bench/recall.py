"""Evidence recall on long conversations of many sessions: the hybrid against each of its parts and rank fusion.

python -m bench.recall [--conversations 20] [--sessions 30] [--embedder hash]

Two makers tell conversations by chance from a seed: `bench.friends` and `bench.desk`. Some turns carry facts; others
are small talk, or say much the same about somebody or something else. A question is about one to four turns, its
evidence. Nothing of this is known to what is measured. The weights were chosen with the seeds from 0 on in view; those
from 100 on are held out: other draws, of the same sentences. Margins come with the interval of a paired bootstrap.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from bench.desk import Desk
from bench.friends import Friends
from bench.report import Row, report
from bench.told import DAY, START, Conversation

from quarterdeck.journal.store import Store
from quarterdeck.memory.embedder import EmbeddedEmbedder
from quarterdeck.memory.hybrid import Weights
from quarterdeck.memory.longterm import LongTerm
from quarterdeck.testing import HashEmbedder

if TYPE_CHECKING:
    from quarterdeck.memory.embedder import Embedder

SEEDS = {"tuned on": 0, "held out": 100}
"""The first seed of each set."""
MAKERS = {"friends": Friends, "desk": Desk}
RRF = 60
"""The usual constant of reciprocal rank fusion: Cormack, Clarke and Buettcher (2009)."""
MARGIN = 0.02
BOOTSTRAPS = 2_000
DEPTHS = (5, 10)
ONE = {"group": 0.0, "recent": 0.0, "before": 0.0, "after": 0.0, "lent": 0.0, "repeated": 0.0}
WAYS = {
    "words": Weights(text=1, meaning=0, **ONE),
    "meaning": Weights(text=0, meaning=1, **ONE),
    "hybrid": Weights(),
}

Seen = dict[tuple[str, str, int], list[float]]
"""The recall of each question by its class, the way of searching, and how many results were looked at."""


def fused(*rankings: list[str]) -> list[str]:
    """Return reciprocal rank fusion of rankings."""
    scores: dict[str, float] = defaultdict(float)
    for ranking in rankings:
        for place, one in enumerate(ranking):
            scores[one] += 1 / (RRF + place + 1)
    return sorted(scores, key=lambda one: (-scores[one], one))


async def measure(store: Store, embedder: Embedder, told: list[Conversation]) -> Seen:
    """Search for the evidence of all questions in each way."""
    ways = {name: LongTerm(store, embedder, weights=weights) for name, weights in WAYS.items()}
    seen: Seen = defaultdict(list)
    for conversation in told:
        await ways["hybrid"].add(conversation.turns)
        vectors = await embedder.embed([question for _, question, _ in conversation.questions])
        for (kind, question, evidence), vector in zip(conversation.questions, vectors, strict=True):
            answers = {}
            for name, way in ways.items():
                found = await way.nearest(question, vector, conversation.scope, 100, now=START + 400 * DAY)
                answers[name] = [one.item.id for one in found if one.score > 0]
            answers["rank fusion"] = fused(answers["words"], answers["meaning"])
            for name, ids in answers.items():
                for most in DEPTHS:
                    seen[kind, name, most].append(len(evidence & set(ids[:most])) / len(evidence))
    return seen


def interval(differences: list[float]) -> tuple[float, float]:
    """Return the range in which 95 % of the means of drawn questions lie."""
    values = np.array(differences)
    drawn = np.random.default_rng(0).integers(len(values), size=(BOOTSTRAPS, len(values)))
    low, high = np.percentile(values[drawn].mean(axis=1), [2.5, 97.5])
    return float(low), float(high)


def compared(seen: Seen, name: str) -> list[Row]:
    """Return for each class what each way found, and by how much the hybrid is better than the best of the others."""
    rows: list[Row] = []
    for kind in sorted({kind for kind, _, _ in seen}):
        for most in DEPTHS:
            every = {way: found for (k, way, m), found in seen.items() if (k, m) == (kind, most)}
            mean = {way: sum(found) / len(found) for way, found in every.items()}
            where = f"{name}, {kind}"
            rows += [(f"{where}: {way} recall@{most}", value, "", None) for way, value in mean.items()]
            best = max((way for way in mean if way != "hybrid"), key=lambda way: mean[way])
            better = [ours - theirs for ours, theirs in zip(every["hybrid"], every[best], strict=True)]
            low, high = interval(better)
            rows.append((f"{where}: {best} less hybrid @{most}", mean[best] - mean["hybrid"], "", -MARGIN))
            rows.append((f"{where}: margin @{most}, from", low, f"to {high:.3f}", None))
    return rows


async def main(options: argparse.Namespace) -> None:
    """Measure and print both makers, on the seeds that were tuned on and on those held out."""
    embedder: Embedder = HashEmbedder(384) if options.embedder == "hash" else EmbeddedEmbedder()
    rows: list[Row] = []
    questions: dict[str, int] = {}
    for maker, teller in MAKERS.items():
        for seeds, first in SEEDS.items():
            told = [teller(first + number, options.sessions).made for number in range(options.conversations)]
            with tempfile.TemporaryDirectory() as folder, Store.open(f"sqlite:///{Path(folder) / 'm.db'}") as store:
                seen = await measure(store, embedder, told)
            rows += compared(seen, f"{maker}, {seeds}")
            counts = {kind: len(found) for (kind, way, most), found in seen.items() if (way, most) == ("hybrid", 5)}
            questions |= {f"{maker}, {seeds}, {kind}": count for kind, count in counts.items()}
    report("recall", rows, questions=questions, embedder=embedder.name)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--conversations", type=int, default=20)
    parser.add_argument("--sessions", type=int, default=30)
    parser.add_argument("--embedder", choices=["hash", "embedded"], default="embedded")
    asyncio.run(main(parser.parse_args()))
