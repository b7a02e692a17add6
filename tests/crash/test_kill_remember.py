"""`kill -9` around every commit of a run that extracts facts and replaces one: the memory is as if nothing had died."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import traceback
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

if __name__ != "__main__":
    from tests.crash.harbour import ROOT

from quarterdeck.journal import store as journal_store
from quarterdeck.journal.store import Store
from quarterdeck.journal.tables import memories

POINTS = ("before", "within", "after")
MAX_COMMITS = 40
OLD = "Visitors of the harbour enter by the north gate."
TOLD = "The harbour master of Aldersund is Anna Berg."
NEW = "Visitors of the harbour enter by the south gate, since the rebuilding."
AGAIN = "The harbour master of Aldersund is Anna Berg."
FACTS = [{"text": words, "source": "p1", "confidence": 0.8} for words in (NEW, AGAIN)]


def crew_of(folder: Path) -> Any:
    from quarterdeck.engine.crew import Crew
    from quarterdeck.engine.scope import Parts
    from quarterdeck.spec.crew import CrewSpec
    from quarterdeck.spec.workspace import Workspace
    from quarterdeck.testing import ScriptedModel, text
    from quarterdeck.testing.catalog import ScriptedCatalog

    (folder / "memory").mkdir(exist_ok=True)
    (folder / "memory" / "trial.yaml").write_text("longterm: {extract: true}\n")
    verdict = {"id": "m1", "fact": "f1", "event": "DELETE", "text": ""}
    model = ScriptedModel.rules(
        [
            ("Memory Extractor", text(json.dumps({"memory": FACTS}))),
            ("smart memory manager", text(json.dumps({"memory": [verdict]}))),
            (lambda _: True, text(f"{NEW} {AGAIN}")),
        ]
    )
    declared = {
        "crew": "trial",
        "agents": {"clerk": {"role": "Clerk", "goal": "Be right.", "backstory": "You are careful."}},
        "tasks": {"ask": {"agent": "clerk", "description": "ask", "expected_output": "Text."}},
        "memory": "trial",
    }
    return Crew(
        CrewSpec.model_validate(declared),
        workspace=Workspace(folder),
        database_url=f"sqlite:///{folder}/journal.db",
        catalog=ScriptedCatalog(model),
        parts=Parts(tools={}, outputs={}, guardrails={}, functions={}),
    )


async def prepare(folder: Path) -> None:
    from quarterdeck.memory.item import Item, Scope
    from quarterdeck.memory.longterm import LongTerm

    with Store.open(f"sqlite:///{folder}/journal.db") as store:
        old = [Item("", Scope(crew="trial"), words, source="a test", confidence=0.5) for words in (OLD, TOLD)]
        await LongTerm(store, None).add(old)


async def attempt(folder: Path, point: str, at: int) -> str:
    """Run the crew, or take its run up, under a writer that may kill this process."""
    from tests.crash.forks import Doomed

    from quarterdeck.engine import longterm

    longterm.installed = lambda name: None  # type: ignore[attr-defined]  # by words alone
    if point:
        journal_store.Writer = partial(Doomed, point=point, at=at)  # type: ignore[assignment,attr-defined]
    crew = crew_of(folder)
    try:
        runs = crew.store.runs()
        if runs and runs[0].status == "succeeded":
            return "succeeded"  # it died after its last commit
        result = await (crew.aresume(runs[0].id) if runs else crew.akickoff())
        return str(result.status)
    finally:
        await crew.aclose()


def child(folder: Path, point: str = "", at: int = 0) -> int:
    """Return how an attempt in a process of its own ended."""
    pid = os.fork()
    if pid:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    code = 1
    try:
        code = 0 if asyncio.run(attempt(folder, point, at)) == "succeeded" else 2
    except BaseException:
        (folder / "error.txt").write_text(traceback.format_exc())
    finally:
        os._exit(code)


def serve(folder: Path) -> None:
    """Kill a run around its n-th commit for each n, until a run survives; go on with each; say how each ended."""
    from quarterdeck.engine.member import crewai_classes
    from quarterdeck.memory.extraction import mem0_modules

    crewai_classes()
    mem0_modules()
    Store.open(f"sqlite:///{folder}/warm.db").close()  # compiles what SQLAlchemy compiles once
    crew_of(folder)  # imports what a child would import
    for point in POINTS:
        for at in range(1, MAX_COMMITS):
            own = folder / f"{point}-{at}"
            own.mkdir()
            if os.fork() == 0:  # no thread of a writer may live in the process that forks
                asyncio.run(prepare(own))
                os._exit(0)
            os.wait()
            ended = [child(own, point, at)]
            if ended[0] == -9:
                ended.append(child(own))
            trouble = own / "error.txt"
            print(json.dumps([own.name, ended, trouble.read_text() if trouble.exists() else ""]), flush=True)
            if ended[0] != -9:
                break


@pytest.fixture(scope="module")
def voyages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Path]]:
    import subprocess

    folder = tmp_path_factory.mktemp("kills")
    command = [sys.executable, "-m", "tests.crash.test_kill_remember", str(folder)]
    said = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True).stdout
    ends = [json.loads(line) for line in said.splitlines()]
    assert all(ended in ([-9, 0], [0]) for _, ended, _ in ends), [one for one in ends if one[2]]
    yield [folder / name for name, ended, _ in ends if ended == [-9, 0]]


def test_whatever_dies_the_memory_ends_the_same(voyages: list[Path]) -> None:
    assert len(voyages) >= 3 * 5
    for folder in voyages:
        with Store.open(f"sqlite:///{folder}/journal.db", read_only=True) as store:
            rows = store.read(memories.select().order_by(memories.c.number))
            assert [row.text for row in rows] == [OLD, TOLD, NEW], folder.name
            old, told, new = rows
            assert (old.superseded_by, told.superseded_by, new.superseded_by) == (new.id, "", ""), folder.name
            assert told.confidence == pytest.approx(0.9), f"{folder.name}: one run is one witness"
            kinds = [row.kind for row in store.events(store.runs()[0].id)]
            assert kinds.count("memory.written") == 1 and kinds.count("model.called") == 3, folder.name


if __name__ == "__main__":
    serve(Path(sys.argv[1]))
