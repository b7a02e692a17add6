"""What an agent put into a call: whatever in the result may be made of that proves nothing."""

from __future__ import annotations

import re
import unicodedata
from base64 import b64decode
from collections.abc import Iterable, Iterator
from contextlib import suppress
from decimal import Decimal, InvalidOperation
from functools import cached_property
from html import unescape
from typing import Any
from urllib.parse import unquote_plus

from quarterdeck.governance.tokens import APART, MAX_LEAVES, MIN_TOKEN, number_of

MAX_GIVEN = 20_000
"""Characters of arguments; the result of a call with more than that proves nothing."""
MAX_NESTED = 3
"""Ways of writing a value that may be wrapped around each other."""
MIN_RUN = 4
MIN_DIGITS = 6
"""Letters and digits, or digits alone, that a result shares with what was put in no more by chance."""
_PACKED = re.compile(r"[A-Za-z0-9+/_-]{4,}")


class Given:
    """What an agent put into a call, to tell what in its result may be made of that.

    Here everything is folded and read as leniently as any tool might: decoded, put together, cut up. What looks like an
    echo proves nothing.

    Args:
        values: The scalars of the arguments that nobody trustworthy wrote.
        together: All scalars of the arguments, in their order.
        names: Of the arguments.
    """

    def __init__(self, values: Iterable[Any], together: Iterable[Any] = (), names: Iterable[str] = ()) -> None:
        self._texts = [str(value) for value in values if value is not None and not isinstance(value, bool)]
        self._all = [str(value) for value in together if value is not None] if self._texts else []
        self._names = list(names)

    def echoes(self, value: Any) -> bool:
        """Say whether a value of the result may be made of what was put in."""
        if self._too_much:
            return True
        number = number_of(value)
        if number is not None and number in self._numbers:
            return True
        if not isinstance(value, str):
            return False
        text, letters = _folded(value), _letters(value)
        if len(text) < MIN_TOKEN:
            return text in self._parts
        if any(text in given or (len(given) >= MIN_TOKEN and given in text) for given in self._parts):
            return True
        if len(letters) >= MIN_TOKEN and letters in self._together:
            return True
        return not _runs(letters).isdisjoint(_runs(self._apart))

    @cached_property
    def _too_much(self) -> bool:
        return sum(map(len, (*self._all, *self._texts))) > MAX_GIVEN

    @cached_property
    def _forms(self) -> list[str]:
        return list(decoded((APART.join(self._texts), "".join(self._texts))))

    @cached_property
    def _parts(self) -> frozenset[str]:
        """Each argument for itself, in each form, as a tool may return it whole or as a part of something."""
        return frozenset(_folded(part) for form in (*self._forms, *self._names) for part in form.split(APART))

    @cached_property
    def _apart(self) -> str:
        """The letters and digits of what nobody trustworthy wrote, in each form."""
        return APART.join(map(_letters, self._forms))

    @cached_property
    def _together(self) -> str:
        """The letters and digits of all arguments in a row, in each form: whatever a tool puts between them."""
        return APART.join(map(_letters, decoded(("".join(self._all),))))

    @cached_property
    def _numbers(self) -> frozenset[Decimal]:
        return frozenset(number for part in self._parts for number in _any_numbers(part))


def decoded(texts: Iterable[str]) -> Iterator[str]:
    """Yield texts, and what they say once percent signs, HTML, base64 or hexadecimal digits in them are decoded."""
    seen, level = set[str](), list(texts)
    for _ in range(MAX_NESTED):
        level = [text for text in dict.fromkeys(level) if text not in seen]
        seen.update(level)
        yield from level
        level = [form for text in level for form in (unquote_plus(text), unescape(text), _unpacked(text))]


def _unpacked(text: str) -> str:
    """Return what the runs in a text say that are base64 or hexadecimal digits."""
    found = []
    for run in _PACKED.findall(text):
        padded = run.replace("-", "+").replace("_", "/") + "=" * (-len(run) % 4)
        for decode, form in ((b64decode, padded), (bytes.fromhex, run)):
            with suppress(ValueError):
                made = decode(form).decode()
                found += [made] if made.isprintable() else []
    return APART.join(found)


def _runs(letters: str) -> set[str]:
    """Return the runs that are too long to be shared by chance; digits alone are, such as a year."""
    short = {letters[at : at + MIN_RUN] for at in range(len(letters) - MIN_RUN + 1)}
    long = {letters[at : at + MIN_DIGITS] for at in range(len(letters) - MIN_DIGITS + 1)}
    return {run for run in short | long if APART not in run and not (len(run) == MIN_RUN and run.isdigit())}


def _folded(text: str) -> str:
    return unicodedata.normalize("NFKC", text).casefold().strip()


def _letters(text: str) -> str:
    return "".join(character for character in _folded(text) if character.isalnum() or character == APART)


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
