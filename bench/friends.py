"""Two friends who talk, a topic each session: short turns with a name in front, small talk between what is told."""

from __future__ import annotations

from collections import defaultdict
from functools import partial

from bench.told import Teller

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
    ("drink", "hot drink without coffee", "mint tea|hot chocolate|ginger water|rooibos|cocoa|hot lemon"),
    ("seat", "place to sit on a plane", "the aisle|the window|the last row|the front|the emergency exit|the middle"),
    ("breakfast", "food in the morning", "rye bread|porridge|fried eggs|fruit salad|pancakes|yoghurt"),
    ("weather", "kind of day to be outdoors", "snow|fog|a light breeze|thunderstorms|sunshine|frost"),
    ("film", "thing to watch on the sofa", "slow documentaries|westerns|silent comedies|thrillers|cartoons|musicals"),
    ("holiday", "landscape for time off", "the mountains|the sea|forests|big cities|islands|the desert"),
    ("pet", "animal in the house", "cats|goldfish|terriers|canaries|guinea pigs|tortoises"),
    ("gift", "present for a birthday", "second-hand books|flowers|concert tickets|home-made jam|socks|a voucher"),
)
"""What is liked, the question's words for it, and what one may like."""
LIKED = ("{who} swears by {best}.", "With {who} it has to be {best}.", "{who} is mad about {best}, as a {what}.",
         "For {who} no {what} beats {best}.")  # fmt: skip
NEWS = (
    ("I twisted my ankle on the stairs.", "injury to a foot", "A stone fell on my toe, it is all blue."),
    ("My laptop gave up the ghost.", "broken computer", "My screen stays black since Monday."),
    ("We are expecting a baby in spring.", "pregnancy in the family", "My niece was born last night."),
    ("The landlord put our rent up.", "housing costs", "Our mortgage eats half my pay."),
    ("I finally quit smoking.", "giving up cigarettes", "I have not touched my pipe for a month."),
    ("They let me go at the firm.", "losing a job", "My contract was not renewed."),
    ("I passed my driving test.", "getting a licence for a car", "I may sit behind the wheel at last."),
    ("Thieves took my bicycle.", "stolen two-wheeler", "My scooter was gone from the yard this morning."),
    ("My hearing is getting worse.", "trouble with the ears", "There is a ringing in my head at night."),
    ("I signed up to give blood.", "becoming a donor", "They may have my kidneys when I die, I have a card."),
)
"""What one says, the question's words for it, and what the other one says of much the same."""


class Friends(Teller):
    """Makes one conversation of two friends."""

    def __init__(self, number: int, sessions: int) -> None:
        super().__init__(number, sessions)
        self.who = self.chance.sample(PEOPLE, 2)
        self.places = iter(self.chance.sample(PLACES, len(PLACES)) * sessions)
        self.visits: dict[tuple[str, str], list[str]] = defaultdict(list)
        for what, other_words, things in LIKES:
            first, second, *rest = self.chance.sample(things.split("|"), 6)
            asked = [
                partial(self.like, what, other_words, *pair) for pair in zip(self.who, (first, second), strict=True)
            ]
            others = zip(self.chance.sample(FRIENDS, len(rest)), rest, strict=True)
            self.plan(*asked, *[partial(self.other_likes, what, *pair) for pair in others])
        for said, other_words, much_the_same in NEWS:
            one, other = self.chance.sample(self.who, 2)
            self.plan(partial(self.news, one, said, other_words), partial(self.news, other, much_the_same))
        for session in range(sessions):
            parts = [*self.begin(session), self.visit, self.deal]
            self.thing = self.chance.choice(THINGS[self.chance.choice(list(THINGS))])
            self.chance.shuffle(parts)
            for part in parts:
                self.small_talk(self.chance.randint(1, 4))
                part()
            self.small_talk(3)
        for (who, thing), visits in self.visits.items():
            if 2 <= len(visits) <= 3:
                question = f"Which towns did {who} go to for {thing}, over all this time?"
                self.ask("multi-session", question, set(visits))

    def small_talk(self, count: int) -> None:
        """Add turns that say nothing, of the topic at hand."""
        for _ in range(count):
            self.say(f"{self.chance.choice(self.who)}: {self.chance.choice(TALK).format(thing=self.thing)}")

    def visit(self) -> None:
        """Ask where somebody was, which the answer tells without repeating the question."""
        one, other = self.chance.sample(self.who, 2)
        friend, place = self.chance.choice(FRIENDS), next(self.places)
        self.say(f"{other}: Where did you and {friend} go in the end, for {self.thing}?")
        told = self.chance.choice((f"with {friend}", f"for {self.thing}", "in the end"))
        answer = self.say(f"{one}: We went to {place} {told} and stayed {self.chance.randint(2, 9)} nights.")
        self.visits[one, self.thing].append(answer)
        self.ask("single fact", f"Where did {one} and {friend.removeprefix('my ')} go for {self.thing}?", {answer})

    def deal(self) -> None:
        """Settle when something will be done."""
        one, other = self.chance.sample(self.who, 2)
        month = self.chance.choice("January March May June August October".split())
        self.say(f"{other}: When will you be done with {self.thing}, and who helps?")
        told = self.chance.choice((f"with {self.thing}", "with the help I have", "if all goes well"))
        answer = self.say(f"{one}: I will be done by the {self.chance.randint(2, 28)}th of {month} {told}.")
        friend = self.chance.choice(FRIENDS)
        self.say(f"{one}: And {friend} lends a hand.")
        question = f"By what date will {one} be done with {self.thing}, with {friend.removeprefix('my ')} helping?"
        self.ask("temporal", question, {answer})

    def like(self, what: str, other_words: str, one: str, best: str) -> None:
        """Say what somebody likes best, after being asked."""
        other = next(name for name in self.who if name != one)
        self.say(f"{other}: And which {what} do you like best?")
        told = self.chance.choice((f"as a {what}", "nothing comes near it"))
        answer = self.say(f"{one}: I always prefer {best}, {told}.")
        self.ask("preference", f"What {other_words} ({what}) does {one} prefer?", {answer})

    def other_likes(self, what: str, who: str, best: str) -> None:
        """Say what somebody else likes, whom nobody asks about."""
        told = self.chance.choice(LIKED).format(who=who, best=best, what=what)
        self.say(f"{self.chance.choice(self.who)}: {told[0].upper()}{told[1:]}")

    def news(self, one: str, said: str, other_words: str = "") -> None:
        """Tell news, which a question puts in other words."""
        other = next(name for name in self.who if name != one)
        self.say(f"{other}: You look worn out, what about {self.thing}?")
        answer = self.say(f"{one}: {said}")
        self.say(f"{other}: Oh! Who would have thought so.")
        if other_words:
            self.ask("paraphrase", f"Did {one} say anything about {other_words}?", {answer})
