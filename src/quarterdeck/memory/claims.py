"""Claims: what a sentence says of what, so that code can tell when two of them cannot both hold.

A cheap rule that would rather overlook a contradiction than see one where there is none. It reads English; a model's
verdict can be asked for what it leaves open (see `memory.manage`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

MAX_CHARACTERS = 400
"""Longer texts say more than one thing."""

_COPULA = "is|are|was|were"
_SINGLE = (
    "costs?|weighs?|measures?|equals?|(?:lives?|lived|resides?|resided) (?:in|at)|(?:works?|worked) (?:at|for|as)"
    "|reports? to|belongs? to|moved to"
    "|(?:starts?|begins?|ends?|closes?|opens?|leaves?|arrives?|expires?|departs?) (?:at|on|in)"
)
_AMOUNT = "has|had|have|handled|sold|earned|reached|totalled|totaled|employs?|employed|contains?|holds?|produced|made"
_SENTENCE = re.compile(
    rf"(?P<subject>.{{2,160}}?)\s+(?P<verb>{_COPULA}|{_SINGLE}|{_AMOUNT})\s+"
    r"(?P<negated>(?:not|no longer|never)\s+)?(?P<value>.{1,240}?)[.!]?",
    re.IGNORECASE,
)
_PAIR = re.compile(r"(?P<subject>[^:.?!/]{2,80}):\s+(?P<value>[^\n]{1,240}?)[.!]?")
_ONE_ONLY = re.compile(
    r"\b(?:favou?rite|preferred|name|e-?mail|birthday|address|job|title|role|capital|deadline|price|colou?r|age"
    r"|status|version|language|owner|manager|ceo|director|captain|size|height|weight|length|width|date|location"
    r"|budget|currency|headquarters|phone|nationality|population|employer|hometown|password policy|limit|quota)\b",
    re.IGNORECASE,
)
_WHEN = re.compile(
    r"\b(?:in|during|for|as of|since|until|on|by)\s+(?:(?:early|late|mid|the (?:first|second) half of|q[1-4])\s+)?"
    r"(?:(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*\s+)?(?:1[89]|20|21)\d\d\b",
    re.IGNORECASE,
)
_NUMBER = re.compile(r"\d[\d.,:]*\d|\d")
_DAY = re.compile(
    r"\b(?:(?:mon|tues|wednes|thurs|fri|satur|sun)day|jan(?:uary)?|feb(?:ruary)?|march|april|may|june?|july?"
    r"|aug(?:ust)?|sept?(?:ember)?|oct(?:ober)?|nov(?:ember)?|dec(?:ember)?|noon|midnight|today|tomorrow)\b",
    re.IGNORECASE,
)
_NAME = re.compile(r"\b[A-Z][\w&-]*")
_NOT = re.compile(r"\b(?:not|never|no longer|cannot|without|no)\b|n't\b", re.IGNORECASE)
_WORD = re.compile(r"[^\W_]+(?:[.,:][0-9]+)*")
_ARTICLES = frozenset({"a", "an", "the", "now", "currently", "about", "around", "some", "user", "users", "s"})


@dataclass(frozen=True, slots=True)
class Claim:
    """That a subject has a value.

    Attributes:
        subject: The words of what it is about, without articles, in order.
        verb: In small letters; `is` for all forms of it that say the same of the present, empty for `subject: value`.
        value: As it is written.
        when: The time that it is limited to, as it is written; empty for none.
    """

    subject: tuple[str, ...]
    verb: str
    value: str
    negated: bool = False
    when: str = ""
    one_only: bool = False


def claim(text: str) -> Claim | None:
    """Return what a sentence claims; None when it is of no form that is known."""
    text = " ".join(text.split())
    if len(text) > MAX_CHARACTERS:
        return None
    when = " ".join(found[0].lower() for found in _WHEN.finditer(text))
    bare = " ".join(_WHEN.sub(" ", text).split()).replace(" ,", ",")
    match = _SENTENCE.fullmatch(bare)
    if match is None:  # the time may be the very value: "it opens in 2031"
        match, when = _SENTENCE.fullmatch(text), ""
    pair = _PAIR.fullmatch(bare)
    found = pair or match
    if found is None:
        return None
    subject = found["subject"].replace("\u2019", "'").strip(" ,")
    verb = "" if pair is not None else found["verb"].lower()
    return Claim(
        subject=tuple(word for word in _words(subject) if word not in _ARTICLES),
        verb={"are": "is", "were": "was"}.get(verb, verb),
        value=found["value"],
        negated=pair is None and bool(found["negated"]),
        when=when,
        one_only=pair is not None or bool(_ONE_ONLY.search(subject)),
    )


def contradicts(one: str, other: str) -> bool:
    """Return whether two texts say of the same subject, and the same time, what cannot both hold."""
    first, second = claim(one), claim(other)
    if first is None or second is None or not first.subject:
        return False
    if (first.subject, first.verb, first.when) != (second.subject, second.verb, second.when):
        return False
    ours, theirs = _bag(first.value), _bag(second.value)
    if first.negated != second.negated:
        return ours == theirs
    if first.negated or ours <= theirs or theirs <= ours:
        return False
    if first.one_only or re.fullmatch(_SINGLE, first.verb):
        return True
    if _DAY.search(first.value) and _DAY.search(second.value) and first.verb in ("is", "was"):
        return True
    return _same_unit(first.value, second.value)


def same_particulars(one: str, other: str) -> bool:
    """Return whether two texts name the same numbers, days and names and deny as often.

    Sentences that differ in nothing else are near in meaning to an embedder, and the one thing matters.
    """
    return _particulars(one) == _particulars(other)


def particulars(text: str) -> set[str]:
    """Return the numbers, and the names within its sentences, that a text gives."""
    names = {name.lower() for name in _NAME.findall(re.sub(r"(?:^|[.!?:]\s+)\W*\w+", " ", text))}
    return set(_NUMBER.findall(text)) | names


def grounded(fact: str, passage: str) -> bool:
    """Return whether all numbers and names that a fact gives stand in a passage."""
    words = passage.lower()

    def stands(one: str) -> bool:
        part = r"\d" if one[0].isdigit() else r"\w"  # a number may be a part of a word, such as NL91
        return re.search(rf"(?<!{part}){re.escape(one)}(?!{part})", words) is not None

    return all(stands(one) for one in particulars(fact) - {"user"})


def normal(text: str) -> str:
    """Return a text as it is compared with others: its words in small letters."""
    return " ".join(_words(text))


def _particulars(text: str) -> tuple[frozenset[str], frozenset[str], int, frozenset[str]]:
    days = frozenset(day.lower() for day in _DAY.findall(text))
    return frozenset(_NUMBER.findall(text)), days, len(_NOT.findall(text)), frozenset(particulars(text))


def _same_unit(one: str, other: str) -> bool:
    """Return whether two values are different numbers of the same thing."""
    first, second = _NUMBER.findall(one), _NUMBER.findall(other)
    if len(first) != 1 or len(second) != 1 or first == second:
        return False
    return _bag(_NUMBER.sub(" ", one)) == _bag(_NUMBER.sub(" ", other))


def _bag(text: str) -> frozenset[str]:
    return frozenset(word for word in _words(text) if word not in _ARTICLES)


def _words(text: str) -> list[str]:
    return [word.lower() for word in _WORD.findall(text)]
