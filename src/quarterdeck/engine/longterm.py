"""The parts of memory that the runs of a crew share, put together from its profile."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from quarterdeck.engine.remember import Memories, Whose
from quarterdeck.errors import ModelError
from quarterdeck.memory.session import LocalSession, Session
from quarterdeck.models.weights import installed

if TYPE_CHECKING:
    from quarterdeck.engine.remember import Facts, Offer
    from quarterdeck.engine.scope import RunScope
    from quarterdeck.journal.run import RunJournal
    from quarterdeck.journal.store import Store
    from quarterdeck.memory.embedder import Embedder
    from quarterdeck.memory.item import Item
    from quarterdeck.memory.longterm import LongTerm
    from quarterdeck.models.catalog import Catalog, ResolvedModel
    from quarterdeck.spec.memory import MemoryProfile
    from quarterdeck.tools.secrets import Masker

EMBEDDED = "embedded"
INDEX = "memory-index"
REDIS = "QUARTERDECK_REDIS_URL"


class Longterm:
    """Long-term memory and episodes for the runs of one crew. What no profile asks for is never made.

    Args:
        profile: What is remembered.
        folder: Where the index stands for a database on a server; else it stands beside the database.
        catalog: Finds embedding models.
        masker: Knows the secrets that must not be remembered; None for none.
        embedder: In the place of the one that the profile names; for tests.
    """

    def __init__(
        self,
        profile: MemoryProfile,
        folder: Path,
        catalog: Catalog,
        masker: Masker | None = None,
        embedder: Embedder | None = None,
    ) -> None:
        self._profile = profile
        self._folder = folder
        self._catalog = catalog
        self._masker = masker
        self._embedder = embedder
        self._shared: tuple[Store, LongTerm] | None = None

    def memories(self, run: RunScope) -> Memories | None:
        """Return the memory of a run; None where its profile uses no tier that outlives a run."""
        profile = self._profile
        if profile.longterm is None and profile.episodes is None:
            return None
        facts, offer = self._facts(run) if profile.longterm is not None else (None, None)
        return Memories(
            profile, whose_of(run), run.spec, run.inputs, run.journal, run.gate.origins, facts=facts, offer=offer
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
        gate = Admission(
            memories, store, longterm, embedder=embedder, masker=self._masker, personal=not self._profile.private
        )

        async def offer(items: Sequence[Item]) -> tuple[list[str], list[str]]:
            extracted = await self._extracted(run) if longterm.extract else ()
            done = await gate.admit([*items, *extracted])
            return [item.id for item in done.added], [why for _, why in done.refused]

        return memories, offer

    async def _extracted(self, run: RunScope) -> Sequence[Item]:
        """Return what a cheap model finds worth remembering in what the agents said, in one call."""
        from quarterdeck.memory.extraction import Passage, extract

        profile = self._profile
        scope = whose_of(run).scope(profile)
        said = [one for one in run.results.values() if one.agent and one.text and one.status == "succeeded"]
        if scope is None or not said:
            return ()
        passages = [Passage(f"run {run.journal.id}, {one.name}", one.text) for one in said]
        model = extractor_of(run)
        context = run.context_at("memory/extract", "", "", model.group)
        return await extract(passages, scope, port=run.port, model=model, context=context)

    def _embedder_of(self, run: RunScope) -> Embedder | None:
        """Return what makes vectors; None for words alone, where its weights are not on this machine."""
        from quarterdeck.memory.embedder import embedder_of

        if self._name != EMBEDDED:  # what a hosted model embeds is paid by the run that asks for it
            return embedder_of(self._name, self._catalog, run.context_at("memory", "", ""))
        if self._embedder is None and installed("embedder") is not None:
            self._embedder = embedder_of(EMBEDDED, self._catalog)
        return self._embedder

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


def whose_of(run: RunScope) -> Whose:
    """Return on whose behalf a run acts."""
    return Whose(run.journal.tenant, run.spec.crew, str(run.journal.spec.get("user", "")))


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


def session_of(profile: MemoryProfile, journal: RunJournal) -> Session | None:
    """Return the session cache of a run, in Redis where `QUARTERDECK_REDIS_URL` names one; None for none."""
    spec = profile.session
    if spec is None:
        return None
    if url := os.environ.get(REDIS):
        from quarterdeck.memory.redis_session import RedisSession

        return RedisSession(url, journal.tenant, journal.id, spec.seconds, spec.max_bytes)
    return LocalSession(spec.seconds, spec.max_bytes)
