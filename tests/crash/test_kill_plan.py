"""A plan whose process is killed between two steps goes on in another process, and does no step twice."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from quarterdeck.engine.crew import Crew
from quarterdeck.engine.scope import Parts
from quarterdeck.journal.events import StepEnded
from quarterdeck.spec.crew import CrewSpec
from quarterdeck.spec.workspace import Workspace
from quarterdeck.testing import ScriptedCatalog, ScriptedModel, answer
from quarterdeck.tools.manifest import tool
from quarterdeck.tools.signature import tool_from_function

STEPS = ("load", "sail", "land")
PLAN = {
    "steps": [
        {"id": name, "does": "Do it.", "tool": "ship.do", "inputs": {"what": name}, "after": list(STEPS[:number][-1:])}
        for number, name in enumerate(STEPS)
    ],
    "answer": "land",
}


def crew_in(folder: Path, model: ScriptedModel) -> Crew:
    """Return a crew whose tool writes down what it does, and dies at `sail` where the folder says so."""

    @tool(effect="read", owner="tests", sinks={})
    def do(what: str) -> str:
        """Do something.

        Args:
            what: What to do.
        """
        if what == "sail" and (folder / "die").exists():
            (folder / "die").unlink()
            os.kill(os.getpid(), signal.SIGKILL)
        with (folder / "done").open("a") as done:
            done.write(f"{what}\n")
        return what

    who = {"role": "Mate", "goal": "Sail.", "backstory": "Calm.", "tools": ["ship.do"], "plan": {}}
    task = {"agent": "mate", "description": "Sail.", "expected_output": "Land."}
    spec = CrewSpec.model_validate({"crew": "ship", "agents": {"mate": who}, "tasks": {"sail": task}})
    tools = {"ship.do": tool_from_function(do, "ship.do")}
    return Crew(
        spec,
        workspace=Workspace(folder),
        database_url=f"sqlite:///{folder}/journal.db",
        catalog=ScriptedCatalog(model),
        parts=Parts(tools=tools, outputs={}, guardrails={}, functions={}),
    )


def test_a_killed_plan_goes_on_where_it_was(tmp_path: Path) -> None:
    (tmp_path / "crews").mkdir()
    (tmp_path / "die").touch()
    died = subprocess.run([sys.executable, "-m", "tests.crash.test_kill_plan", str(tmp_path)], timeout=60, check=False)
    assert died.returncode == -signal.SIGKILL
    assert (tmp_path / "done").read_text().split() == ["load"]
    with ScriptedModel() as model:  # the plan is in the journal: no model is asked again
        crew = crew_in(tmp_path, model)
        run = crew.store.runs(1)[0]
        assert run.interrupted
        result: Any = crew.resume(run.id)
        ends = [stored.event for stored in crew.store.events(run.id) if isinstance(stored.event, StepEnded)]
        crew.store.close()
    assert (result.status, result.output) == ("succeeded", "land"), result.evidence
    assert (tmp_path / "done").read_text().split() == list(STEPS)
    assert [end.step for end in ends] == list(STEPS)


if __name__ == "__main__":
    crew_in(Path(sys.argv[1]), ScriptedModel([answer(PLAN)])).kickoff()
