"""Whether a text names a value: as a whole token, or not at all.

Code points are compared as they are. Nothing is normalised or folded on the side of the proof, so that no look-alike,
no combining form and no invisible character ever equals what somebody wrote.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

MAX_TOKEN = 2000
MIN_TOKEN = 3
MAX_LEAVES = 20_000
MAX_DEPTH = 20
APART = "\0"
"""Between texts that are searched as one."""
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
_SIGN = r"(?:US\$|[$\u20ac\u00a3\u00a5]|EUR|USD|GBP|CHF)"
_MONEY = re.compile(
    rf"(?P<before>{_SIGN})?(?P<number>-?(?:(?:0|[1-9][0-9]{{0,14}})(?:[.,][0-9]{{1,2}}|\.[0-9]{{3,6}})?"
    rf"|[1-9][0-9]{{0,2}}(?:,[0-9]{{3}})+\.[0-9]{{2}}|[1-9][0-9]{{0,2}}(?:\.[0-9]{{3}})+,[0-9]{{2}}))"
    rf"(?P<after>{_SIGN})?"
)
_CODES = frozenset(
    "EUR USD GBP CHF JPY CNY INR AUD CAD NZD SEK NOK DKK PLN CZK HUF RON BGN TRY ILS AED SAR ZAR BRL MXN ARS CLP COP "
    "KRW SGD HKD TWD THB IDR MYR PHP VND UAH US$".split()
)
_CURRENCY_WORDS = frozenset(
    "$ \u20ac \u00a3 \u00a5 eur usd gbp chf euro euros dollar dollars pound pounds franc francs franken yen yuan rupee "
    "rupees krone kroner krona kronor zloty".split()
)
_ENDS = ",;.!?"
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


def amounts_in(text: str) -> Iterator[Decimal]:
    """Yield the numbers of a text that are amounts of money: they stand beside a currency, or are all of the text.

    A currency between two numbers is of neither, for nobody can tell of which. Beside a currency `40,00` is a number
    too, because thousands have three digits.
    """
    for line in text.splitlines()[:MAX_LEAVES]:
        words = line.split()
        read = [_money(word) for word in words]
        for at, (number, marked) in enumerate(read):
            if number is not None and (marked or len(words) == 1 or _has_currency(words, read, at)):
                yield number


def _money(word: str) -> tuple[Decimal | None, bool]:
    """Return the number that a word is, and whether a currency is a part of it."""
    found = _MONEY.fullmatch(word.lstrip(_OPENERS).rstrip(_CLOSERS)) if len(word) <= 60 else None
    if found is None or _THOUSANDS.fullmatch(found["number"]):
        return None, False
    number = found["number"]
    point = "," if re.search(r",[0-9]{1,2}$", number) else "."
    return Decimal(re.sub(r"[^0-9.-]", "", number.replace("." if point == "," else ",", "").replace(",", "."))), bool(
        found["before"] or found["after"]
    )


def _has_currency(words: list[str], read: list[tuple[Decimal | None, bool]], at: int) -> bool:
    for step in (1, -1):
        beside, beyond = at + step, at + 2 * step
        if not 0 <= beside < len(words) or not _is_currency(words[beside]):
            continue
        ends = (words[at], words[beside]) if step == 1 else (words[beside], words[at])
        if ends[0][-1] in _ENDS:
            continue
        shared = 0 <= beyond < len(words) and read[beyond][0] is not None
        if not shared or (words[beside] if step == 1 else words[beyond])[-1] in _ENDS:
            return True
    return False


def _is_currency(word: str) -> bool:
    word = word.lstrip(_OPENERS).rstrip(_CLOSERS)
    return word in _CODES or word.casefold() in _CURRENCY_WORDS
