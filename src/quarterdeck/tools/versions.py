"""Several versions of a tool side by side: `payments.refund@1` beside `payments.refund@2`.

A function declares its version with `@tool(version="2")`, and under another function name than the other versions have
also the common name: `@tool(name="refund", version="2")`. An agent pins one (`payments.refund@1`); without a pin the
name stands for the newest version that is not deprecated.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator

from quarterdeck.tools.outline import Outline

FIRST = "1"


def names_of(module: str, outlines: Iterable[Outline]) -> dict[str, Outline]:
    """Return the tools of a file by each name that an agent may be granted them under.

    Args:
        module: The file's name.
        outlines: Its tools.
    """
    by_name: dict[str, list[Outline]] = defaultdict(list)
    for outline in outlines:
        by_name[f"{module}.{outline.name}"].append(outline)
    names: dict[str, Outline] = {}
    for name, versions in by_name.items():
        names[name] = max(versions, key=lambda outline: (not outline.deprecated, order(outline.version)))
        if len(versions) > 1 or versions[0].version:
            names |= {f"{name}@{outline.version or FIRST}": outline for outline in versions}
    return names


def order(version: str) -> tuple[int, ...]:
    """Return what sorts versions as people do: `1.10` after `1.9`."""
    return tuple(int(part) for part in re.findall(r"\d+", version or FIRST))


def doubles(outlines: Iterable[Outline]) -> Iterator[tuple[int, str, str]]:
    """Yield the tools that have name and version in common with an earlier one, each as (line, where, what)."""
    seen: set[tuple[str, str]] = set()
    for outline in outlines:
        version = outline.version or FIRST
        if (outline.name, version) in seen:
            yield outline.line, outline.function, f"there is a {outline.name}@{version} already; give it a version"
        seen.add((outline.name, version))
