"""How far back a question looks, as it is typed: `90s`, `30m`, `12h`, `7d`, `2w` or a date."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime

from quarterdeck.errors import InputError

_AGO = re.compile(r"(\d{1,6}(?:\.\d{1,3})?)([smhdw])")
_DATE = re.compile(r"\d{4}-\d\d-\d\d")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}


def read_since(text: str) -> float:
    """Return the moment that is meant, in seconds since 1970.

    Args:
        text: A number with its unit, counted back from now, or a day of UTC such as 2026-11-01.

    Raises:
        InputError: It is neither.
    """
    ago = _AGO.fullmatch(text.strip())
    if ago:
        return max(0.0, time.time() - float(ago[1]) * _SECONDS[ago[2]])
    try:
        if not _DATE.fullmatch(text.strip()):
            raise ValueError
        return datetime.strptime(text.strip(), "%Y-%m-%d").replace(tzinfo=UTC).timestamp()
    except ValueError:
        raise InputError(
            f"--since {text[:100]}: write a number with s, m, h, d or w, such as 7d, or a day such as 2026-11-01."
        ) from None
