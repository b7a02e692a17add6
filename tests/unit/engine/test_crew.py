"""The public face: kickoff, stream, for_each, resume, fork, and inputs."""

from __future__ import annotations

import asyncio
import contextlib
from decimal import Decimal
from pathlib import Path
from typing import Any, cast

import pytest
from tests.unit.engine.conftest import MakeCrew

from quarterdeck.engine.crew import Crew
from quarterdeck.errors import InputError, JournalError
from quarterdeck.journal.events import Event, TaskEnded, TextArrived
from quarterdeck.models.port import ModelReply, ModelRequest, Usage
from quarterdeck.testing import ScriptedModel, delay, error, hang, stream, text
from quarterdeck.testing.catalog import ScriptedCatalog


async def test_akickoff_runs_many_at_once(make_crew: MakeCrew) -> None:
    model = ScriptedModel.rules([(lambda _: True, delay(0.1, text("done")))])
    crew = make_crew(model, {"a": {}})
    results = await asyncio.gather(*(crew.akickoff() for _ in range(20)))
    assert {result.status for result in results} == {"succeeded"}
    assert len({result.run_id for result in results}) == 20
    await crew.aclose()


def test_kickoff_works_inside_a_running_loop_too(make_crew: MakeCrew) -> None:
    crew = make_crew(ScriptedModel([text("done")]), {"a": {}})

    async def notebook() -> str:
        return str(crew.kickoff().output)

    assert asyncio.run(notebook()) == "done"


def test_for_each_keeps_the_order_of_its_inputs(make_crew: MakeCrew) -> None:
    rules = ScriptedModel.rules(
        [(lambda request: "slow" in request.messages[1].content, delay(0.1, text("s"))), (lambda _: True, text("f"))]
    )
    crew = make_crew(rules, {"a": {"description": "{word}"}}, inputs={"word": {}})
    results = crew.kickoff_for_each([{"word": "slow"}, {"word": "fast"}])
    assert [result.output for result in results] == ["s", "f"]


async def test_stream_yields_typed_events_with_task_and_agent(make_crew: MakeCrew) -> None:
    crew = make_crew(ScriptedModel([stream("Hel", "lo")]), {"a": {}})
    events = [event async for event in crew.stream()]
    kinds = [getattr(event, "kind", "") for event in events]
    assert kinds[-1] == "run.ended" and kinds.count("text") == 2 and "model.called" in kinds
    called = next(event for event in events if getattr(event, "kind", "") == "model.called")
    assert (called.task, called.agent, called.path) == ("a", "clerk", "a/turn-1")
    await crew.aclose()


async def test_leaving_a_stream_stops_the_run(make_crew: MakeCrew) -> None:
    crew = make_crew(ScriptedModel([hang()]), {"a": {}})
    async with contextlib.aclosing(crew.stream()) as events:
        async for event in events:
            if getattr(event, "kind", "") == "task.started":
                break
    assert crew.store.runs()[0].interrupted
    await crew.aclose()


async def test_a_failed_run_goes_on_where_it_failed(make_crew: MakeCrew) -> None:
    first = ScriptedModel([text("one"), error("refused")])
    crew = make_crew(first, {"a": {}, "b": {}})
    result = await crew.akickoff()
    assert result.status == "failed"
    await crew.aclose()
    second = ScriptedModel([text("two")])
    again = Crew.of_run(
        result.run_id, workspace=crew.workspace, database_url=crew.database_url, catalog=ScriptedCatalog(second)
    )
    resumed = await again.aresume(result.run_id)
    assert (resumed.status, resumed.output, resumed.model_calls) == ("succeeded", "two", 2)
    assert len(second.requests) == 1
    await again.aclose()


async def test_a_run_that_ended_well_has_nothing_to_resume(make_crew: MakeCrew) -> None:
    crew = make_crew(ScriptedModel([text("one")]), {"a": {}})
    result = await crew.akickoff()
    with pytest.raises(JournalError, match="Nothing to resume"):
        await crew.aresume(result.run_id)
    await crew.aclose()


async def test_a_cancelled_await_leaves_a_run_that_can_be_resumed(make_crew: MakeCrew) -> None:
    crew = make_crew(ScriptedModel([text("one"), hang(), text("two")]), {"a": {}, "b": {}})
    started = asyncio.Event()

    def listen(event: Event) -> None:
        if isinstance(event, TaskEnded):
            started.set()

    work = asyncio.create_task(crew.akickoff(listener=listen))
    await started.wait()
    await asyncio.sleep(0.05)
    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await work
    record = crew.store.runs()[0]
    assert record.interrupted
    resumed = await crew.aresume(record.id)
    assert resumed.output == "two"
    await crew.aclose()


async def test_cancel_from_elsewhere_ends_the_run_as_cancelled(make_crew: MakeCrew) -> None:
    crew = make_crew(ScriptedModel([hang()]), {"a": {}})
    work = asyncio.create_task(crew.akickoff())
    while not crew.store.runs():
        await asyncio.sleep(0.02)
    crew.store.request_cancel(crew.store.runs()[0].id)
    result = await asyncio.wait_for(work, 5)
    assert (result.status, result.code) == ("cancelled", "cancelled")
    await crew.aclose()


async def test_a_fork_takes_over_what_stood_before_and_changes_inputs(make_crew: MakeCrew) -> None:
    tasks = {"a": {"description": "about {topic}"}, "b": {"description": "more about {topic}"}}
    model = ScriptedModel([text("one"), text("two"), text("other")])
    crew = make_crew(model, tasks, inputs={"topic": {}})
    result = await crew.akickoff({"topic": "wind"})
    forked = await crew.afork(result.run_id, "b", {"topic": "rain"})
    assert forked.output == "other" and forked.run_id != result.run_id
    assert "more about rain" in model.requests[2].messages[1].content
    assert forked.tasks["a"].text == "one"
    await crew.aclose()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "topic is missing (What to find out); give --input topic=..."),
        ({"topic": "x", "tpic": "y"}, 'did you mean "topic"?'),
        ({"topic": "x", "deep": "perhaps"}, "neither true nor false"),
        ({"topic": "x", "rounds": "many"}, "no integer"),
        ({"topic": "x", "where": "/no/such/folder"}, "there is no folder"),
    ],
)
def test_wrong_inputs_are_explained_before_anything_runs(make_crew: MakeCrew, given: dict[str, Any], said: str) -> None:
    inputs = {
        "topic": {"description": "What to find out."},
        "deep": {"type": "boolean", "default": False},
        "rounds": {"type": "integer", "default": 1},
        "where": {"type": "folder", "default": "."},
    }
    crew = make_crew(ScriptedModel([]), {"a": {}}, inputs=inputs)
    with pytest.raises(InputError) as wrong:
        crew.kickoff(given)
    assert said in str(wrong.value) and "Nothing was run." in str(wrong.value)
    assert not Path(crew.workspace.root / "journal.db").exists()


async def test_the_first_word_is_heard_before_the_second_is_written(make_crew: MakeCrew) -> None:
    heard = asyncio.Event()

    class Halting:
        """Writes a word, and the next one only when somebody has heard the first."""

        async def answer(self, request: ModelRequest, on_text: Any = None) -> ModelReply:
            on_text("Seven ")
            await asyncio.wait_for(heard.wait(), 5)
            on_text("ships.")
            return ModelReply("Seven ships.", usage=Usage(5, 2), cost_usd=Decimal(0), model=request.model)

        async def close(self) -> None:
            pass

    texts = []
    async for event in make_crew(cast(ScriptedModel, Halting()), {"ask": {}}).stream():
        if isinstance(event, TextArrived):
            texts.append(event.text)
            heard.set()
    assert texts == ["Seven ", "ships."]
