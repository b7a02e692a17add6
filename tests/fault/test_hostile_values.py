"""Values that JSON cannot carry, from a model or from the workspace's own code, never end a run without a status."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from quarterdeck.engine.crew import Crew
from quarterdeck.engine.result import Result
from quarterdeck.engine.scope import Parts
from quarterdeck.errors import Diverged
from quarterdeck.journal.record import StoredEvent
from quarterdeck.spec.crew import CrewSpec
from quarterdeck.spec.workspace import Workspace
from quarterdeck.testing import ScriptedModel, Step, call, text, together
from quarterdeck.testing.catalog import ScriptedCatalog
from quarterdeck.tools.execution import Executor
from quarterdeck.tools.manifest import tool as declared
from quarterdeck.tools.signature import tool_from_function
from quarterdeck.tools.tool import Tool

HALF = "half \ud83d"

harmless = declared(effect="read", owner="tests", sinks={})


def crew_of(folder: Path, model: ScriptedModel, tool: Any, parts: dict[str, Any], **changes: Any) -> Crew:
    spec = {
        "crew": "trial",
        "agents": {"clerk": {"role": "Clerk", "goal": "Be right.", "backstory": "Careful.", "tools": ("count.up",)}},
        "tasks": {"ask": {"agent": "clerk", "description": "Ask."}},
        **changes,
    }
    return Crew(
        CrewSpec.model_validate(spec),
        workspace=Workspace(folder),
        database_url=f"sqlite:///{folder}/journal.db",
        catalog=ScriptedCatalog(model),
        parts=Parts(
            {"count.up": tool_from_function(harmless(tool), "count.up")},
            **{"outputs": {}, "guardrails": {}, "functions": {}, **parts},
        ),
    )


async def run(
    folder: Path, steps: list[Step], *, tool: Any = None, parts: dict[str, Any] | None = None, **changes: Any
) -> tuple[Result, list[StoredEvent]]:
    def up(number: int) -> int:
        """Count up.

        Args:
            number: From here.
        """
        return number + 1

    with ScriptedModel(steps) as model:
        crew = crew_of(folder, model, tool or up, parts or {}, **changes)
        try:
            result = await crew.akickoff()
            return result, crew.store.events(result.run_id)
        finally:
            await crew.aclose()


async def test_half_a_character_in_an_answer_is_replaced(tmp_path: Path) -> None:
    result, _ = await run(tmp_path, [text(HALF)])
    assert (result.status, result.output) == ("succeeded", "half ?")


@pytest.mark.parametrize("arguments", [{"number": 10**40}, {HALF: 1}, {"number": HALF}])
async def test_arguments_that_json_cannot_carry_are_malformed(tmp_path: Path, arguments: dict[str, Any]) -> None:
    result, events = await run(tmp_path, [call("count.up", **arguments), text("I see.")])
    assert result.status == "succeeded"
    (called,) = (row.event for row in events if row.kind == "tool.called")
    assert called.kind == "tool.called" and called.error_class == "arguments"


async def test_a_guardrail_that_makes_something_else_fails_its_task_only(tmp_path: Path) -> None:
    def odd(output: Any, evidence: Any) -> object:
        return object()

    result, _ = await run(tmp_path, [text("x")], parts={"guardrails": {"ask": (odd,)}})
    assert (result.status, result.code) == ("failed", "output_not_json") and "ask" in result.evidence


async def test_a_limit_lets_calls_that_have_begun_be_recorded(tmp_path: Path) -> None:
    begun: list[int] = []
    both = threading.Barrier(2, timeout=5)

    def up(number: int) -> int:
        """Count up.

        Args:
            number: From here.
        """
        begun.append(number)
        both.wait()
        return number + 1

    turn = together(*(call("count.up", number=number) for number in range(4)))
    result, events = await run(tmp_path, [turn, text("Enough.")], tool=up, limits={"tool_calls": 2})
    assert (result.status, result.code) == ("partial", "limit_tool_calls")
    recorded = [row.event for row in events if row.kind == "tool.called"]
    assert sorted(begun) == [0, 1] and len(recorded) == 2


async def test_a_worker_that_diverges_is_not_hidden_behind_a_tool_error() -> None:
    async def up() -> int:
        await asyncio.sleep(0)
        raise Diverged("it went another way", recorded="", requested="")

    delegate = Tool("count.up", "", {}, up)
    executor = Executor()
    with pytest.raises(Diverged):
        await executor.execute(replace(delegate, of_engine=True), {}, None, 5.0)
    with pytest.raises(RuntimeError, match="it went another way"):  # no tool's own code says so to the run
        await executor.execute(delegate, {}, None, 5.0)
    executor.close()
