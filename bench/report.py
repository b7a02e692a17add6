"""What every benchmark prints: a table for people, and one line of JSON for programs."""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Sequence
from typing import Any

Row = tuple[str, float, str, float | None]
"""What was measured, the figure, its unit, and the most it may be (None: for comparison only)."""


def report(name: str, rows: Sequence[Row], **more: Any) -> None:
    """Print the figures of one benchmark."""
    width = max(len(row[0]) for row in rows)
    print(f"{name}   Python {platform.python_version()}, {os.cpu_count()} cores, {time.strftime('%Y-%m-%d')}")
    for what, figure, unit, target in rows:
        verdict = "" if target is None else f"at most {target:g}   {'ok' if figure <= target else 'MISSED'}"
        print(f"  {what:<{width}}  {figure:>10.4g} {unit:<9} {verdict}".rstrip())
    figures = {what: {"value": round(figure, 4), "unit": unit, "target": target} for what, figure, unit, target in rows}
    print(json.dumps({"bench": name, "figures": figures, **more}), flush=True)
