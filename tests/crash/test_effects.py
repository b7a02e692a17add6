"""`kill -9` during side effects: an idempotent one happens once, any other once or it is put before a person."""

from __future__ import annotations

import asyncio
import json
import os
import random
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from tests.crash.effects import CALLS, LOG, RUN, WAITING
from tests.crash.harbour import ROOT

from quarterdeck.journal.answer import answer
from quarterdeck.journal.events import ApprovalAnswered
from quarterdeck.journal.store import Store

KILLS = int(os.environ.get("QUARTERDECK_KILLS", "150"))
"""`QUARTERDECK_KILLS=1000` is the figure that is promised; fewer of the same kinds make up the ordinary suite."""
KINDS = ("before", "within", "after", "unborn", "done")
MAX_ATTEMPTS = 100


class Server:
    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.crash.effects", str(folder)],
            cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert self._process.stdout is not None and self._process.stdout.readline() == "ready\n"

    def run(self, **order: Any) -> int:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())

    def close(self) -> None:
        self._process.communicate()


def world(folder: Path) -> Counter[str]:
    """Return what has happened, and how often."""
    log = folder / LOG
    return Counter(log.read_text().splitlines() if log.exists() else [])


def ask_a_person(folder: Path) -> None:
    """Answer the open question truly: a person can look into the world."""
    with Store.open(f"sqlite:///{folder}/journal.db") as store:
        events = [row.event for row in store.events(RUN)]
        answered = {event.id for event in events if event.kind == "approval.answered"}
        (asked,) = [event for event in events if event.kind == "approval.asked" and event.id not in answered]
        assert asked.reason == "unknown_effect"
        call = asked.path.partition("/again-")[0]
        choice = "happened" if world(folder)[f"charge {RUN}:{call}"] else "again"
        said = ApprovalAnswered(path=asked.path, id=asked.id, answer="approved", choice=choice,
                                arguments_hash=asked.arguments_hash)  # fmt: skip
        asyncio.run(answer(store, RUN, said))


def voyage(server: Server, folder: Path, kills: list[tuple[str, int]]) -> tuple[int, int]:
    """Run to the end through some deaths; return how many there were, and how often a person was asked."""
    folder.mkdir()
    killed = asked = 0
    for attempt in range(MAX_ATTEMPTS):
        point, at = kills[attempt] if attempt < len(kills) else ("", 0)
        code = server.run(folder=str(folder), point=point, at=at)
        happened = world(folder)
        assert not [key for key, times in happened.items() if times > 1], f"done twice: {happened}"
        if code == -9:
            killed += 1
        elif code == WAITING:
            asked += 1
            ask_a_person(folder)
        else:
            trouble = folder / "error.txt"
            assert code == 0, trouble.read_text() if trouble.exists() else code
            break
    keys = {f"{'charge' if n % 2 else 'put'} {RUN}:task/turn-{n}/tool-1" for n in range(1, CALLS + 1)}
    assert set(world(folder)) == keys
    with Store.open(f"sqlite:///{folder}/journal.db", read_only=True) as store:
        assert store.verify(RUN) is None
        statuses = [row.event.status for row in store.events(RUN) if row.kind == "tool.called"]  # type: ignore[union-attr]
    assert statuses == ["ok"] * CALLS
    return killed, asked


def test_each_effect_happens_once_whatever_dies(tmp_path: Path) -> None:
    rng = random.Random(4)
    server = Server(tmp_path / "server")
    kills = asked = number = 0
    try:
        while kills < KILLS:
            number += 1
            fates = [(rng.choice(KINDS), rng.randint(1, 4)) for _ in range(6)]
            killed, questions = voyage(server, tmp_path / f"voyage-{number}", fates)
            kills, asked = kills + killed, asked + questions
    finally:
        server.close()
    assert asked >= KILLS / 20, "too few deaths hit a call that must not be repeated"
