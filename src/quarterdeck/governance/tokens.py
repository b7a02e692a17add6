"""Whether a text names a value: as a whole token, or not at all.

Code points are compared as they are. Nothing is normalised or folded on the side of the proof, so that no look-alike,
no combining form and no invisible character ever equals what somebody wrote.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Iterable, Iterator
from decimal import Decimal, InvalidOperation
from typing import Any

MAX_TOKEN = 2000
MIN_TOKEN = 3
MAX_LEAVES = 20_000
MAX_DEPTH = 20
_OPENERS = "\"'`([{<\u201c\u201e\u2018\u00ab"
_CLOSERS = "\"'`)]}>.,;:!?\u201d\u2019\u00bb"
_BEFORE = rf"(?<!\S)[{re.escape(_OPENERS)}]{{0,3}}"
_AFTER = rf"[{re.escape(_CLOSERS)}]{{0,4}}(?!\S)"
_CURRENCY = r"(?:EUR|USD|GBP|CHF|[$\u20ac\u00a3\u00a5])?"
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]{0,14})(?:\.[0-9]{1,6})?")
_AMOUNT = re.compile(
    rf"{_CURRENCY}(-?(?:(?:0|[1-9][0-9]{{0,14}})(?:\.[0-9]{{1,6}})?|[1-9][0-9]{{0,2}}(?:,[0-9]{{3}})+\.[0-9]{{2}}))"
    rf"{_CURRENCY}"
)
_THOUSANDS = re.compile(r"-?[1-9][0-9]{0,2}\.[0-9]{3}")
_COMMON = frozenset(
    "true false none null yes no default all any every everyone everybody anyone here channel team public group users "
    "root admin administrator main master home self this that the and not".split()
)
"""Words that stand in every other text and mean much as an argument: no proof of anything."""


def leaves(value: Any, depth: int = 0) -> Iterator[Any]:
    """Yield the scalars of nested data, the keys of dicts included."""
    if isinstance(value, dict):
        for key, part in value.items():
            yield str(key)
            yield from leaves(part, depth + 1) if depth < MAX_DEPTH else ()
    elif isinstance(value, list | tuple | set | frozenset):
        for part in value:
            yield from leaves(part, depth + 1) if depth < MAX_DEPTH else ()
    else:
        yield value


def is_common(value: Any) -> bool:
    """Say whether a value is so short or so frequent that finding it somewhere proves nothing."""
    if value is None or isinstance(value, bool):
        return True
    number = number_of(value)
    if number is not None:
        return abs(number) < 10
    return not isinstance(value, str) or len(value) < MIN_TOKEN or value.casefold() in _COMMON


def names(text: str, value: str) -> bool:
    """Say whether a text names a value: between blanks, with at most quotes, brackets and punctuation around it.

    So `bob@x.com` is not in `bob@x.com.evil.net`, `14` not in `140`, and `evil.com` not in `notevil.com`.
    """
    if not _can_be_named(value) or value not in text:
        return False
    return re.search(_BEFORE + re.escape(value) + _AFTER, text) is not None


def _can_be_named(value: str) -> bool:
    if not MIN_TOKEN <= len(value) <= MAX_TOKEN or value[0] in _OPENERS + _CLOSERS or value[-1] in _OPENERS + _CLOSERS:
        return False
    if not any(character.isalnum() for character in value) or value != value.strip():
        return False
    return not any(character.isspace() and character != " " for character in value) and value.isprintable()


def number_of(value: Any) -> Decimal | None:
    """Return a number, or a text that is nothing but a plain number, as a decimal: `140` and `140.00` are equal."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return Decimal(value) if abs(value) < 10**15 else None
    if isinstance(value, float):
        return Decimal(repr(value)) if math.isfinite(value) else None
    if isinstance(value, Decimal):
        return value if value.is_finite() else None
    if isinstance(value, str) and len(value) <= 24 and _NUMBER.fullmatch(value) and not _THOUSANDS.fullmatch(value):
        return Decimal(value)
    return None


def numbers_in(text: str) -> Iterator[Decimal]:
    """Yield the numbers that stand in a text as whole tokens, with or without a currency.

    `1.400` and `1,400` are left out: which number they are depends on who wrote them.
    """
    for run in text.split():
        found = _AMOUNT.fullmatch(run.lstrip(_OPENERS).rstrip(_CLOSERS)) if len(run) <= 60 else None
        if found and not _THOUSANDS.fullmatch(found[1]):
            yield Decimal(found[1].replace(",", ""))


class Given:
    """What an agent put into a call, to tell what in its result is only an echo of that.

    Here everything is folded and read as leniently as any tool might: what looks like an echo proves nothing.

    Args:
        values: The arguments, or those of them that nobody trustworthy wrote.
    """

    def __init__(self, values: Iterable[Any]) -> None:
        self._texts = {_folded(str(value)) for value in values if value is not None and not isinstance(value, bool)}
        self._numbers: frozenset[Decimal] | None = None

    def echoes(self, value: Any) -> bool:
        """Say whether a value of the result may be made of what was put in."""
        number = number_of(value)
        if number is not None and number in self._all_numbers():
            return True
        if not isinstance(value, str):
            return False
        text = _folded(value)
        if len(text) < MIN_TOKEN:
            return text in self._texts
        return any(text in given or (len(given) >= MIN_TOKEN and given in text) for given in self._texts)

    def _all_numbers(self) -> frozenset[Decimal]:
        if self._numbers is None:
            self._numbers = frozenset(number for text in self._texts for number in _any_numbers(text))
        return self._numbers


def _folded(text: str) -> str:
    return unicodedata.normalize("NFKC", text).casefold().strip()


def _any_numbers(text: str) -> Iterator[Decimal]:
    runs = re.split(r"[^\w.,+\-]+", text) + re.findall(r"\d+(?:\.\d+)?", text)
    for run in runs[:MAX_LEAVES]:
        for form in (run, run.replace(",", ""), run.replace(".", "").replace(",", ".")):
            try:
                number = Decimal(form[:40])
            except InvalidOperation:
                continue
            if number.is_finite():
                yield number
