"""Finding personal data in text: by form, by the checksum where the form has one, and names by reading."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterator, Mapping, Sequence

from quarterdeck.errors import SpecError
from quarterdeck.spec.problem import Problem

Span = tuple[int, int, str]
"""Where something begins and ends, and what kind it is."""
Finder = Callable[[str], Iterator[tuple[int, int]]]

# every repetition is bounded or cannot give back what it took, so no text makes a search quadratic
_EMAIL = re.compile(r"(?<![\w.%+-])\w[\w.%+'-]{0,63}+@[\w-]{1,63}+(?:\.[\w-]{1,63}+){1,8}+")
_IBAN = re.compile(r"(?<![A-Za-z0-9])[A-Za-z]{2}\d{2}(?:[ -]?[A-Za-z0-9]){11,30}")
_CARD = re.compile(r"(?<![\d.])[2-6]\d(?:[ -]?\d){11,17}(?!\d)")
_IPV4 = re.compile(r"(?<![\d.])\d{1,3}(?:\.\d{1,3}){3}(?![\d]|\.\d)")
_IPV6 = re.compile(r"(?:(?<!\w)[0-9A-Fa-f]|:)[0-9A-Fa-f:.]{1,44}+(?!\w)")
_BY_READING = ("person", "location")


def emails(text: str) -> Iterator[tuple[int, int]]:
    """Yield the places of e-mail addresses."""
    if "@" in text:
        yield from (match.span() for match in _EMAIL.finditer(text))


def ibans(text: str) -> Iterator[tuple[int, int]]:
    """Yield the places of account numbers whose checksum (ISO 7064, modulo 97) is right."""
    at = 0
    while match := _IBAN.search(text, at):
        at = match.start() + 1
        end = match.end()
        while end - match.start() >= 15:  # what follows a number may look like more of it
            if _is_iban(text[match.start() : end]):
                yield match.start(), end
                at = end
                break
            end -= 1


def cards(text: str) -> Iterator[tuple[int, int]]:
    """Yield the places of card numbers whose checksum (Luhn) is right."""
    for match in _CARD.finditer(text):
        if _is_card(match[0]):
            yield match.span()


def addresses(text: str) -> Iterator[tuple[int, int]]:
    """Yield the places of IP addresses, version 4 and 6."""
    for match in _IPV6.finditer(text) if ":" in text else ():
        run = match[0]
        for words in dict.fromkeys(
            (run, run.rstrip(".:"), run[1:], run[1:].rstrip(".:"))
        ):  # a colon may stand before it
            if ":" in words and _is_address(words):
                start = match.start() + run.index(words)
                yield start, start + len(words)
                break
    for match in _IPV4.finditer(text):
        if _is_address(match[0]):
            yield match.span()


def phones(regions: Sequence[str]) -> Finder:
    """Return a finder of telephone numbers.

    Args:
        regions: Countries (ISO 3166, two letters) whose national numbers are found too; international ones always are.
    """

    def find(text: str) -> Iterator[tuple[int, int]]:
        if sum(letter.isdigit() for letter in text) < 6:
            return
        import phonenumbers

        for region in regions or (None,):
            for match in phonenumbers.PhoneNumberMatcher(text, region):
                alone = match.raw_string.startswith("(") and ")" not in match.raw_string
                yield match.start + alone, match.end

    return find


def finders(kinds: Sequence[str], regions: Sequence[str] = ()) -> dict[str, Finder]:
    """Return a finder for each kind of personal data, the ones that are surest of themselves first.

    Args:
        kinds: As in `redact.pii`.
        regions: As for `phones`.

    Raises:
        SpecError: A kind cannot be found, because the weights of the model that finds it are not on this machine.
    """
    known: dict[str, Finder] = {
        "EMAIL": emails, "IBAN": ibans, "CREDIT_CARD": cards, "IP": addresses, "PHONE": phones(regions),
    }  # fmt: skip
    if by_reading(kinds):
        from quarterdeck.models import named

        names = named.installed()
        if names is None:
            raise SpecError([Problem("config/governance.yaml", 1, 1, "redact.pii", missing(kinds))])
        known |= {kind.upper(): names.finder(kind.upper()) for kind in _BY_READING}
    return {name: finder for name, finder in known.items() if name.lower() in kinds}


def by_reading(kinds: Sequence[str]) -> list[str]:
    """Return those of some kinds that a model finds, which takes about a second for 10,000 characters."""
    return [kind for kind in _BY_READING if kind in kinds]


def missing(kinds: Sequence[str]) -> str:
    """Return what this machine lacks to find some kinds, and how to get it; empty where it lacks nothing."""
    wanted = by_reading(kinds)
    if not wanted:
        return ""
    from quarterdeck.models import named, weights

    if weights.installed(named.ALIAS) is not None:
        return ""
    return (
        f"the model that finds {' and '.join(wanted)} ({weights.find(named.ALIAS).bytes / 1e6:.0f} MB) is not on this "
        "machine, and nothing is sent that should have been redacted. "
        f"Get it with: quarterdeck models pull {named.ALIAS} --yes"
    )


def find(text: str, how: Mapping[str, Finder]) -> list[Span]:
    """Return all personal data in a text, in order, none of it overlapping; an earlier finder's word counts."""
    found: list[Span] = []
    for kind, finder in how.items():
        for start, end in finder(text):
            if all(end <= first or last <= start for first, last, _ in found):
                found.append((start, end, kind))
    return sorted(found)


def without_personal(text: str, how: Mapping[str, Finder]) -> str:
    """Return a text with the kind of each thing found in its place, such as `<EMAIL>`; it cannot be put back.

    Args:
        text: The text.
        how: What finds it; empty for nothing.
    """
    parts, at = [], 0
    for start, end, kind in find(text, how):
        parts += [text[at:start], f"<{kind}>"]
        at = end
    return "".join([*parts, text[at:]]) if parts else text


def _is_iban(text: str) -> bool:
    compact = re.sub("[ -]", "", text).upper()
    if not 15 <= len(compact) <= 34 or text[-1] in " -":
        return False
    return int("".join(str(int(letter, 36)) for letter in compact[4:] + compact[:4])) % 97 == 1


def _is_card(text: str) -> bool:
    digits = [int(letter) for letter in text if letter.isdecimal()]
    doubled = [digit * 2 - 9 * (digit > 4) for digit in digits[-2::-2]]
    return len(set(digits)) > 1 and (sum(digits[-1::-2]) + sum(doubled)) % 10 == 0


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return text != "::"
