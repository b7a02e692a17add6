"""Driving a run through its deaths, and the books kept meanwhile: what was committed, what was done, by whom."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

from tests.crash.voyages import LOG, url_of

from quarterdeck.journal.record import StoredEvent
from quarterdeck.journal.store import Store

ROOT = Path(__file__).parents[2]
MAX_ATTEMPTS = 200
Kill = tuple[str, int]
"""Where around a commit (`before`, `within`, `after`), and around which commit of the process, counted from 1."""


class Forks:
    """The process that forks the children."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.crash.forks", str(folder)],
            cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        self._ready = False

    def run(self, *orders: dict[str, Any]) -> list[int]:
        """Return how each attempt ended; those given together run at once."""
        assert self._process.stdin is not None and self._process.stdout is not None
        if not self._ready:
            assert self._process.stdout.readline() == "ready\n"
            self._ready = True
        self._process.stdin.write(json.dumps(orders) + "\n")
        self._process.stdin.flush()
        codes: list[int] = json.loads(self._process.stdout.readline())
        return codes

    def __enter__(self) -> Forks:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.communicate()


@dataclass
class Books:
    """What is known of one run from outside.

    Attributes:
        kills: Processes of it that were killed.
        attempts: Processes that worked on it.
        barren: Of the last of them, those that completed no call.
    """

    folder: Path
    kills: int = 0
    attempts: int = 0
    barren: int = 0
    rows: list[StoredEvent] = field(default_factory=list)
    _lines_seen: int = 0

    def run_id(self) -> str | None:
        """Return the run's id; None while nothing is committed."""
        if not (self.folder / "journal.db").exists():
            return None
        with Store.open(url_of(self.folder), read_only=True) as store:
            runs = store.runs()
        assert len(runs) <= 1
        return runs[0].id if runs else None

    def check(self) -> None:
        """Check after each death: nothing committed is gone, nothing committed before was done again."""
        lines = self._lines()
        new, self._lines_seen = lines[self._lines_seen :], len(lines)
        repeated = completed(self.rows) & set(new)
        assert not repeated, f"done again after it was recorded: {sorted(repeated)}"
        assert len(new) == len(set(new)), "done twice by one process"
        before, run_id = self.rows, self.run_id()
        if run_id is None:
            assert not before
            return
        with Store.open(url_of(self.folder), read_only=True) as store:
            assert store.verify(run_id) is None
            self.rows = store.events(run_id)
        assert self.rows[: len(before)] == before, "a committed event is lost"
        self.barren = 0 if completed(self.rows) - completed(before) else self.barren + 1
        missing = set(new) - completed(self.rows)
        assert len(missing) <= MAX_IN_FLIGHT, missing

    def _lines(self) -> list[str]:
        log = self.folder / LOG
        lines = log.read_text().splitlines() if log.exists() else []
        return [line for line in lines if not line.startswith("unreadable ")]


MAX_IN_FLIGHT = 8
"""Calls that a kill may catch between their execution and their commit: no more than run side by side."""


def completed(rows: Iterable[StoredEvent]) -> set[str]:
    """Return the calls that are recorded, as the model and the tools log them."""
    return {f"model {row.request_hash}" for row in rows if row.kind == "model.called"} | {
        f"tool {row.run_id}:{row.path}" for row in rows if row.kind == "tool.called"
    }


def work(rows: Iterable[StoredEvent]) -> list[tuple[str, str]]:
    """Return the tool calls and ends of tasks in a journal, without order: tasks side by side have none."""
    return sorted((row.kind, row.path) for row in rows if row.kind in ("tool.called", "task.ended"))


Fate = Callable[[Books], Kill | None]
"""Says how the next process of a run dies; None: it lives."""


def survive(books: Books) -> Kill | None:
    """Let every process live."""
    return None


def once(point: str, at: int) -> Fate:
    """Kill the first process, around its n-th commit."""
    return lambda books: None if books.attempts else (point, at)


def always(point: str) -> Fate:
    """Kill every process as soon as it can have got the run on: around its second commit, later if that was barren."""
    return lambda books: (point, 2 + books.barren)


def sail(forks: Forks, crew: str, folder: Path, fate: Fate) -> Books:
    """Run a crew to its end in as many processes as it takes."""
    folder.mkdir(parents=True)
    books = Books(folder)
    while not (folder / "result.json").exists():
        kill = fate(books)
        order: dict[str, Any] = {"crew": crew, "folder": str(folder), "run_id": books.run_id()}
        if kill is not None:
            order |= {"point": kill[0], "at": kill[1]}
        (code,) = forks.run(order)
        books.attempts += 1
        books.kills += code == -9
        books.check()
        trouble = folder / "error.txt"
        if _ended(books):
            break
        assert code in (0, -9), trouble.read_text() if trouble.exists() else code
        assert books.attempts <= MAX_ATTEMPTS
    return books


def _ended(books: Books) -> bool:
    """Say whether the run's end is committed, even if its process died before it could say so."""
    return bool(books.rows) and books.rows[-1].kind == "run.ended"


def result_of(books: Books) -> dict[str, Any]:
    """Return how the run ended, as the journal says."""
    ended: Any = books.rows[-1].event
    return {"status": ended.status, "evidence": ended.evidence, "output": ended.output}
