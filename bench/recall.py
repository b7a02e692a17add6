"""Evidence recall on long conversations of many sessions: the hybrid against each of its parts and rank fusion.

python -m bench.recall [--conversations 8] [--sessions 30] [--embedder hash]

The conversations are made here, by chance from a seed: two people talk in sessions, a topic each. Some turns carry
facts; others are small talk, or say much the same about somebody or something else. A question is about one to three
turns, its evidence. Nothing of this is known to what is measured.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import tempfile
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from bench.report import Row, report

from quarterdeck.journal.store import Store
from quarterdeck.memory.embedder import EmbeddedEmbedder, Embedder
from quarterdeck.memory.hybrid import Weights
from quarterdeck.memory.item import Item, Scope
from quarterdeck.memory.longterm import LongTerm
from quarterdeck.testing import HashEmbedder

DAY = 86400.0
START = 1.7e9
RRF = 60
"""The usual constant of reciprocal rank fusion: Cormack, Clarke and Buettcher (2009)."""
MARGIN = 0.02
WAYS = {
    "words": Weights(text=1, meaning=0, neighbour=0, group=0, recent=0),
    "meaning": Weights(text=0, meaning=1, neighbour=0, group=0, recent=0),
    "hybrid": Weights(),
}
PEOPLE = "Ada Bram Cleo Dirk Elif Finn Gita Hugo Ines Jonas Kaja Liam Mona Nils Olga Piet Rosa Sven Tara Udo".split()
FRIENDS = "my sister|my cousin|a colleague|my neighbour|an old friend|my uncle|my flatmate|the coach".split("|")
PLACES = "Lisbon Porto Bergen Krakow Galway Verona Ghent Malmo Tartu Split Cadiz Riga Utrecht Basel Graz Turin".split()
THINGS = {
    "trip": ("a train journey", "a cycling tour", "a sailing trip", "a hike", "a road trip", "a night bus ride"),
    "kitchen": ("a sourdough loaf", "a lentil soup", "an apple cake", "a fish stew", "a mushroom pie", "plum jam"),
    "workshop": ("an oak shelf", "a bird house", "a kayak paddle", "a lamp", "a garden bench", "a chess board"),
    "music": ("the cello", "a choir solo", "the accordion", "a jazz tune", "the drums", "an old folk song"),
    "animals": ("a grey kitten", "two hens", "a rescue dog", "a parrot", "a hedgehog", "an old pony"),
    "office": ("the tax report", "a new client", "the budget", "a job interview", "the office move", "a training"),
}
TALK = (
    "That sounds lovely, tell me more about {thing}.", "I was thinking about {thing} the other day.",
    "Everyone seems to talk about football these days.", "Honestly, cooking was never my strong side.",
    "You should have seen the weather, grey all day.", "Sorry, I had to answer the phone.",
    "Did you sleep well at last?", "Yes, that is what I thought too.", "Ha, typical, is it not?",
    "We should meet up some time.", "My knee hurts again, never mind.", "How was your week, by the way?",
)  # fmt: skip
LIKES = (
    ("drink", "mint tea", "hot drink without coffee"), ("seat", "the aisle", "place to sit on a plane"),
    ("breakfast", "rye bread", "food in the morning"), ("weather", "snow", "kind of day to be outdoors"),
    ("film", "slow documentaries", "thing to watch on the sofa"),
    ("holiday", "the mountains", "landscape for time off"),
    ("pet", "cats", "animal in the house"), ("gift", "second-hand books", "present for a birthday"),
)  # fmt: skip
SAME = (
    ("I twisted my ankle on the stairs.", "injury to a foot"), ("My laptop gave up the ghost.", "broken computer"),
    ("We are expecting a baby in spring.", "pregnancy in the family"),
    ("The landlord put our rent up.", "housing costs"),
    ("I finally quit smoking.", "giving up cigarettes"), ("They let me go at the firm.", "losing a job"),
    ("I passed my driving test.", "getting a licence for a car"), ("Thieves took my bicycle.", "stolen two-wheeler"),
    ("My hearing is getting worse.", "trouble with the ears"), ("I signed up to give blood.", "becoming a donor"),
)  # fmt: skip


@dataclass
class Conversation:
    """Turns of one pair of people, and questions with the turns that answer them."""

    scope: Scope
    turns: list[Item] = field(default_factory=list)
    questions: list[tuple[str, str, set[str]]] = field(default_factory=list)


class Teller:
    """Makes one conversation."""

    def __init__(self, number: int, sessions: int) -> None:
        self.number = number
        self.chance = random.Random(number)
        self.made = Conversation(Scope("bench", f"conversation {number}"))
        self.who = self.chance.sample(PEOPLE, 2)
        self.places = iter(self.chance.sample(PLACES, len(PLACES)) * sessions)
        self.visits: dict[str, list[tuple[str, str]]] = defaultdict(list)
        likes, same = self.chance.sample(LIKES, len(LIKES)), self.chance.sample(SAME, len(SAME))
        for session in range(sessions):
            self.group, self.place, self.at = f"session {session}", 0, START + session * 6 * DAY
            topic = self.chance.choice(list(THINGS))
            self.thing = self.chance.choice(THINGS[topic])
            parts: list[Callable[[], None]] = [self.visit, self.deal]
            if session % 3 == 1 and likes:
                parts.append(partial(self.like, *likes.pop()))
            if session % 3 == 2 and same:
                parts.append(partial(self.same, *same.pop()))
            self.chance.shuffle(parts)
            for part in parts:
                self.small_talk(self.chance.randint(2, 5))
                part()
            self.small_talk(3)
        for (who, thing), visits in self.several().items():
            question = f"Which towns did {who} go to for {thing}, over all this time?"
            self.made.questions.append(("multi-session", question, {turn for _, turn in visits}))

    def say(self, who: str, text: str) -> str:
        """Add a turn; return its id."""
        name = f"{len(self.made.turns):08d}{self.number:08d}"
        self.made.turns.append(
            Item(name, self.made.scope, f"{who}: {text}", "message", origin="user", created_at=self.at + self.place,
                 group=self.group, place=self.place)
        )  # fmt: skip
        self.place += 1
        return name

    def small_talk(self, count: int) -> None:
        """Add turns that say nothing, of the topic at hand."""
        for _ in range(count):
            self.say(self.chance.choice(self.who), self.chance.choice(TALK).format(thing=self.thing))

    def visit(self) -> None:
        """Ask where somebody was, which the answer tells without repeating the question."""
        one, other = self.chance.sample(self.who, 2)
        friend, place = self.chance.choice(FRIENDS), next(self.places)
        self.say(other, f"Where did you and {friend} go in the end, for {self.thing}?")
        told = self.chance.choice((f"with {friend}", f"for {self.thing}", "in the end"))
        answer = self.say(one, f"We went to {place} {told} and stayed {self.chance.randint(2, 9)} nights.")
        self.visits[f"{one}|{self.thing}"].append((place, answer))
        question = f"Where did {one} and {friend.removeprefix('my ')} go for {self.thing}?"
        self.made.questions.append(("single fact", question, {answer}))

    def deal(self) -> None:
        """Settle when something will be done."""
        one, other = self.chance.sample(self.who, 2)
        month = self.chance.choice("January March May June August October".split())
        self.say(other, f"When will you be done with {self.thing}, and who helps?")
        told = self.chance.choice((f"with {self.thing}", "with the help I have", "if all goes well"))
        answer = self.say(one, f"I will be done by the {self.chance.randint(2, 28)}th of {month} {told}.")
        friend = self.chance.choice(FRIENDS)
        self.say(one, f"And {friend} lends a hand.")
        question = f"By what date will {one} be done with {self.thing}, with {friend.removeprefix('my ')} helping?"
        self.made.questions.append(("temporal", question, {answer}))

    def like(self, what: str, best: str, other_words: str) -> None:
        """Say what somebody likes best, after being asked."""
        one, other = self.chance.sample(self.who, 2)
        self.say(other, f"And which {what} do you like best?")
        told = self.chance.choice((f"as a {what}", "nothing comes near it"))
        answer = self.say(one, f"I always prefer {best}, {told}.")
        self.made.questions.append(("preference", f"What {other_words} ({what}) does {one} prefer?", {answer}))

    def same(self, said: str, other_words: str) -> None:
        """Tell news that the question puts in other words."""
        one, other = self.chance.sample(self.who, 2)
        self.say(other, f"You look worn out, what about {self.thing}?")
        answer = self.say(one, said)
        self.say(other, "Oh! Who would have thought so.")
        question = f"Did {one} say anything about {other_words}?"
        self.made.questions.append(("paraphrase", question, {answer}))

    def several(self) -> dict[tuple[str, str], list[tuple[str, str]]]:
        """Return what was done in two or three sessions."""
        found = {}
        for key, visits in self.visits.items():
            who, thing = key.split("|")
            if 2 <= len(visits) <= 3:
                found[who, thing] = visits
        return found


def fused(*rankings: list[str]) -> list[str]:
    """Return reciprocal rank fusion of rankings."""
    scores: dict[str, float] = defaultdict(float)
    for ranking in rankings:
        for place, one in enumerate(ranking):
            scores[one] += 1 / (RRF + place + 1)
    return sorted(scores, key=lambda one: (-scores[one], one))


async def measure(
    store: Store, embedder: Embedder, told: list[Conversation]
) -> dict[tuple[str, str, int], list[float]]:
    """Return the recall of each question by its class, the way of searching, and how many were looked at."""
    ways = {name: LongTerm(store, embedder, weights=weights) for name, weights in WAYS.items()}
    seen: dict[tuple[str, str, int], list[float]] = defaultdict(list)
    for conversation in told:
        await ways["hybrid"].add(conversation.turns)
        vectors = await embedder.embed([question for _, question, _ in conversation.questions])
        for (kind, question, evidence), vector in zip(conversation.questions, vectors, strict=True):
            now = START + 400 * DAY
            answers = {}
            for name, way in ways.items():
                found = await way.nearest(question, vector, conversation.scope, 100, now=now)
                answers[name] = [one.item.id for one in found]
            answers["rank fusion"] = fused(answers["words"], answers["meaning"])
            for name, ids in answers.items():
                for most in (5, 10):
                    seen[kind, name, most].append(len(evidence & set(ids[:most])) / len(evidence))
    return seen


async def main(options: argparse.Namespace) -> None:
    """Measure and print: for each class, by how much the best of the others is better than the hybrid."""
    embedder: Embedder = HashEmbedder(384) if options.embedder == "hash" else EmbeddedEmbedder()
    told = [Teller(options.seed + number, options.sessions).made for number in range(options.conversations)]
    with tempfile.TemporaryDirectory() as folder, Store.open(f"sqlite:///{Path(folder) / 'journal.db'}") as store:
        seen = await measure(store, embedder, told)
    rows: list[Row] = []
    for kind in sorted({kind for kind, _, _ in seen}):
        for most in (5, 10):
            mean = {name: sum(found) / len(found) for (k, name, m), found in seen.items() if (k, m) == (kind, most)}
            for name, value in mean.items():
                rows.append((f"{kind}: {name} recall@{most}", value, "", None))
            best = max(value for name, value in mean.items() if name != "hybrid")
            rows.append((f"{kind}: best other less hybrid @{most}", best - mean["hybrid"], "", -MARGIN))
    questions = sum(len(one.questions) for one in told)
    turns = sum(len(one.turns) for one in told)
    report("recall", rows, questions=questions, turns=turns, embedder=embedder.name)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--conversations", type=int, default=8)
    parser.add_argument("--sessions", type=int, default=30)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--embedder", choices=["hash", "embedded"], default="embedded")
    asyncio.run(main(parser.parse_args()))
