"""What a run looks up in the knowledge of its crew: opened, and brought up to date, when a tool first asks."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from quarterdeck.errors import JournalError, LimitReached, ModelError, ToolError

if TYPE_CHECKING:
    from quarterdeck.engine.scope import RunScope
    from quarterdeck.memory.embedder import Embedder
    from quarterdeck.memory.knowledge import Knowledge, Refreshed
    from quarterdeck.models.catalog import Catalog

SHOWN = 5
_log = logging.getLogger(__name__)


class Lookups:
    """Makes the lookups of a crew's runs; they share the embedder on this machine.

    Args:
        root: The workspace's folder.
        catalog: Finds embedding models.
    """

    def __init__(self, root: Path, catalog: Catalog) -> None:
        self._root = root
        self._catalog = catalog
        self._embedder: Embedder | None = None

    def of(self, run: RunScope) -> Lookup | None:
        """Return the lookup of a run; None where its crew declares no knowledge."""
        return Lookup(run, self) if run.spec.knowledge else None

    def open(self, run: RunScope) -> Knowledge:
        """Return the knowledge of a run's crew.

        Raises:
            ModelError: The profile names an embedding model that cannot be used.
        """
        from quarterdeck.memory.knowledge import Knowledge
        from quarterdeck.memory.longterm import LongTerm
        from quarterdeck.spec.services import ServicesConfig

        store, services = run.journal.store, run.parts.services or ServicesConfig()
        return Knowledge(
            LongTerm(store, self._embedder_of(run)),
            store,
            run.spec.knowledge,
            self._root,
            tenant=run.journal.tenant,
            crew=run.spec.crew,
            web=services.web,
        )

    def _embedder_of(self, run: RunScope) -> Embedder | None:
        """Return what embeds; None where its weights are not here: then knowledge is searched by words."""
        from quarterdeck.memory.embedder import EMBEDDED, embedder_of
        from quarterdeck.models.weights import installed

        longterm = run.profile.longterm
        name = longterm.embedding if longterm is not None else EMBEDDED
        if name != EMBEDDED:
            return embedder_of(name, self._catalog, run.context_at("knowledge", "", ""))
        if self._embedder is None and installed("embedder") is not None:
            self._embedder = embedder_of(name, self._catalog)
        return self._embedder


class Lookup:
    """The knowledge of a crew, for one run.

    Args:
        run: The run.
        lookups: Opens it.
    """

    def __init__(self, run: RunScope, lookups: Lookups) -> None:
        self._run = run
        self._lookups = lookups
        self._opening = asyncio.Lock()
        self._knowledge: Knowledge | None = None

    async def search(self, query: str, limit: int) -> list[dict[str, Any]]:
        """Return the passages that say most of a query, each with its source.

        Raises:
            ToolError: There is nothing to search in, or it cannot be searched.
        """
        try:
            async with self._opening:
                if self._knowledge is None:
                    knowledge = self._lookups.open(self._run)
                    _check(await knowledge.refresh())
                    self._knowledge = knowledge
            return await self._knowledge.search(query, limit)
        except (ModelError, LimitReached, JournalError) as error:
            raise ToolError(f"The knowledge cannot be searched: {error}", error_class="unavailable") from error


def _check(done: Refreshed) -> None:
    skipped = "; ".join(f"{one.name}: {one.why}" for one in done.skipped[:SHOWN])
    if skipped:
        _log.warning("knowledge: %d not read: %s", len(done.skipped), skipped)
    if not (done.added or done.changed or done.unchanged):
        raise ToolError(f"There is no document to read in this crew's knowledge. {skipped}".strip())
