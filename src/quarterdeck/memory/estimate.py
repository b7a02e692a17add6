"""Tokens of a text where no tokenizer says: an estimate by kinds of character, rather too high than too low."""

from __future__ import annotations

import math

_RARE = b"jkqvwxz"
_WEIGHTS = (
    (bytes(set(range(ord("a"), ord("z") + 1)) - set(_RARE)), 0.32),
    (b" ", 0.6),
    (b"\n", 1.5),  # where lines are a letter long, they are two tokens
    (_RARE, 1.0),  # in words they are few; in codes and keys as many as all others
    (bytes(range(ord("A"), ord("Z") + 1)), 0.75),
    (b"0123456789", 0.85),
    (bytes(range(0x80, 0xC0)), 0.0),  # the rest of a character, whose first byte counts for all of it
    (b"\xd0\xd1", 1.1),  # Cyrillic
    (b"\xc3\xce\xcf\xd7\xd8\xd9", 1.3),  # Latin with accents, Greek, Hebrew, Arabic
    (bytes(range(0xC2, 0xE0)), 2.0),
    (b"\xe0", 1.8),  # India, Thailand
    (bytes(range(0xE4, 0xEE)), 2.4),  # Chinese, Korean
    (bytes(range(0xE1, 0xF0)), 3.0),
    (bytes(range(0xF0, 0xF8)), 4.0),
)
"""Tokens a byte of UTF-8, by what byte it is; all others, most of them punctuation, are a token each."""
_DIGITS = b"0123456789"
_INDENT, _SPACE = b"    ", b" "


def estimate(text: str) -> int:
    """Return how many tokens a text is likely to take, rather too many than too few.

    English prose comes out at less than twice what it is, numbers, codes and rare scripts at nine tenths or more.
    """
    raw = text.encode("utf-8", "replace").replace(_INDENT, _SPACE)
    digits = len(raw) - len(raw.translate(None, _DIGITS))
    tokens = 0.4 * min(digits, raw.count(_SPACE))  # a space before a number is a token of its own
    for kind, weight in _WEIGHTS:
        rest = raw.translate(None, kind)
        tokens += (len(raw) - len(rest)) * weight
        raw = rest
        if not raw:
            break
    return math.ceil(tokens + len(raw))
