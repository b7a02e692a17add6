"""A folder of documents: found safely, cut into passages, searched by words."""

from __future__ import annotations

import errno
import os
import sqlite3
import stat
import threading
import weakref
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from quarterdeck.errors import ToolError
from quarterdeck.spec.problem import did_you_mean
from quarterdeck.tools.passages import Document, Passage, Unreadable, read_document
from quarterdeck.tools.words import STOP_WORDS, words_of

KINDS = ("md", "txt", "rst", "html", "htm", "pdf")
MAX_FILES = 500
MAX_FILE_BYTES = 20_000_000
MAX_HTML_BYTES = 5_000_000
MAX_TOTAL_BYTES = 200_000_000
MAX_PASSAGES = 100_000
MAX_DEPTH = 16
MAX_ENTRIES = 50_000
MAX_WORDS = 32
POOL = 100
"""Best matches that are put in order of variety; the pages of a search are cut from them."""


@dataclass(frozen=True, slots=True)
class Skipped:
    """A document that was not read, and why."""

    name: str
    why: str


class Library:
    """The documents of one folder, as they were when it was opened.

    Args:
        folder: Where the documents lie. Links are not followed and hidden files are left out, so nothing outside
            the folder is ever read.

    Raises:
        ToolError: The folder cannot be read, or there is no document in it.
    """

    def __init__(self, folder: Path) -> None:
        self.documents: dict[str, Document] = {}
        self.sizes: dict[str, int] = {}
        self.skipped: list[Skipped] = []
        self.passages: list[Passage] = []
        self._files: list[str] = []
        self._read_all(folder)
        if not self.documents:
            reasons = "".join(f"; {skipped.name}: {skipped.why}" for skipped in self.skipped[:5])
            raise ToolError(
                f"There is no document to read in {folder} (kinds: {', '.join(KINDS)}){reasons}. "
                "Give a folder with documents as the input `sources`."
            )
        self._numbers = {passage.source: number for number, passage in enumerate(self.passages)}
        self._lock = threading.Lock()
        self._index = self._make_index()

    def search(self, query: str, limit: int, page: int) -> list[Passage]:
        """Return the passages that match best (BM25 over word stems), different documents first.

        Args:
            query: Any text; a passage need not have all of its words.
            limit: Passages a page.
            page: Counted from 1.

        Raises:
            ToolError: There is no word in the query.
        """
        words = [word for word in words_of(query) if word not in STOP_WORDS] or words_of(query)
        words = list(dict.fromkeys(words))[:MAX_WORDS]
        if not words:
            raise ToolError("The query has no words; say in a few words what you are looking for.")
        match = " OR ".join(f'"{word}"' for word in words)
        with self._lock:
            rows = self._index.execute(
                "SELECT rowid, -bm25(passages, 1.0, 0.5, 0.3) AS score FROM passages WHERE passages MATCH ?"
                " ORDER BY score DESC, rowid LIMIT ?",
                (match, POOL),
            ).fetchall()
        ordered = self._with_variety(rows, page * limit)
        return [self.passages[number] for number in ordered[(page - 1) * limit : page * limit]]

    def around(self, source: str) -> list[Passage]:
        """Return a passage with its neighbours, or the first passages of a document that is named.

        Raises:
            ToolError: There is no such passage; names the nearest one.
        """
        number = self._numbers.get(source)
        if number is not None:
            near = range(max(0, number - 1), min(len(self.passages), number + 2))
            return [self.passages[at] for at in near if self._files[at] == self._files[number]]
        if source in self.documents:
            return list(self.documents[source].passages[:3])
        file = source.rpartition(":")[0]
        known = [passage.source for passage in self.documents[file].passages] if file in self.documents else []
        hint = did_you_mean(source[:200], known or list(self.documents))
        raise ToolError(f'There is no passage "{source[:200]}"{hint} Use a source that list or search returned.')

    def _with_variety(self, rows: list[tuple[int, float]], wanted: int) -> list[int]:
        """Put matches in order so that repetition costs: of a document a little, of the very words a lot."""
        bags = {number: frozenset(words_of(self.passages[number].text)) for number, _ in rows}
        left = dict(rows)
        taken: list[int] = []
        used: Counter[str] = Counter()
        while left and len(taken) < wanted:
            # ties go to the earlier passage, so that an answer never depends on anything but folder and query
            best = max(left, key=lambda number: (left[number] * 0.85 ** used[self._files[number]], -number))
            del left[best]
            taken.append(best)
            used[self._files[best]] += 1
            for number in left:
                if _alike(bags[number], bags[best]):
                    left[number] *= 0.1
        return taken

    def _make_index(self) -> sqlite3.Connection:
        # tools run in threads, one after the other behind the lock
        index = sqlite3.connect(":memory:", check_same_thread=False)
        weakref.finalize(self, index.close)
        index.execute(
            "CREATE VIRTUAL TABLE passages USING fts5"
            "(text, heading, title, content='', tokenize='porter unicode61 remove_diacritics 2')"
        )
        index.executemany(
            "INSERT INTO passages (rowid, text, heading, title) VALUES (?, ?, ?, ?)",
            (
                (number, passage.text, passage.heading, f"{self.documents[file].title} {Path(file).stem}")
                for number, (passage, file) in enumerate(zip(self.passages, self._files, strict=True))
            ),
        )
        index.commit()
        return index

    def _read_all(self, folder: Path) -> None:
        total = count = 0
        for name, directory in files_below(folder, self.skipped):
            kind = name.rpartition(".")[2].lower()
            if kind not in KINDS:
                continue
            count += 1
            if count > MAX_FILES:
                self.skipped.append(Skipped("(more)", f"only the first {MAX_FILES} documents are read"))
                break
            try:
                data = read_file(name.rpartition("/")[2], directory, kind)
                total += len(data)
                if total > MAX_TOTAL_BYTES:
                    raise Unreadable(f"the documents before it have {MAX_TOTAL_BYTES:,} bytes already")
                document = read_document(name, kind, data)
                if len(self.passages) + len(document.passages) > MAX_PASSAGES:
                    raise Unreadable(f"the documents before it have {MAX_PASSAGES:,} passages already")
            except Unreadable as error:
                self.skipped.append(Skipped(name, str(error)))
                continue
            except OSError as error:
                self.skipped.append(Skipped(name, error.strerror or type(error).__name__))
                continue
            self.documents[name] = document
            self.sizes[name] = len(data)
            self.passages += document.passages
            self._files += [name] * len(document.passages)


def files_below(folder: Path, skipped: list[Skipped]) -> Iterator[tuple[str, int]]:
    """Yield the path of each file inside a folder, and a descriptor of the directory that holds it.

    Raises:
        ToolError: The folder itself cannot be read.
    """
    try:
        os.close(os.open(folder, os.O_RDONLY | os.O_DIRECTORY))
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else str(error)
        raise ToolError(f"The folder {folder} cannot be read: {why}. Give another folder as `sources`.") from None
    entries = 0
    # fwalk goes by descriptors and does not follow links: a folder swapped for a link cannot lead outside
    for place, folders, files, directory in os.fwalk(folder, onerror=_unreadable_folder(folder, skipped)):
        inside = "" if place == str(folder) else f"{os.path.relpath(place, folder)}/"
        deep = inside.count("/") >= MAX_DEPTH
        folders[:] = [] if deep else sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            entries += 1
            if entries > MAX_ENTRIES:
                skipped.append(Skipped("(more)", f"only the first {MAX_ENTRIES:,} files are looked at"))
                return
            if name.startswith("."):
                continue
            if not f"{inside}{name}".isprintable() or len(inside) + len(name) > 300:
                skipped.append(Skipped(repr(name)[1:100], "its name has odd characters or is too long"))
                continue
            yield f"{inside}{name}", directory


def _unreadable_folder(folder: Path, skipped: list[Skipped]) -> Callable[[OSError], None]:
    def note(error: OSError) -> None:
        name = os.path.relpath(error.filename, folder) if isinstance(error.filename, str) else "(a folder)"
        skipped.append(Skipped(f"{name}/", error.strerror or "cannot be read"))

    return note


def read_file(name: str, directory: int, kind: str) -> bytes:
    """Read a regular file; a link, a pipe or a device is none."""
    limit = MAX_HTML_BYTES if kind in ("html", "htm") else MAX_FILE_BYTES
    try:
        descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=directory)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise Unreadable("a link; links are not followed") from None
        raise
    with open(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise Unreadable("not a regular file")
        if status.st_size > limit:
            raise Unreadable(f"{status.st_size:,} bytes, more than {limit:,}")
        data = file.read(limit + 1)
        if len(data) > limit:
            raise Unreadable(f"more than {limit:,} bytes")
        return data


def _alike(one: frozenset[str], other: frozenset[str]) -> bool:
    return len(one & other) > 0.8 * max(1, len(one | other))
