"""Words, stems, numbers and names in plain English text: what the checks on quotes and sentences compare."""

from __future__ import annotations

import re
import unicodedata
from decimal import Decimal, InvalidOperation

STOP_WORDS = frozenset(
    "a about above after again all also although am an and any are as at be because been before being below between"
    " both but by can could did do does doing down during each either else even every few for from further had has"
    " have having he her here hers him his how however i if in into is it its itself just let many may me might more"
    " most much must my neither no nor not now of off often on once only or other others our out over own per quite"
    " rather same shall she should since so some still such than that the their them then there these they this those"
    " though through thus to too under until up upon very via was we were what when where whether which while who"
    " whom whose why will with within without would yet you your".split()
)
NEGATIONS = frozenset("not no never none nothing neither nor without cannot hardly nobody nowhere".split())

_WORD = re.compile(r"[^\W_]+")
_TOKEN = re.compile(r"[^\W_]+(?:['\u2019][^\W_]+)?")
_NUMBER = re.compile(r"(?<![\w.])(?P<sign>[-\u2212])?(?P<digits>\d[\d,\u202f\u00a0]*(?:\.\d+)*)(?P<rest>[^\W\d_]*)")
_PERCENT = re.compile(r"^\s*(?:%|per\s?cent\b|percent\b)", re.IGNORECASE)
_SCALE = re.compile(r"^[\s-]*(hundred|thousand|million|billion|trillion|mn|bn)\b", re.IGNORECASE)
_SCALES = {"hundred": 2, "thousand": 3, "million": 6, "mn": 6, "billion": 9, "bn": 9, "trillion": 12}
_COUNTED = re.compile(rf"\d(?:\s?%)?\s+(?:(?:{'|'.join(_SCALES)})\s+)?([^\W\d_]{{3,}})", re.IGNORECASE)
_UNITS = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen"
    " eighteen nineteen"
).split()
_TENS = dict(zip("twenty thirty forty fifty sixty seventy eighty ninety".split(), range(20, 100, 10), strict=True))
_SPELLED = {**{word: number for number, word in enumerate(_UNITS)}, **_TENS}
_SPELLED_NUMBER = re.compile(
    rf"\b(?:(?P<tens>{'|'.join(_TENS)})[-\s](?P<unit>{'|'.join(_UNITS[1:10])})|(?P<word>{'|'.join(_SPELLED)}))\b",
    re.IGNORECASE,
)
_SUFFIXES = (
    "ational isation ization fulness ousness iveness ations itions ments ation ition ment ness ings edly ingly ions"
    " ies ied ing ion ity est ous ive ers ed er es ly al ic s e y"
).split()


def words_of(text: str) -> list[str]:
    """Return the words of a text in lower case, letters and digits only."""
    return _WORD.findall(unicodedata.normalize("NFC", text).lower())


def stem(word: str) -> str:
    """Return a word without its endings, so that `rises`, `rising` and `rise` are one; rough, but the same for all."""
    word = word.lower()
    if not word.isalpha() or len(word) <= 3:
        return word
    for _ in range(2):
        for suffix in _SUFFIXES:
            if word.endswith(suffix) and len(word) - len(suffix) >= 3 and not word.endswith("ss"):
                word = word[: -len(suffix)]
                break
    if len(word) > 3 and word[-1] == word[-2]:
        word = word[:-1]
    return word


def content_stems(text: str) -> list[str]:
    """Return the stems of the words that carry meaning; numbers and stop words are left out."""
    return [
        stem(word)
        for word in words_of(text)
        if len(word) > 1 and word.isalpha() and word not in STOP_WORDS and word not in _SPELLED
    ]


def numbers_of(text: str) -> set[str]:
    """Return the numbers of a text, written alike: `1,200`, `two million` as `2000000`, `5 percent` as `5%`.

    `one` is left out, as it seldom counts anything.
    """
    found = set()
    for match in _NUMBER.finditer(text):
        rest = text[match.end("digits") :]
        found.add(_written(match["digits"], rest, negative=bool(match["sign"])))
    for match in _SPELLED_NUMBER.finditer(text):
        if match["tens"]:
            value = _TENS[match["tens"].lower()] + _UNITS.index(match["unit"].lower())
        else:
            value = _SPELLED[match["word"].lower()]
        written = _written(str(value), text[match.end() :], negative=False)
        if written != "1":
            found.add(written)
    return found


def counted_stems(text: str) -> set[str]:
    """Return the stems of the words right behind numbers: what is counted, such as `tonnes`."""
    found = set()
    for match in _COUNTED.finditer(text):
        word = match[1].lower()
        if word not in STOP_WORDS and word not in ("percent", "per"):
            found.add(stem(word))
    return found


def names_of(text: str) -> list[str]:
    """Return the names in a text, in lower case, without `'s`.

    They are the words with a capital that do not start a sentence, and whatever mixes letters and digits.
    """
    names = []
    for match in _TOKEN.finditer(text):
        word = re.sub(r"['\u2019]s$", "", match[0])
        coded = any(letter.isdigit() for letter in word) and any(letter.isalpha() for letter in word)
        if not (coded or any(letter.isupper() for letter in word)) or word.lower() in STOP_WORDS:
            continue
        inner = any(letter.isupper() for letter in word[1:])
        if coded or inner or not _starts_sentence(text, match.start()):
            names.append(word.lower())
    return names


def first_words(text: str) -> list[str]:
    """Return the capitalised words that start a sentence and may or may not be names, in lower case."""
    return [
        re.sub(r"['\u2019]s$", "", match[0]).lower()
        for match in _TOKEN.finditer(text)
        if match[0][0].isupper() and match[0].lower() not in STOP_WORDS and _starts_sentence(text, match.start())
    ]


def is_negated(text: str) -> bool:
    """Say whether a text denies something."""
    lowered = text.lower().replace("\u2019", "'")
    return bool(re.search(r"n't\b", lowered)) or any(word in NEGATIONS for word in words_of(lowered))


def _starts_sentence(text: str, at: int) -> bool:
    before = text[:at].rstrip(" \t\"'\u201c\u2018([*_-#>")
    return not before or before[-1] in ".!?:\n"


def _written(digits: str, rest: str, *, negative: bool) -> str:
    plain = re.sub(r"[,\u202f\u00a0]", "", digits).rstrip(".")
    try:
        value = Decimal(plain)
    except InvalidOperation:
        return plain  # a version, a date or a section: 1.2.3
    if scale := _SCALE.match(rest):
        value = value.scaleb(_SCALES[scale[1].lower()])
        rest = rest[scale.end() :]
    text = format(value.normalize(), "f") if value else "0"
    return f"{'-' if negative else ''}{text}{'%' if _PERCENT.match(rest) else ''}"
