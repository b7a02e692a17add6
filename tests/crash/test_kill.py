"""`kill -9` before, within and after every write of the journal loses no completed call and repeats none."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import pytest
from tests.crash.forks import BUSY
from tests.crash.harbour import Books, Fate, Forks, always, once, result_of, sail, survive, work
from tests.crash.voyages import BUSY_NOTES, CREWS

POINTS = ("before", "within", "after")
CORES = min(2, os.cpu_count() or 1)
LEAST_KILLS = 200


class Fleet:
    """Several fork servers, one a core."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.forks: SimpleQueue[Forks] = SimpleQueue()
        self._all = [Forks(folder / f"forks-{number}") for number in range(CORES)]
        for one in self._all:
            self.forks.put(one)

    def sail(self, crew: str, name: str, fate: Fate = survive) -> Books:
        """Run a crew on the next free server."""
        one = self.forks.get()
        try:
            return sail(one, crew, self.folder / name, fate)
        finally:
            self.forks.put(one)

    def close(self) -> None:
        for one in self._all:
            one.__exit__(None, None, None)


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    fleet = Fleet(tmp_path_factory.mktemp("fleet"))
    yield fleet
    fleet.close()


@pytest.fixture(scope="module")
def calm(fleet: Fleet) -> dict[str, Books]:
    """Return each crew's undisturbed run."""
    return {crew: fleet.sail(crew, f"{crew}-calm") for crew in CREWS}


def voyages(calm: dict[str, Books]) -> Iterator[tuple[str, str, Fate]]:
    for crew, undisturbed in calm.items():
        for point in POINTS:
            yield crew, f"{crew}-{point}-always", always(point)
        for at in range(1, len(undisturbed.rows), 2):
            yield crew, f"{crew}-within-{at}", once("within", at)


def test_no_completed_call_is_lost_or_repeated(fleet: Fleet, calm: dict[str, Books]) -> None:
    orders = list(voyages(calm))
    with ThreadPoolExecutor(CORES) as pool:
        books = list(pool.map(lambda order: fleet.sail(*order), orders))
    for (crew, name, _), one in zip(orders, books, strict=True):
        assert result_of(one) == result_of(calm[crew]), name
        assert work(one.rows) == work(calm[crew].rows), name
    assert sum(one.kills for one in books) >= LEAST_KILLS


def test_the_crews_do_what_can_go_wrong(calm: dict[str, Books]) -> None:
    assert {crew: result_of(books)["status"] for crew, books in calm.items()} == {
        "survey": "succeeded", "convoy": "partial", "bridge": "succeeded",
    }  # fmt: skip
    paths = {row.path for row in calm["survey"].rows}
    assert {"gather.2/item-1/turn-1/tool-2", "judge.2/turn-1", "report/save"} <= paths
    kinds = [row.kind for books in calm.values() for row in books.rows]
    assert kinds.count("model.failed") >= 2 and kinds.count("decision") >= 2


def test_a_resumed_run_tells_the_same_tale(fleet: Fleet, calm: dict[str, Books]) -> None:
    for crew in CREWS:
        books = fleet.sail(crew, f"{crew}-told", once("end", 0))
        assert books.kills == 1
        told, before = (json.loads((one.folder / "result.json").read_text()) for one in (books, calm[crew]))
        assert told == before


def test_of_two_processes_that_resume_one_run_one_is_told_so(fleet: Fleet, calm: dict[str, Books]) -> None:
    books = Books(fleet.folder / "two")
    books.folder.mkdir()
    order: dict[str, Any] = {"crew": "survey", "folder": str(books.folder)}
    forks = fleet.forks.get()
    assert forks.run({**order, "point": "after", "at": 12}) == [-9]
    books.check()
    order = {**order, "run_id": books.run_id(), "patient": True}
    assert sorted(forks.run(order, order)) == [0, BUSY]
    fleet.forks.put(forks)
    books.check()
    assert result_of(books) == result_of(calm["survey"]) and work(books.rows) == work(calm["survey"].rows)
    (note,) = books.folder.glob(BUSY_NOTES)
    assert f"Run {books.run_id()} is being worked on by another process (pid " in note.read_text()
