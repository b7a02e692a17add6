"""One way to hash a request, so that the same request has the same hash in every process."""

from __future__ import annotations

import hashlib
from typing import Any

import orjson


def fingerprint(request: Any) -> str:
    """Return the SHA-256 of a JSON-able value in canonical form (sorted keys, no spaces), in hexadecimal."""
    return hashlib.sha256(orjson.dumps(request, option=orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS)).hexdigest()
