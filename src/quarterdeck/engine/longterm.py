"""The parts of memory that the runs of a crew share, put together from its profile."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from quarterdeck.engine.remember import Memories
from quarterdeck.engine.whose import whose_of
from quarterdeck.errors import ModelError
from quarterdeck.governance.labels import Label, least
from quarterdeck.journal.events import Decision
from quarterdeck.memory.episodes import Kept
from quarterdeck.memory.session import LocalSession, Session
from quarterdeck.models.personal import finders, without_personal
from quarterdeck.models.redact import Redactor
from quarterdeck.models.weights import installed
from quarterdeck.spec.memory import WITHOUT_USER, needs_user

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from quarterdeck.engine.remember import Facts, Offer, Record
    from quarterdeck.engine.scope import RunScope
    from quarterdeck.journal.run import RunJournal
    from quarterdeck.journal.store import Store
    from quarterdeck.memory.admission import Admitted
    from quarterdeck.memory.embedder import Embedder
    from quarterdeck.memory.item import Item
    from quarterdeck.memory.longterm import LongTerm
    from quarterdeck.memory.manage import Case, Verdict
    from quarterdeck.memory.rerank import Reranker
    from quarterdeck.models.catalog import Catalog, ResolvedModel
    from quarterdeck.models.personal import Finder
    from quarterdeck.spec.governance import RedactSpec
    from quarterdeck.spec.memory import MemoryProfile
    from quarterdeck.tools.secrets import Masker

EMBEDDED = "embedded"
INDEX = "memory-index"
REDIS = "QUARTERDECK_REDIS_URL"
_log = logging.getLogger(__name__)


class Longterm:
    """Long-term memory and episodes for the runs of one crew. What no profile asks for is never made.

    Args:
        profile: What is remembered.
        folder: Where the index stands for a database on a server; else it stands beside the database.
        catalog: Finds embedding models.
        masker: Knows the secrets that must not be remembered; None for none.
        embedder: In the place of the one that the profile names; for tests.
        redact: Personal data that does not outlive a run either.

    Raises:
        SpecError: Personal data is to be found that cannot be found on this machine.
    """

    def __init__(
        self,
        profile: MemoryProfile,
        folder: Path,
        catalog: Catalog,
        masker: Masker | None = None,
        embedder: Embedder | None = None,
        redact: RedactSpec | None = None,
    ) -> None:
        self._profile = profile
        self._folder = folder
        self._catalog = catalog
        self._masker = masker
        self._embedder = embedder
        self._personal = _finders(profile, redact)
        self._shared: tuple[Store, LongTerm] | None = None
        self._goals: Kept | None = None
        # what stands around every prompt stands around what hosted models embed and rank, too
        self._mask = masker.mask if masker is not None else None
        self._redactor = Redactor(redact, catalog.chain) if redact is not None and redact.pii else None
        self._reranker: Reranker | None = None

    def memories(self, run: RunScope) -> Memories | None:
        """Return the memory of a run; None where its profile uses no tier that outlives a run."""
        profile = self._profile
        if profile.longterm is None and profile.episodes is None:
            return None
        whose = whose_of(run)
        if needs_user(profile) and not whose.user:
            _log.warning("%s: %s", run.spec.crew, WITHOUT_USER)
        facts, offer = self._facts(run) if profile.longterm is not None else (None, None)
        return Memories(
            profile,
            whose,
            run.spec,
            run.inputs,
            run.journal,
            run.gate.origins,
            facts=facts,
            offer=offer,
            embedder=self._goals,
            personal=self._personal,
        )

    def close(self) -> None:
        """Let the index go."""
        shared, self._shared = self._shared, None
        if shared is not None:
            shared[1].close()

    def _facts(self, run: RunScope) -> tuple[Facts, Offer]:
        from quarterdeck.memory.admission import Admission

        longterm = self._profile.longterm
        assert longterm is not None
        store, embedder = run.journal.store, self._embedder_of(run)
        memories = self._of(store, embedder)
        manager = partial(_verdicts, run) if longterm.extract and longterm.manage else None
        gate = Admission(
            memories,
            longterm,
            embedder=embedder,
            masker=self._masker,
            personal=not self._profile.private,
            manager=manager,
        )

        async def offer(items: Sequence[Item], record: Record) -> None:
            async def commit(done: Admitted, work: Callable[[Connection], None]) -> None:
                if done.merged or done.superseded:
                    run.journal.note(_told(done))
                await record([item.id for item in done.added], [why for _, why in done.refused], work)

            extracted = await self._extracted(run) if longterm.extract else ()
            await gate.admit([self._without_personal(item) for item in (*items, *extracted)], commit)

        return self._searched(run, memories), offer

    async def _extracted(self, run: RunScope) -> Sequence[Item]:
        """Return what a cheap model finds worth remembering in what the agents said, in one call."""
        from quarterdeck.memory.extraction import Passage, extract

        profile = self._profile
        scope = whose_of(run).scope(profile)
        said = [one for one in run.results.values() if one.agent and one.text and one.status == "succeeded"]
        if scope is None or not said:
            return ()
        label = run.gate.origins.label
        passages = [Passage(f"run {run.journal.id}, {one.name}", one.text, str(label(one.text))) for one in said]
        model = extractor_of(run)
        context = run.context_at("memory/extract", "", "", model.group)
        found = await extract(passages, scope, port=run.port, model=model, context=context)
        # never more trusted than what was said as a whole; less where the fact alone is the word of some page
        return [replace(item, origin=str(_least(Label.parse(item.origin), label(item.text)))) for item in found]

    def _without_personal(self, item: Item) -> Item:
        """Return an item without the personal data that must not outlive a run."""
        if not self._personal:
            return item
        text, source, group = (without_personal(one, self._personal) for one in (item.text, item.source, item.group))
        return replace(item, text=text, source=source, group=group)

    def _embedder_of(self, run: RunScope) -> Embedder | None:
        """Return what makes vectors; None for words alone, where its weights are not on this machine."""
        from quarterdeck.memory.embedder import embedder_of

        if self._name != EMBEDDED:  # what a hosted model embeds is paid by the run that asks for it
            context = run.context_at("memory", "", "")
            return embedder_of(self._name, self._catalog, context, mask=self._mask, redactor=self._redactor)
        if self._embedder is None and installed("embedder") is not None:
            self._embedder = embedder_of(EMBEDDED, self._catalog)
        if self._embedder is not None and self._goals is None:
            self._goals = Kept(self._embedder)
        return self._embedder

    def _searched(self, run: RunScope, memories: LongTerm) -> Facts:
        """Return what a run searches: long-term memory, in the order of a cross-encoder where its profile names one."""
        name = self._profile.longterm.rerank if self._profile.longterm is not None else ""
        if not name:
            return memories
        from quarterdeck.memory.rerank import LocalReranker, Reranked, reranker_of

        # what a hosted one ranks is paid by the run that asks for it; one on this machine is loaded once
        reranker = self._reranker or reranker_of(
            name,
            self._catalog,
            run.context_at("memory", "", ""),
            mask=self._mask,
            redactor=self._redactor,
        )
        if isinstance(reranker, LocalReranker):
            self._reranker = reranker

        def tell(why: str) -> None:
            run.journal.note(
                Decision(path="memory/rerank", what="memory", chosen="order of the search", why=why[:2000])
            )

        return Reranked(memories, reranker, tell)

    @property
    def _name(self) -> str:
        return self._profile.longterm.embedding if self._profile.longterm is not None else EMBEDDED

    def _of(self, store: Store, embedder: Embedder | None) -> LongTerm:
        """Return long-term memory: one for all runs, unless each pays for its own embedding."""
        from quarterdeck.memory.longterm import LongTerm

        if self._name != EMBEDDED:
            return LongTerm(store, embedder, None, self._profile.longterm)
        if self._shared is None or self._shared[0] is not store:
            self.close()
            folder = (store.folder or self._folder) / INDEX
            self._shared = (store, LongTerm(store, embedder, folder, self._profile.longterm))
        return self._shared[1]


def _finders(profile: MemoryProfile, redact: RedactSpec | None) -> Mapping[str, Finder]:
    """Return what finds the personal data that must not outlive a run: what prompts lose; for private memory, more."""
    if profile.longterm is None and profile.episodes is None:
        return {}
    kinds: set[str] = set(redact.pii if redact is not None else ())
    if profile.private:
        from quarterdeck.memory.admission import PERSONAL

        kinds.update(PERSONAL)
    return finders(sorted(kinds), redact.regions if redact is not None else ()) if kinds else {}


def _least(*labels: Label) -> Label:
    """Return the label of what is made of several things."""
    return Label(least(one.origin for one in labels), any(one.sensitive for one in labels))


async def _verdicts(run: RunScope, cases: Sequence[Case]) -> Sequence[Verdict]:
    """Return what a cheap model says that new facts mean for known ones, in one call."""
    from quarterdeck.memory.manage import PATH, manage

    model = extractor_of(run)
    return await manage(cases, port=run.port, model=model, context=run.context_at(PATH, "", "", model.group))


def _told(done: Admitted) -> Decision:
    """Return what became of memories that were there, by their ids alone."""
    known = sorted({id for _, id in done.merged})
    why = [f"{old} is replaced by {new}" for old, new in done.superseded]
    why += [f"said again: {', '.join(known)}"] if known else []
    chosen = f"{len(done.superseded)} replaced, {len(done.merged)} merged"
    return Decision(path="memory/gate", what="memory", chosen=chosen, why="; ".join(why)[:2000])


def extractor_of(run: RunScope) -> ResolvedModel:
    """Return who extracts facts: the first rung of the ladder, unless that would go against a choice of the user's.

    What is given to a model on this machine stays on this machine, and a model named for the whole run is the only one.
    """
    named = [run.model] if run.model else [agent.model for agent in run.spec.agents.values()]
    own = [run.catalog.resolve(name) for name in named if not run.catalog.routes(name)]
    here = next((model for model in own if model.kind == "embedded"), None)
    if here is not None or (run.model and own):
        return here or own[0]
    try:
        return run.catalog.ladder()[0]
    except ModelError:
        return own[0]


def usable(profile: MemoryProfile) -> MemoryProfile:
    """Return a profile, once it is known that the address of its session cache is one; nothing is connected.

    Raises:
        InputError: `QUARTERDECK_REDIS_URL` is no URL of a Redis.
    """
    if profile.session is not None and (url := os.environ.get(REDIS)):
        from quarterdeck.memory.redis_session import check_url

        check_url(url)
    return profile


def session_of(profile: MemoryProfile, journal: RunJournal) -> Session | None:
    """Return the session cache of a run, in Redis where `QUARTERDECK_REDIS_URL` names one; None for none."""
    spec = profile.session
    if spec is None:
        return None
    if url := os.environ.get(REDIS):
        from quarterdeck.memory.redis_session import RedisSession

        return RedisSession(url, journal.tenant, journal.id, spec.seconds, spec.max_bytes)
    return LocalSession(spec.seconds, spec.max_bytes)
