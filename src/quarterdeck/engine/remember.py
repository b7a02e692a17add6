"""What a run reads from memory before a piece of work, and what it leaves there when a task or it itself has ended."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from quarterdeck.engine.attempts import Attempts
from quarterdeck.engine.output import plain
from quarterdeck.engine.whose import Whose
from quarterdeck.errors import JournalError, QuarterdeckError
from quarterdeck.governance.labels import Label, Origin
from quarterdeck.journal.events import MemoryRecalled, MemoryWritten, TaskEnded
from quarterdeck.memory import episodes
from quarterdeck.memory.episodes import Episode
from quarterdeck.memory.item import Item, Scope, one_line
from quarterdeck.models.personal import without_personal
from quarterdeck.spec.template import as_text, fill

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from quarterdeck.engine.result import TaskResult
    from quarterdeck.engine.scope import RunScope
    from quarterdeck.governance.origins import Origins
    from quarterdeck.journal.run import RunJournal
    from quarterdeck.memory.item import Recalled
    from quarterdeck.models.personal import Finder
    from quarterdeck.spec.crew import CrewSpec
    from quarterdeck.spec.memory import LongtermSpec, MemoryProfile

MAX_QUERY = 1000
MAX_TEXT = 2000
MAX_OFFERED = 200
"""Facts that one run offers to long-term memory at most."""
MAX_ASKED = 128
"""Questions to memory whose answers a run keeps."""
MAX_CLEANED = 4 * episodes.MAX_TEXT
"""Characters of one text that is looked through for personal data; less is kept of it."""
DAY = 86400.0


class Facts(Protocol):
    """What a run needs of long-term memory; `memory.longterm.LongTerm` has it."""

    async def search(self, query: str, scope: Scope, limit: int) -> list[Recalled]:
        """Return the memories of a scope that say most of something."""
        ...


Record = Callable[[Sequence[str], Sequence[str], Callable[["Connection"], Any]], Coroutine[Any, Any, None]]
"""Records which ids are in and why others are not, in one transaction with the work that puts them in."""
Offer = Callable[[Sequence[Item], Record], Coroutine[Any, Any, None]]
"""Puts candidates through the write gate and has the outcome recorded."""


class Memories:
    """The memory of one run, as its profile has it. A run whose profile uses no tier has none of these.

    Args:
        profile: What is remembered.
        whose: On whose behalf the run acts.
        spec: The crew.
        inputs: The run's inputs.
        journal: Records what was recalled, so that a run which is taken up sees the very same.
        origins: Is told where recalled values come from.
        facts: Long-term memory; None for none.
        offer: Its write gate; None for none.
        embedder: Compares episodes by meaning; None by words.
        personal: Finds personal data, which does not outlive the run; empty for none.
    """

    def __init__(
        self,
        profile: MemoryProfile,
        whose: Whose,
        spec: CrewSpec,
        inputs: Mapping[str, Any],
        journal: RunJournal,
        origins: Origins,
        *,
        facts: Facts | None = None,
        offer: Offer | None = None,
        embedder: episodes.Embeds | None = None,
        personal: Mapping[str, Finder] | None = None,
    ) -> None:
        self._profile = profile
        self._whose = whose
        self._spec = spec
        self._inputs = inputs
        self._journal = journal
        self._origins = origins
        self._facts = facts
        self._offer = offer
        self._embedder = embedder
        self._personal = personal or {}
        self._attempts = Attempts(journal) if profile.episodes is not None else None
        self._past: asyncio.Future[list[Episode]] | None = None
        # tasks of one run mostly ask for the same, and nothing is written to memory before it ends
        self._asked: OrderedDict[tuple[Any, ...], asyncio.Future[Any]] = OrderedDict()

    async def recall(self, path: str, task: str, agent: str, item: Any = None) -> tuple[dict[str, Any], ...]:
        """Return what is remembered that may help with a piece of work: data, the most useful first.

        It is recorded once a path: whoever goes on with the run finds the same. What cannot be asked is left out.

        Args:
            path: The logical path of the work.
            task: The task.
            agent: Who does it; empty for a function.
            item: Of `for_each`, or None.

        Raises:
            JournalError: The database cannot be used.
        """
        path = f"{path}/recall"
        recalled = self._journal.recorded(MemoryRecalled, path)
        if recalled is None:
            recalled = await self._look(path, task, agent, self._query(task, item))
            self._journal.note(recalled)  # no later event is committed without it
        for entry in recalled.found:
            self._origins.remember(entry["text"], Label.parse(str(entry["origin"])))
        return recalled.found

    def task_ended(self, ended: TaskEnded) -> None:
        """Leave an episode of a task, in the transaction that records its end; called right before that."""
        if self._attempts is None or ended.status == "skipped":
            return
        scope = self._whose.past(self._profile)
        if scope is None:
            return
        failures = self._attempts.failures(ended.path)
        if ended.status in ("failed", "partial"):
            failures = (*failures, f"{ended.task} as a whole -> {ended.why or ended.code}")
        episode = Episode(
            run_id=self._journal.id,
            scope=scope,
            goal=fill(self._spec.tasks[ended.task].description or ended.task, {**self._inputs, "item": "each item"}),
            status=ended.status,
            task=ended.path,
            agent=ended.agent,
            code=ended.code,
            plan=self._attempts.plan(ended.path),
            outcome=ended.text or as_text(ended.output),
            verdict=ended.why or "accepted",
            lessons=ended.notes,
            failures=failures,
            cost_usd=self._attempts.usd(ended.path),
            seconds=ended.seconds,
            origin=self._attempts.origin(ended.path),
        )
        self._leave(episode)

    def run_ended(self, status: str, code: str, evidence: str, text: str, results: Mapping[str, TaskResult]) -> None:
        """Leave an episode of the run, in the transaction that records its end; called right before that."""
        scope = self._whose.past(self._profile)
        if self._attempts is None or scope is None:
            return
        failures = [line for name in results for line in self._attempts.failures(name)]
        failures += [f"{one.name} as a whole -> {one.why or one.code}" for one in results.values() if _short(one)]
        cost = self._journal.totals.cost_usd
        episode = Episode(
            run_id=self._journal.id,
            scope=scope,
            goal=f"{self._spec.goal} {_given(self._spec, self._inputs)}".strip(),
            status=status,
            code=code,
            plan=tuple(f"{name}: {one.status}" for name, one in results.items()),
            outcome=text,
            verdict=evidence,
            lessons=tuple(note for one in results.values() for note in one.notes),
            failures=tuple(failures),
            cost_usd="" if cost is None else str(cost),
            seconds=round(self._journal.seconds, 3),
            origin=next((told for name in results if (told := self._attempts.origin(name)) != "model"), "model"),
        )
        self._leave(episode)

    async def offer(self, results: Mapping[str, TaskResult]) -> None:
        """Offer what the run found, with its sources, to long-term memory; once a run, and it never fails the run."""
        if self._offer is None or self._journal.recorded(MemoryWritten, "memory") is not None:
            return
        items = list(self._found(results))[:MAX_OFFERED]
        if not items and not (self._profile.longterm and self._profile.longterm.extract):
            return

        async def record(ids: Sequence[str], refused: Sequence[str], work: Callable[[Connection], Any]) -> None:
            # one commit: a process that dies has remembered nothing, or all of it and knows so
            self._journal.along(work, "memory")
            await self._journal.append(
                MemoryWritten(path="memory", ids=tuple(ids), refused=tuple(refused)[:MAX_OFFERED])
            )

        try:
            await self._offer(items, record)
        except JournalError:
            raise
        except QuarterdeckError as error:
            await self._journal.append(MemoryWritten(path="memory", refused=(str(error)[:500],)))

    async def _look(self, path: str, task: str, agent: str, query: str) -> MemoryRecalled:
        found: list[dict[str, Any]] = []
        why = ""
        scope = self._whose.scope(self._profile, agent)
        limit = self._profile.longterm.recall if self._profile.longterm is not None else 0
        try:
            if self._facts is not None and scope is not None and limit:
                search = partial(self._facts.search, query, scope, limit)
                found += [_memory(one) for one in await self._once((scope, query), search)]
        except JournalError:
            raise
        except QuarterdeckError as error:
            why = str(error)[:1000]
        found += await self._tried(task, query)
        return MemoryRecalled(path=path, task=task, agent=agent, query=query, found=tuple(found), why=why)

    async def _tried(self, task: str, query: str) -> list[dict[str, Any]]:
        """Return the last run, those most like what is to be done, and how this task failed before."""
        spec = self._profile.episodes
        scope = self._whose.past(self._profile)
        if spec is None or spec.recall == 0 or scope is None:
            return []
        if self._past is None:
            look = partial(episodes.find, before_run=self._journal.id, limit=episodes.CONSIDERED)
            self._past = asyncio.ensure_future(asyncio.to_thread(look, self._journal.store, scope))
        past = await asyncio.shield(self._past)
        failed = [one for one in past if one.task.split(".")[0] == task and one.failures][: spec.recall]
        entries: list[dict[str, Any]] = await self._once(
            ("episodes", query), partial(self._like, past, query, spec.recall)
        )
        shown = {entry["id"] for entry in entries}
        return entries + [_episode(one, 1.0, "tried for this task") for one in failed if one.id not in shown]

    async def _like(self, past: Sequence[Episode], query: str, limit: int) -> list[dict[str, Any]]:
        runs = [one for one in past if not one.task]
        try:
            near = await episodes.ranked(runs[1:], query, self._embedder)
        except QuarterdeckError:
            near = await episodes.ranked(runs[1:], query)
        entries = [_episode(one, 1.0, "the run before this one") for one in runs[:1]]
        return [*entries, *(_episode(one, score, f"like this one {score:.2f}") for score, one in near)][:limit]

    async def _once(self, key: tuple[Any, ...], ask: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
        """Return what an earlier question of this run gave, else ask; a failure is asked again."""
        asked = self._asked.get(key)
        if asked is None or (asked.done() and (asked.cancelled() or asked.exception() is not None)):
            asked = self._asked[key] = asyncio.ensure_future(ask())
            while len(self._asked) > MAX_ASKED:
                self._asked.popitem(last=False)
        return await asyncio.shield(asked)

    def _query(self, task: str, item: Any) -> str:
        words = " ".join([as_text(item), _given(self._spec, self._inputs)]).strip()
        return (words or fill(self._spec.tasks[task].description, self._inputs))[:MAX_QUERY]

    def _leave(self, episode: Episode) -> None:
        days = self._profile.episodes.days if self._profile.episodes is not None else None
        expires = episode.created_at + days * DAY if days else 0.0
        episode = replace(episode, sensitive=bool(self._origins.sensitive), expires_at=expires)
        mask, personal = self._journal.store.writer.mask, self._personal

        def clean(text: str) -> str:
            text = mask(text) if mask else text
            # on one line first: a number that is broken over two is one once it is kept
            return without_personal(one_line(text[:MAX_CLEANED]), personal) if personal else text

        self._journal.along(lambda connection: episodes.write(connection, episode, clean), f"episode/{episode.id}")

    def _found(self, results: Mapping[str, TaskResult]) -> Iterator[Item]:
        """Yield what accepted outputs say with a source, each once."""
        longterm = self._profile.longterm
        seen: set[str] = set()
        for name, result in results.items():
            declared = self._spec.tasks[name]
            wanted = bool(declared.guardrails) if declared.remember is None else declared.remember
            scope = self._whose.scope(self._profile, result.agent)
            if longterm is None or scope is None or not wanted or result.status not in ("succeeded", "partial"):
                continue
            for place, (entry, group) in enumerate(_with_source(plain(result.output))):
                item = self._item(entry, group, place, scope, longterm)
                if item.id not in seen:
                    seen.add(item.id)
                    yield item

    def _item(self, entry: dict[str, Any], group: str, place: int, scope: Scope, longterm: LongtermSpec) -> Item:
        now = time.time()
        text = _text_of(entry)
        confidence = entry.get("confidence")
        return Item(
            id=hashlib.sha256(f"{self._journal.id}\n{entry['source']}\n{text}".encode()).hexdigest()[:16],
            scope=scope,
            text=text,
            source=entry["source"][:500],
            origin=str(self._origins.label(text)),
            confidence=float(confidence) if isinstance(confidence, int | float) and 0 <= confidence <= 1 else 1.0,
            created_at=now,
            expires_at=now + longterm.days * DAY if longterm.days else 0.0,
            group=as_text(entry.get("group", group))[:500],
            place=place,
        )


async def given(run: RunScope, path: str, task: str, agent: str, item: Any) -> tuple[dict[str, Any], ...]:
    """Return what a task of a run is given of what the crew remembers; nothing where it has no memory, or wants none.

    Args:
        run: The run.
        path: The logical path of the work.
        task: The task.
        agent: Who does it; empty for a function, which is given nothing unless its task says `recall: true`.
        item: Of `for_each`, or None.
    """
    declared = run.spec.tasks[task].recall
    if run.memories is None or not (bool(agent) if declared is None else declared):
        return ()
    return await run.memories.recall(path, task, agent, item)


def _given(spec: CrewSpec, inputs: Mapping[str, Any]) -> str:
    """Return what the inputs say; a path says nothing."""
    texts = [as_text(inputs.get(name)) for name, one in spec.inputs.items() if one.type not in ("file", "folder")]
    return " ".join(text[:MAX_QUERY] for text in texts if text)


def _short(result: TaskResult) -> bool:
    return result.status in ("failed", "partial")


def _text_of(entry: Mapping[str, Any]) -> str:
    found = next((entry[key] for key in ("quote", "text", "claim") if isinstance(entry.get(key), str)), "")
    return found.strip()[:MAX_TEXT]


def _with_source(value: Any, group: str = "", depth: int = 0) -> Iterator[tuple[dict[str, Any], str]]:
    """Yield the objects of an output that say something and where it stands, each with the item that it is about."""
    if depth > 12:
        return
    if isinstance(value, list):
        for one in value:
            yield from _with_source(one, group, depth + 1)
    elif isinstance(value, dict):
        source = value.get("source")
        if isinstance(source, str) and source.strip() and _text_of(value):
            yield value, group
            return
        inner = as_text(value["item"]) if set(value) == {"item", "output"} else group
        for one in value.values():
            yield from _with_source(one, inner, depth + 1)


def _memory(recalled: Recalled) -> dict[str, Any]:
    item = recalled.item
    return {
        "kind": item.kind,
        "id": item.id,
        "text": item.text[:MAX_TEXT],
        "source": item.source,
        "origin": item.origin,
        "group": item.group,
        "at": item.created_at,
        "score": round(recalled.score, 4),
        "why": recalled.why,
    }


def _episode(episode: Episode, score: float, why: str) -> dict[str, Any]:
    label = Label(Origin.parse(episode.origin), episode.sensitive)
    return {
        "kind": "episode",
        "id": episode.id,
        "text": episodes.told(episode)[:MAX_TEXT],
        "source": f"run {episode.run_id}" + (f", {episode.task}" if episode.task else ""),
        "origin": str(label),
        "group": episode.task,
        "at": episode.created_at,
        "score": round(score, 4),
        "why": why,
    }
