"""One part of a crew that has to wait for a person lets what runs beside it finish."""

from __future__ import annotations

import asyncio

import pytest
from tests.unit.engine.conftest import MakeCrew

from quarterdeck.engine import scheduler
from quarterdeck.engine.concurrency import side_by_side
from quarterdeck.engine.result import TaskResult
from quarterdeck.engine.scope import RunScope
from quarterdeck.engine.tasks import perform_task
from quarterdeck.errors import Waiting
from quarterdeck.testing import ScriptedModel, text


async def test_waiting_lets_the_others_finish() -> None:
    finished: list[str] = []

    async def waits() -> str:
        raise Waiting("a person has to answer", "plan_review")

    async def works() -> str:
        await asyncio.sleep(0.01)
        finished.append("worked")
        return "done"

    with pytest.raises(Waiting, match="a person"):
        await side_by_side([waits(), works()])
    assert finished == ["worked"]


async def test_a_failure_still_cancels_the_others() -> None:
    finished: list[str] = []

    async def fails() -> str:
        raise ValueError("broken")

    async def works() -> str:
        await asyncio.sleep(0.05)
        finished.append("worked")
        return "done"

    with pytest.raises(ValueError, match="broken"):
        await side_by_side([fails(), works()])
    assert finished == []


async def test_a_task_that_waits_lets_the_one_beside_it_finish_and_starts_no_other(
    make_crew: MakeCrew, monkeypatch: pytest.MonkeyPatch
) -> None:

    async def waits_at_a(name: str, run: RunScope) -> TaskResult:
        if name == "a":
            raise Waiting("a person has to answer", "plan_review")
        await asyncio.sleep(0.02)
        return await perform_task(name, run)

    monkeypatch.setattr(scheduler, "perform_task", waits_at_a)
    model = ScriptedModel([text("done")])
    crew = make_crew(model, {"a": {}, "b": {}, "c": {"needs": ["b"]}}, process="graph")
    result = await crew.akickoff()
    assert (result.status, result.code) == ("waiting", "plan_review")
    assert [(name, task.status) for name, task in result.tasks.items()] == [("b", "succeeded")]
    assert crew.store.run(result.run_id).status == "waiting"
    await crew.aclose()
