"""Knowledge: the folders, files and pages that a crew may look things up in, kept searchable and cited by place."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from quarterdeck.errors import JournalError, ModelError, ToolError
from quarterdeck.journal.tables import memories as table
from quarterdeck.memory.item import Item, Recalled, Scope
from quarterdeck.memory.rows import ID_LENGTH, within
from quarterdeck.tools.egress import Egress, Request, Response
from quarterdeck.tools.library import KINDS, MAX_FILES, MAX_TOTAL_BYTES, Skipped, files_below, read_file
from quarterdeck.tools.passages import Unreadable, read_document
from quarterdeck.tools.robots import Robots
from quarterdeck.tools.services import web_reach

if TYPE_CHECKING:
    from quarterdeck.journal.store import Store
    from quarterdeck.memory.longterm import LongTerm
    from quarterdeck.spec.services import WebSpec

ORIGIN = "tool:knowledge.search"
"""The label of all that comes from here: data of others, whatever it says."""
OWNER = "(knowledge)"
"""Stands in the place of an agent's name and can be none: so what a crew looks up is never what it remembers."""
MAX_PASSAGES = 10_000
"""Of one document."""
MAX_URLS = 50
FORM = "1"
"""Of what is kept of a document; another one has every document read anew."""
_MEDIA = {
    "text/html": "html",
    "application/xhtml+xml": "html",
    "application/pdf": "pdf",
    "text/plain": "txt",
    "text/markdown": "md",
}


@dataclass(frozen=True, slots=True)
class Refreshed:
    """What a refresh has done, by document.

    Attributes:
        unchanged: Documents that were neither cut nor embedded anew.
        removed: Documents that are gone, and are found no more.
        skipped: What could not be read, and why; what was known of it stays unless it is gone.
    """

    added: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    unchanged: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    skipped: tuple[Skipped, ...] = ()


@dataclass(frozen=True, slots=True)
class _Read:
    """A document's content, as it is now."""

    name: str
    kind: str
    data: bytes


@dataclass(slots=True)
class _Found:
    """What the sources hold now.

    Attributes:
        kept: Documents, or beginnings of their names, that could not be looked at and therefore stay as they are.
    """

    documents: dict[str, _Read] = field(default_factory=dict)
    skipped: list[Skipped] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    size: int = 0

    def add(self, name: str, kind: str, data: bytes) -> None:
        """Take a document in.

        Raises:
            Unreadable: There are too many, or too large ones, already.
        """
        if len(self.documents) >= MAX_FILES or self.size + len(data) > MAX_TOTAL_BYTES:
            raise Unreadable(f"only {MAX_FILES} documents with {MAX_TOTAL_BYTES:,} bytes in all are read")
        self.size += len(data)
        self.documents[name] = _Read(name, kind, data)


class Knowledge:
    """The knowledge of one crew.

    Args:
        memories: The long-term store, in which passages are kept under a scope of their own.
        store: The database that it keeps its rows in.
        sources: Folders, files and URLs, as the crew declares them.
        root: The workspace's folder: paths start there.
        tenant: Whose.
        crew: The crew's name.
        web: What may be connected to; None for no URL at all.
    """

    def __init__(
        self,
        memories: LongTerm,
        store: Store,
        sources: Sequence[str],
        root: Path,
        *,
        tenant: str,
        crew: str,
        web: WebSpec | None = None,
    ) -> None:
        self._memories = memories
        self._store = store
        self._sources = tuple(dict.fromkeys(sources))
        self._root = root
        self._web = web
        self._egress = Egress(web_reach(web)) if web is not None else None
        self.scope = Scope(tenant, crew, OWNER)

    async def refresh(self) -> Refreshed:
        """Bring what is searched up to date: read what is new or changed, forget what is gone.

        Raises:
            JournalError: The database cannot be used.
            ModelError: Something could not be embedded; documents before it are up to date.
        """
        found = await asyncio.to_thread(self._files)
        for url in [source for source in self._sources if "://" in source][:MAX_URLS]:
            await self._page(url, found)
        known = await asyncio.to_thread(self._known)
        added: list[str] = []
        changed: list[str] = []
        unchanged: list[str] = []
        for read in found.documents.values():
            old = known.get(read.name, frozenset())
            digest = hashlib.sha256(f"{FORM}\0{read.kind}\0".encode() + read.data).hexdigest()
            if self._id(read.name, digest, 0) in old:
                unchanged.append(read.name)
                continue
            try:
                items = await asyncio.to_thread(self._items, read, digest)
            except Unreadable as error:
                found.skipped.append(Skipped(read.name, str(error)))
                continue
            await self._keep(items)  # before the old ones go: whoever searches meanwhile finds one or the other
            await self._memories.delete(sorted(old), scope=self.scope)
            (changed if old else added).append(read.name)
        gone = [name for name in known if name not in found.documents and not name.startswith(tuple(found.kept))]
        for name in gone:
            await self._memories.delete(sorted(known[name]), scope=self.scope)
        return Refreshed(tuple(added), tuple(changed), tuple(unchanged), tuple(gone), tuple(found.skipped))

    async def search(self, query: str, limit: int = 5) -> list[dict[str, Any]]:
        """Return the passages that say most of a query, best first: data, each with its source.

        Args:
            query: A few words or a question.
            limit: So many at most.

        Returns:
            `source` (document and place), `text`, and `why` it was chosen.
        """
        try:
            found = await self._memories.search(query, self.scope, limit, ("document",))
        except ModelError:  # the words alone still find what has them
            found = await self._memories.nearest(query, None, self.scope, limit, ("document",))
        return [_shown(one) for one in found]

    def _files(self) -> _Found:
        found = _Found()
        for source in self._sources:
            if "://" in source:
                continue
            path = self._root / Path(source).expanduser()
            name = source.rstrip("/") or source
            if path.is_dir():
                self._folder(name, path, found)
            elif path.is_file():
                self._file(name, path, found)
            else:
                found.skipped.append(Skipped(name, "there is no such file or folder"))
        return found

    def _folder(self, name: str, path: Path, found: _Found) -> None:
        below: list[Skipped] = []
        try:
            for inside, directory in files_below(path, below):
                if inside.rpartition(".")[2].lower() in KINDS:
                    whole = inside if name == "." else f"{name}/{inside}"
                    _take(whole, inside.rpartition("/")[2], directory, found)
        except ToolError as error:
            found.skipped.append(Skipped(name, str(error)))
            found.kept.append(f"{name}/")
        found.skipped += [Skipped(f"{name}/{one.name}", one.why) for one in below]
        if below:  # a part of the folder was not seen: nothing in it counts as gone
            found.kept.append(f"{name}/")

    def _file(self, name: str, path: Path, found: _Found) -> None:
        if path.suffix[1:].lower() not in KINDS:
            found.skipped.append(Skipped(name, f"of a kind that is not read; these are: {', '.join(KINDS)}"))
            return
        directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            _take(name, path.name, directory, found)
        finally:
            os.close(directory)

    async def _page(self, url: str, found: _Found) -> None:
        if self._egress is None or self._web is None:
            found.skipped.append(Skipped(url, "no page may be read here: config/services.yaml says nothing of `web`"))
            found.kept.append(url)
            return
        try:
            answer = await self._fetched(url, self._web, self._egress)
            if answer.status in (404, 410):
                found.skipped.append(Skipped(url, f"it is gone (HTTP {answer.status})"))
                return
            if answer.status >= 300:
                raise ToolError(f"it answered HTTP {answer.status}")
            found.add(url, _MEDIA.get(answer.kind, "txt"), _as_utf8(answer.body, answer.charset))
        except (ToolError, Unreadable) as error:
            found.skipped.append(Skipped(url, str(error)))
            found.kept.append(url)

    async def _fetched(self, url: str, web: WebSpec, egress: Egress) -> Response:
        headers = {"User-Agent": web.user_agent, "Accept": ", ".join(_MEDIA)}

        async def read_robots(place: str) -> Response:
            return await egress.send(Request("GET", place, headers, redirects=5, max_bytes=1_000_000, seconds=10.0))

        request = Request(
            "GET", url, headers, redirects=5, kinds=frozenset(_MEDIA), max_bytes=web.max_bytes, seconds=web.seconds
        )
        return await egress.send(request, Robots(web.user_agent, read_robots).permit if web.robots else None)

    def _known(self) -> dict[str, frozenset[str]]:
        """Return the ids of what is kept of each document."""
        known: dict[str, set[str]] = {}
        query = select(table.c.id, table.c.group_name).where(within(self.scope), table.c.kind == "document")
        for row in self._store.read(query):
            known.setdefault(row.group_name, set()).add(row.id)
        return {name: frozenset(ids) for name, ids in known.items()}

    def _items(self, read: _Read, digest: str) -> list[Item]:
        passages = read_document(read.name, read.kind, read.data).passages
        if len(passages) > MAX_PASSAGES:
            raise Unreadable(f"{len(passages):,} passages, more than {MAX_PASSAGES:,}")
        return [
            Item(
                id=self._id(read.name, digest, place),
                scope=self.scope,
                text=_with_heading(passage.heading, passage.text),
                kind="document",
                source=passage.source,
                origin=ORIGIN,
                group=read.name,
                place=place,
            )
            for place, passage in enumerate(passages)
        ]

    async def _keep(self, items: list[Item]) -> None:
        try:
            await self._memories.add(items)
        except JournalError:
            # another process may have kept the very same a moment ago: the ids say what they hold
            if items[0].id not in (await asyncio.to_thread(self._known)).get(items[0].group, ()):
                raise

    def _id(self, name: str, digest: str, place: int) -> str:
        """Return the id of a passage: another one whenever anything of the document is another."""
        what = json.dumps([self.scope.tenant, self.scope.crew, name, digest, place])
        return base64.b32encode(hashlib.sha256(what.encode()).digest()).decode().lower()[:ID_LENGTH]


def _take(name: str, file: str, directory: int, found: _Found) -> None:
    kind = file.rpartition(".")[2].lower()
    try:
        found.add(name, kind, read_file(file, directory, kind))
    except FileNotFoundError:
        return
    except (Unreadable, OSError) as error:
        why = str(error) if isinstance(error, Unreadable) else error.strerror or type(error).__name__
        found.skipped.append(Skipped(name, why))
        found.kept.append(name)


def _with_heading(heading: str, text: str) -> str:
    return text if not heading or heading in text else f"{heading}\n\n{text}"


def _as_utf8(body: bytes, charset: str) -> bytes:
    """Return a page's text in UTF-8 where its server says that it is in something else."""
    try:
        return body if not charset or body.startswith(b"%PDF") else body.decode(charset, "replace").encode()
    except LookupError:
        return body


def _shown(one: Recalled) -> dict[str, Any]:
    return {"source": one.item.source, "text": one.item.text, "why": one.why}
