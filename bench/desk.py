"""A support desk: tickets of firms, of longer notes without names in front; the firm stands in some of them."""

from __future__ import annotations

from collections import defaultdict
from functools import partial

from bench.told import Teller

FIRMS = "Ferro Halden Ostrom Quill Lumio Bracken Tessel Norvik Palisade Yarrow Cobalt Merrin".split()
DEVICES = "label printer|card reader|floor scale|barcode scanner|conveyor|door controller|cash drawer|display".split(
    "|"
)
PARTS = "fan|drive belt|power supply|ribbon cable|main board|print head|battery|sensor|hinge|fuse".split("|")
ROUTINE = (
    "Called back, nobody picked up the phone.", "Asked for the log files, they are to follow by mail.",
    "The ticket waits for an answer of the manufacturer.", "Passed on to the second line with all that is known.",
    "The {device} was restarted, with no difference.", "They ask for patience until the stocktaking is over.",
    "Compared the settings with the manual, nothing stands out.",
    "Tried to repeat it here with a {device} on the bench.",
    "A colleague saw the same at another site last year.", "The warranty was checked and has run out.",
    "The line was bad, a second call was needed.", "Put back to normal priority.",
)  # fmt: skip
FAULTS = (
    ("The picture trembles all the time.", "a flickering display", "The lamp of the panel goes on and off."),
    ("It turns itself off around noon.", "a device that loses power", "After lunch the socket was dead."),
    ("There is a smell of burnt plastic.", "overheating", "The housing is too hot to touch."),
    ("Every second receipt comes out blank.", "missing print", "The ink on the slips is hardly to be seen."),
    ("It takes minutes until a card is accepted.", "slow payment", "Customers queue because nothing gets paid."),
    ("The same parcel is counted twice.", "wrong quantities", "The totals are never what is on the shelf."),
    ("Nobody can log in since the clocks changed.", "problems with the time setting", "All entries are an hour late."),
    ("It makes a grinding noise when it starts.", "a mechanical sound", "Something rattles inside while it runs."),
    ("The update stopped half way.", "an installation that failed", "The new version cannot be put on it."),
    ("Water dripped into it from the ceiling.", "damage by liquid", "Somebody spilt coffee over the keys."),
)
"""What a firm reports, the question's words for it, and what another one reports of much the same."""
WISHES = (
    ("contact", "way of being reached", "a text message|the switchboard|fax|a call before eight|chat|post"),
    ("invoice", "form of the bill", "one sheet a month|paper|two copies|a bill a site|direct debit|a portal"),
    ("delivery", "manner in which goods arrive", "the back gate|by van|on Fridays|a locker|in one lot|at dawn"),
    ("session", "help from afar", "shared screens|a guided call|no remote access|nights only|a video link|a script"),
    (
        "spare",
        "replacement while something is away",
        "a loan device|a used one|none|the same model|two at once|a rental",
    ),
    ("language", "tongue of letters", "French|plain Danish|Polish|German|English|Dutch"),
)
"""What a wish is about, the question's words for it, and what may be wished."""
WISHED = ("{firm} asks for {best} and nothing else.", "At {firm} it is always {best}.",
          "For the {what}, {firm} insists on {best}.", "{firm} is content with {best} as {what}.")  # fmt: skip


class Desk(Teller):
    """Makes the tickets of some firms."""

    days = 2

    def __init__(self, number: int, sessions: int) -> None:
        super().__init__(number, sessions)
        self.firms = self.chance.sample(FIRMS, 6)
        self.fitted: dict[str, list[str]] = defaultdict(list)
        for what, other_words, things in WISHES:
            wishes = self.chance.sample(things.split("|"), 6)
            pairs = list(zip(self.firms, wishes, strict=True))
            asked = [partial(self.wish, what, other_words, *pair) for pair in pairs[:2]]
            self.plan(*asked, *[partial(self.other_wish, what, *pair) for pair in pairs[2:]])
        for said, other_words, much_the_same in FAULTS:
            one, other = self.chance.sample(self.firms, 2)
            self.plan(partial(self.fault, one, said, other_words), partial(self.fault, other, much_the_same))
        for session in range(sessions):
            planned = self.begin(session)
            self.firm, self.device = self.chance.choice(self.firms), self.chance.choice(DEVICES)
            self.say(
                f"{self.firm} opened a ticket about the {self.device} at their {self.chance.choice(('depot', 'shop'))}."
            )
            parts = [*planned, self.version, self.swap, *([self.fit] if self.chance.random() < 0.6 else [])]
            self.chance.shuffle(parts)
            for part in parts:
                self.routine(self.chance.randint(1, 3))
                part()
            self.routine(1)
        for firm, fitted in self.fitted.items():
            if 2 <= len(fitted) <= 4:
                self.ask("multi-session", f"Which parts were replaced at {firm}, over all tickets?", set(fitted))

    def routine(self, count: int) -> None:
        """Add notes that stand in any ticket."""
        for _ in range(count):
            self.say(self.chance.choice(ROUTINE).format(device=self.device))

    def version(self) -> None:
        """Ask for a version, which the answer tells without repeating the question."""
        self.say(f"Asked {self.firm} which firmware the {self.device} runs.")
        told = self.chance.choice((f"on the {self.device}", f"at {self.firm}", "in the menu"))
        answer = self.say(f"They read version {self.chance.randint(1, 9)}.{self.chance.randint(0, 40)} {told}.")
        self.ask("single fact", f"Which firmware version does the {self.device} of {self.firm} have?", {answer})

    def swap(self) -> None:
        """Settle when a device will be swapped."""
        self.say(f"The {self.device} of {self.firm} has to be swapped; asked which day suits them.")
        day, month = self.chance.randint(2, 28), self.chance.choice("February April July September November".split())
        told = self.chance.choice((f"for the {self.device}", f"with {self.firm}", "before noon"))
        answer = self.say(f"The swap was agreed {told} on the {day}th of {month}.")
        self.ask("temporal", f"On what date will the {self.device} of {self.firm} be swapped?", {answer})

    def fit(self) -> None:
        """Note a part that was replaced."""
        self.say(f"A technician was sent to {self.firm}.")
        told = self.chance.choice((f"of the {self.device}", f"at {self.firm}", "at once"))
        self.fitted[self.firm].append(self.say(f"Replaced the {self.chance.choice(PARTS)} {told}, tested for an hour."))

    def wish(self, what: str, other_words: str, firm: str, best: str) -> None:
        """Note what a firm wishes, after asking."""
        self.say(f"Asked {firm} what they would like best as {what}.")
        told = self.chance.choice((f"as {what}", f"for all of {firm}", "whatever it costs"))
        answer = self.say(f"Their contact prefers {best}, {told}.")
        self.ask("preference", f"What {other_words} ({what}) does {firm} prefer?", {answer})

    def other_wish(self, what: str, firm: str, best: str) -> None:
        """Note what another firm wishes, which nobody asks about."""
        self.say(self.chance.choice(WISHED).format(firm=firm, best=best, what=what))

    def fault(self, firm: str, said: str, other_words: str = "") -> None:
        """Note a fault, which a question puts in other words."""
        self.say(f"{firm} called about something else as well.")
        answer = self.say(f"{firm} says: {said}")
        self.say("Noted, a ticket of its own may follow.")
        if other_words:
            self.ask("paraphrase", f"Did {firm} report anything like {other_words}?", {answer})
