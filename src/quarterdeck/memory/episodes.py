"""Episodes: what was tried before, how it ended and what it cost; one row a task and one a run."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from math import sqrt
from typing import TYPE_CHECKING, Any, Protocol

import orjson
from sqlalchemy import delete, insert, select

from quarterdeck.journal.tables import episodes
from quarterdeck.memory.expiry import delete_episodes
from quarterdeck.memory.item import Scope
from quarterdeck.tools.words import content_stems

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from quarterdeck.journal.store import Store

MAX_TEXT = 2000
"""Characters of a goal, an outcome or a plan."""
MAX_LINES = 20
MAX_LINE = 400
MAX_FOUND = 1000
MAX_EXPIRED = 100
"""Episodes of the crew that are deleted when one is written, if they have expired."""
CONSIDERED = 200
"""The newest episodes that a recall compares with what is to be done."""
BY_MEANING = 64
"""The newest of those, which are compared by meaning: their goals have to be embedded."""
ALIKE = 0.3
"""Cosine from which on two goals mean something alike."""
KEPT = 1_000
"""Vectors of goals that are kept."""


class Embeds(Protocol):
    """What a recall needs of an embedder: normalised vectors."""

    async def embed(self, texts: Sequence[str]) -> list[list[float]]:
        """Return a vector for each text."""
        ...


class Kept:
    """An embedder that keeps the vectors of the last texts: the goals of a crew's runs are asked for again and again.

    Args:
        embedder: Makes them.
    """

    def __init__(self, embedder: Embeds) -> None:
        self._embedder = embedder
        self._vectors: OrderedDict[str, list[float]] = OrderedDict()

    async def embed(self, texts: Sequence[str]) -> list[list[float]]:
        """Return a vector for each text."""
        new = [text for text in dict.fromkeys(texts) if text not in self._vectors]
        found = {text: self._vectors[text] for text in texts if text in self._vectors}
        found |= dict(zip(new, await self._embedder.embed(new) if new else [], strict=True))
        for text in found:
            self._vectors[text] = found[text]
            self._vectors.move_to_end(text)
        while len(self._vectors) > KEPT:
            self._vectors.popitem(last=False)
        return [found[text] for text in texts]


@dataclass(frozen=True, slots=True)
class Episode:
    """One task or run that has ended.

    Attributes:
        run_id: The run.
        scope: Whose it is; its agent is empty unless memories are an agent's own.
        goal: What it was about, with the values that it was given.
        status: How it ended, such as `succeeded`.
        task: The path of the task, such as `gather.2`; empty for the run as a whole.
        agent: Who did it.
        code: Why it ended.
        plan: The steps of the last plan, a line each.
        outcome: What came out, shortened.
        verdict: What was said of it by whatever judged it.
        lessons: What checks had to say.
        failures: What was tried and failed, a line each: the approach, `->`, why.
        cost_usd: A decimal; empty when not known.
        sensitive: Whether it may hold what must not leave through an open sink.
        origin: Its label of origin: `model`, or the tool whose words stand in its failures.
        expires_at: Seconds since 1970 (UTC); 0 for never.
    """

    run_id: str
    scope: Scope
    goal: str
    status: str
    task: str = ""
    agent: str = ""
    code: str = ""
    plan: tuple[str, ...] = ()
    outcome: str = ""
    verdict: str = ""
    lessons: tuple[str, ...] = ()
    failures: tuple[str, ...] = ()
    cost_usd: str = ""
    seconds: float = 0.0
    sensitive: bool = False
    origin: str = "model"
    created_at: float = field(default_factory=time.time)
    expires_at: float = 0.0

    @property
    def id(self) -> str:
        """Of 16 characters; the same whenever the same task or run is recorded again."""
        return sha256(f"{self.run_id}\n{self.task}".encode()).hexdigest()[:16]


def write(connection: Connection, episode: Episode, mask: Callable[[str], str] | None = None) -> None:
    """Record an episode, in the place of what was recorded of the same task or run.

    Args:
        connection: Of the transaction that records its end; see `RunJournal.along`.
        episode: The episode.
        mask: Takes secrets out of texts; None for nothing.
    """
    clean = mask or (lambda text: text)

    def lines(many: Sequence[str]) -> list[str]:
        return [_flat(clean(one), MAX_LINE) for one in many[-MAX_LINES:]]

    body = {
        "agent": episode.agent,
        "plan": lines(episode.plan),
        "outcome": _flat(clean(episode.outcome), MAX_TEXT),
        "verdict": _flat(clean(episode.verdict), MAX_TEXT),
        "lessons": lines(episode.lessons),
        "failures": lines(episode.failures),
        "sensitive": episode.sensitive,
        "origin": episode.origin,
    }
    scope = episode.scope
    if episode.expires_at:  # whoever writes what expires takes away what has; a crew without long-term memory, too
        delete_episodes(connection, time.time(), MAX_EXPIRED, scope)
    connection.execute(delete(episodes).where(episodes.c.id == episode.id))
    connection.execute(
        insert(episodes).values(
            id=episode.id,
            run_id=episode.run_id,
            tenant=scope.tenant,
            crew=scope.crew,
            agent=scope.agent,
            about=scope.user,
            task=episode.task,
            goal=_flat(clean(episode.goal), MAX_TEXT),
            status=episode.status,
            code=episode.code,
            body=orjson.dumps(body).decode(),
            cost_usd=episode.cost_usd,
            seconds=episode.seconds,
            created_at=episode.created_at,
            expires_at=episode.expires_at,
        )
    )


def find(
    store: Store,
    scope: Scope,
    *,
    task: str | None = None,
    status: str | None = None,
    since: float = 0.0,
    before_run: str = "",
    limit: int = 50,
    now: float | None = None,
) -> list[Episode]:
    """Return the episodes of a scope, newest first; expired ones are left out.

    Args:
        store: Where they are kept.
        scope: Whose; each of its names is compared exactly.
        task: Only those of a task; empty for runs as a whole, None for all.
        status: Only those that ended so.
        since: Only those that ended at or after this, in seconds since 1970 (UTC).
        before_run: Leave out what this run left itself.
        limit: At most so many, up to 1,000.
        now: Seconds since 1970 (UTC), for tests.

    Raises:
        JournalError: The database cannot be read.
    """
    table = episodes.c
    own = (table.tenant == scope.tenant) & (table.crew == scope.crew)
    own &= (table.agent == scope.agent) & (table.about == scope.user)
    alive = (table.expires_at == 0) | (table.expires_at > (time.time() if now is None else now))
    query = select(episodes).where(own, alive, table.created_at >= since)
    if task is not None:
        query = query.where(table.task == task)
    if status is not None:
        query = query.where(table.status == status)
    if before_run:
        query = query.where(table.run_id != before_run)
    query = query.order_by(table.created_at.desc(), table.id).limit(min(max(limit, 0), MAX_FOUND))
    return [_episode(row._mapping, scope) for row in store.read(query)]


async def ranked(found: Sequence[Episode], query: str, embedder: Embeds | None = None) -> list[tuple[float, Episode]]:
    """Return episodes like what is to be done, with how near their goals are, the nearest first; of equals the newest.

    Args:
        found: Newest first.
        query: What is to be done.
        embedder: Compares the newest by meaning; without one, words are compared.

    Raises:
        ModelError: The embedder cannot be used.
    """
    if not found:
        return []
    if embedder is not None:
        found = found[:BY_MEANING]
        asked, *goals = await embedder.embed([query, *(episode.goal for episode in found)])
        scores = [sum(a * b for a, b in zip(asked, goal, strict=True)) for goal in goals]
        least = ALIKE
    else:
        scores = [_alike(content_stems(query), content_stems(episode.goal)) for episode in found]
        least = 0.0
    near = [(score, episode) for score, episode in zip(scores, found, strict=True) if score > least]
    return sorted(near, key=lambda pair: -pair[0])


def told(episode: Episode) -> str:
    """Return an episode in words: what it was about, how it ended, what failed, what came out."""
    day = time.strftime("%Y-%m-%d", time.gmtime(episode.created_at))
    parts = [f"{day}: {episode.goal[:300]} Ended {episode.status}"]
    parts[0] += "." if episode.status == "succeeded" else f" ({episode.code}): {episode.verdict[:200]}."
    if episode.failures:
        parts.append("Tried without success: " + "; ".join(line[:200] for line in episode.failures[:5]) + ".")
    if episode.lessons:
        parts.append("Checks said: " + "; ".join(line[:150] for line in episode.lessons[:3]) + ".")
    if episode.outcome:
        parts.append(f"What came out: {episode.outcome[:300]}")
    return " ".join(parts)


def _alike(one: Sequence[str], other: Sequence[str]) -> float:
    a, b = set(one), set(other)
    return len(a & b) / sqrt(len(a) * len(b)) if a and b else 0.0


def _episode(row: Any, scope: Scope) -> Episode:
    body = orjson.loads(row["body"])
    return Episode(
        run_id=row["run_id"],
        scope=scope,
        goal=row["goal"],
        status=row["status"],
        task=row["task"],
        agent=body["agent"],
        code=row["code"],
        plan=tuple(body["plan"]),
        outcome=body["outcome"],
        verdict=body["verdict"],
        lessons=tuple(body["lessons"]),
        failures=tuple(body["failures"]),
        cost_usd=row["cost_usd"],
        seconds=row["seconds"],
        sensitive=body["sensitive"],
        origin=body.get("origin", "model"),
        created_at=row["created_at"],
        expires_at=row["expires_at"],
    )


def _flat(text: str, most: int) -> str:
    """Return a text on one line, cut to so many characters; half characters and zero bytes no database takes."""
    clean = text[: 4 * most].replace("\0", "").encode("utf-8", "replace").decode()
    flat = " ".join(clean.split())
    return flat if len(flat) <= most else f"{flat[: most - 4]} ..."
