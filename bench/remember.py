"""What memory adds to a model call: CPU of a run with the profile's episodes and recall, against one without.

.venv/bin/python bench/remember.py
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

from quarterdeck.engine.crew import Crew
from quarterdeck.engine.scope import Parts
from quarterdeck.memory.episodes import Episode, write
from quarterdeck.memory.item import Scope
from quarterdeck.spec.crew import CrewSpec
from quarterdeck.spec.workspace import Workspace
from quarterdeck.testing import ScriptedModel, text
from quarterdeck.testing.catalog import ScriptedCatalog

LIMIT_MS = 3.0
AGENT = {"role": "Clerk", "goal": "Be right.", "backstory": "You are careful."}


async def measure(folder: Path, profile: str, tasks: int, past: int) -> float:
    """Return the milliseconds of CPU a model call of a run with many tasks; the best of five runs."""
    (folder / "crews").mkdir(parents=True)
    (folder / "memory").mkdir()
    (folder / "memory" / "measured.yaml").write_text(profile)
    declared = {
        "crew": "trial",
        "agents": {"clerk": AGENT},
        "inputs": {"topic": {"type": "string", "default": "the output of wind farms in 2023"}},
        "tasks": {
            f"t{number}": {"agent": "clerk", "description": "Answer.", "expected_output": "Text.", "context": []}
            for number in range(tasks)
        },
        "memory": "measured",
        "limits": {"model_calls": 10_000},
    }
    model = ScriptedModel.rules([(lambda _: True, text("Done."))])
    parts = Parts(tools={}, outputs={}, guardrails={}, functions={})
    crew = Crew(
        CrewSpec.model_validate(declared), workspace=Workspace(folder), catalog=ScriptedCatalog(model), parts=parts,
        database_url=f"sqlite:///{folder}/journal.db",
    )  # fmt: skip
    for number in range(past):
        episode = Episode(f"r{number}", Scope(crew="trial"), f"the output of wind farms, part {number}", "succeeded")
        await crew.store.writer.ask(partial(write, episode=episode))
    taken = []
    for _ in range(6):
        began = time.process_time()
        result = await crew.akickoff()
        taken.append((time.process_time() - began) * 1000 / tasks)
        assert result.status == "succeeded", result.evidence
    await crew.aclose()
    return statistics.median(taken[1:])


def main() -> None:
    """Measure and print one line of JSON; exit 1 if it is too much."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, default=50)
    parser.add_argument("--past", type=int, default=200)
    given = parser.parse_args()
    profiles = {"none": "{}", "episodes": "episodes: {recall: 2}\n", "all": "episodes: {}\nlongterm: {}\nsession: {}\n"}
    found: dict[str, Any] = {}
    for name, profile in profiles.items():
        with tempfile.TemporaryDirectory() as folder:
            found[name] = round(asyncio.run(measure(Path(folder) / name, profile, given.tasks, given.past)), 2)
    added = {name: round(found[name] - found["none"], 2) for name in ("episodes", "all")}
    print(json.dumps({"cpu_ms_a_call": found, "added_ms": added, "limit_ms": LIMIT_MS}))
    raise SystemExit(max(added.values()) > LIMIT_MS)


if __name__ == "__main__":
    main()
