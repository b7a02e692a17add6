"""The ids of runs."""

from __future__ import annotations

import re
import secrets

LETTERS = "23456789abcdefghjkmnpqrstvwxyz"  # no 0/o, 1/i/l, u: ids are read aloud and typed
LENGTH = 8
_ID = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")


def new_id() -> str:
    """Return a new id of eight characters."""
    number, letters = secrets.randbelow(len(LETTERS) ** LENGTH), ""
    for _ in range(LENGTH):
        number, letter = divmod(number, len(LETTERS))
        letters += LETTERS[letter]
    return letters


def checked_id(run_id: str) -> str:
    """Return an id that somebody chose.

    Raises:
        ValueError: It has characters that an id does not have.
    """
    if not _ID.fullmatch(run_id):
        raise ValueError(f"run_id {run_id!r}: use up to 64 lower-case letters, digits and dashes")
    return run_id
