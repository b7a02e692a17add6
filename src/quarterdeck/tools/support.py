"""Whether a sentence says no more than the words that it rests on."""

from __future__ import annotations

import re
from collections.abc import Sequence

from quarterdeck.tools.words import (
    content_stems,
    counted_stems,
    first_words,
    is_negated,
    names_of,
    numbers_of,
    stem,
    words_of,
)

SHARE = 0.6
"""How much of a sentence's content words must stand in its support."""

_UP = frozenset(map(stem, "rise rose risen increase grow grew grown growth climb gain higher improve doubled".split()))
_DOWN = frozenset(map(stem, "fall fell fallen decrease decline drop shrink shrank lose lower worsen halved".split()))
_OPENERS = frozenset(
    map(
        stem,
        "overall additionally furthermore moreover according finally meanwhile today currently despite approximately"
        " roughly nearly almost around total besides altogether likewise similarly therefore".split(),
    )
)
_CLAUSE = re.compile(r"[.;:,!?\n]\s|\s(?:but|and|while|whereas|although|yet)\s")


def unsupported(sentence: str, support: Sequence[str], share: float = SHARE, context: str = "") -> str:
    """Return why a sentence is not supported, or nothing when it is.

    Its numbers, what they count, and its names must all stand in the support, and enough of its other words;
    it must not deny what the support affirms, nor say up for down.

    Args:
        sentence: What is claimed.
        support: The quotes (and their headings) that it rests on.
        share: How much of its content words must stand there, 0 to 1; 0 checks numbers and names only.
        context: Text, such as the question, that shows which words are no names although a sentence starts with them.
    """
    ground = "\n".join(part for part in support if part)
    words = set(words_of(ground))
    stems = {stem(word) for word in words}
    if missing := numbers_of(sentence) - numbers_of(ground):
        return f"{_listed(missing)} is not in its source"
    names = names_of(sentence)
    if missing := {name for name in names if not _has(name, words, stems)}:
        return f"{_listed(missing)} is not in its source"
    if share <= 0:
        return ""
    ordinary = {stem(word) for word in re.findall(r"[^\W\d_]+", context) if word.islower()} | stems | _OPENERS
    if missing := {word for word in first_words(sentence) if stem(word) not in ordinary and word not in words}:
        return f"{_listed(missing)} is not in its source"
    if missing := counted_stems(sentence) - stems:
        return f"its source counts no {_listed(missing)}"
    own = {word for word in content_stems(sentence) if word not in _OPENERS} | {stem(name) for name in names}
    if _denies(sentence, ground, own):
        return "it denies what its source says, or the other way round"
    if (own & _UP and not stems & _UP and stems & _DOWN) or (own & _DOWN and not stems & _DOWN and stems & _UP):
        return "it turns the direction around"
    if len(own & stems) < share * len(own):
        return "too few of its words are in its source"
    return ""


def _denies(sentence: str, ground: str, own: set[str]) -> bool:
    """Say whether a sentence and the clause that is nearest to it do not agree in being a denial."""
    if is_negated(sentence):
        return not is_negated(ground)
    if not is_negated(ground):
        return False
    near = [(len(own & set(content_stems(clause))), not is_negated(clause)) for clause in _CLAUSE.split(ground)]
    return not max(near)[1]


def _has(name: str, words: set[str], stems: set[str]) -> bool:
    return all(part in words or stem(part) in stems for part in words_of(name))


def _listed(words: set[str]) -> str:
    return ", ".join(f'"{word}"' for word in sorted(words)[:5])
