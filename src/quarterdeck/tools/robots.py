"""What a site's robots.txt lets us read (RFC 9309)."""

from __future__ import annotations

import re
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from urllib.parse import quote, urlsplit

from quarterdeck.errors import ToolError
from quarterdeck.tools.egress import Response

MAX_BYTES = 512_000
MAX_RULES = 5_000
MAX_PATTERN = 1_000
MAX_SITES = 200
KEPT_SECONDS = 24 * 3600.0

Read = Callable[[str], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class Rule:
    """One line of a group: the pattern of a path, and whether it allows."""

    pattern: str
    allows: bool


class Robots:
    """Asks each site once what may be read, and remembers it for a day.

    Args:
        agent: Our product token, as it is looked for in the groups.
        read: Fetches a robots.txt; raises `ToolError` when nobody answers.
    """

    def __init__(self, agent: str, read: Read) -> None:
        self._agent = agent
        self._read = read
        self._sites: dict[str, tuple[float, tuple[Rule, ...]]] = {}

    async def permit(self, url: str) -> None:
        """Return if a URL may be read.

        Raises:
            ToolError: The site does not want it, or cannot be asked (then nothing of it is read).
        """
        parts = urlsplit(url)
        site = f"{parts.scheme}://{parts.netloc}"
        held = self._sites.get(site)
        if held is None or time.monotonic() - held[0] > KEPT_SECONDS:
            if len(self._sites) >= MAX_SITES:
                self._sites.pop(next(iter(self._sites)))
            held = self._sites[site] = time.monotonic(), await self._rules(site)
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        if not allowed(held[1], path):
            raise ToolError(f"{site} does not want {parts.path[:200] or '/'} to be read by programs (robots.txt).")

    async def _rules(self, site: str) -> tuple[Rule, ...]:
        answer = await self._read(f"{site}/robots.txt")
        if answer.status >= 500 or answer.status == 429:
            return (Rule("/", allows=False),)
        return parse(answer.body[:MAX_BYTES].decode("utf-8", "replace"), self._agent) if answer.status < 300 else ()


def parse(text: str, agent: str) -> tuple[Rule, ...]:
    """Return the rules of a robots.txt that hold for an agent: those that name it, else those for all.

    Args:
        text: The file.
        agent: A product token, such as `Quarterdeck`.
    """
    token = re.split(r"[/\s]", agent.strip(), maxsplit=1)[0].lower()
    rules: dict[str, list[Rule]] = {token: [], "*": []}
    named: set[str] = set()
    group: set[str] = set()
    in_rules = False
    for line in text.splitlines()[: 4 * MAX_RULES]:
        key, _, value = line.partition("#")[0].partition(":")
        key, value = key.strip().lower(), value.strip()
        if key == "user-agent":
            group = {value.lower()} if in_rules else group | {value.lower()}
            named |= group & {token}
            in_rules = False
        elif key in ("allow", "disallow"):
            in_rules = True
            if value and len(value) <= MAX_PATTERN:
                for name in group & rules.keys():
                    rules[name].append(Rule(value, key == "allow"))
    return tuple(rules[token if token in named else "*"][:MAX_RULES])


def allowed(rules: tuple[Rule, ...], path: str) -> bool:
    """Return whether a path may be read: the longest pattern that matches decides, and `Allow` on a tie.

    Args:
        rules: Of one site.
        path: With its query.
    """
    plain = _encoded(path)
    found = [(len(rule.pattern), rule.allows) for rule in rules if _matches(_encoded(rule.pattern), plain)]
    return max(found)[1] if found else True


def _matches(pattern: str, path: str) -> bool:
    """Match `*` (anything) and a `$` at the end, each part searched for once, so that no pattern makes it slow."""
    ends = pattern.endswith("$")
    first, *rest = (pattern[:-1] if ends else pattern).split("*")
    if not path.startswith(first):
        return False
    if not rest:
        return path == first if ends else True
    place = len(first)
    *middle, last = rest
    for part in middle:
        found = path.find(part, place)
        if found < 0:
            return False
        place = found + len(part)
    return path.endswith(last) and len(path) - len(last) >= place if ends else path.find(last, place) >= 0


def _encoded(path: str) -> str:
    """Return a path or pattern in one spelling: what needs no escape has none, all else has one in capitals."""
    unescaped = re.sub(
        r"%([0-9A-Fa-f]{2})",
        lambda m: chr(int(m[1], 16)) if re.match(r"[A-Za-z0-9._~-]", chr(int(m[1], 16))) else m[0].upper(),
        path,
    )
    return quote(unescaped, safe="%/?&=+:;,@!$*'()~-._[]")
