"""A person in a live run: what is told is heard with the next model call, and a cancel acts within one step."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

from quarterdeck.engine.crew import Crew
from quarterdeck.governance.queue import answer, instruct, questions
from quarterdeck.journal.events import ApprovalAsked, Event, Instructed, ToolCalled
from quarterdeck.journal.store import Store
from quarterdeck.testing import ScriptedModel, Step, call, delay, error, text, together
from quarterdeck.testing import answer as answered

TOLD = "The person in charge of this work says: Only the wind."
AGENT = {"role": "Clerk", "goal": "Be right.", "backstory": "You are careful."}


def look(place: str) -> str:
    """Look somewhere.

    Args:
        place: Where.
    """
    return f"nothing at {place}"


async def meanwhile(crew: Crew, acts: Callable[[Store, str], Awaitable[Any]]) -> Any:
    """Run a crew; when its first tool call is recorded, do something from another store, as another process would."""
    begun: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def listener(event: Event) -> None:
        if isinstance(event, ToolCalled) and not begun.done():
            begun.set_result(None)

    work = asyncio.ensure_future(crew.akickoff(listener=listener))
    await begun
    with Store.open(crew.database_url) as elsewhere:
        await acts(elsewhere, elsewhere.runs(1)[0].id)
    return await work


def heard(model: ScriptedModel) -> list[bool]:
    return [any(message.content == TOLD for message in request.messages) for request in model.requests]


async def test_an_instruction_is_heard_with_the_next_model_call_and_replayed(make_crew: Any) -> None:
    slow = delay(0.7, call("look", place="there"))  # longer than the inbox is looked at
    steps = [call("look", place="here"), slow, text("Wind only."), text("Later."), text("Later still.")]
    model = ScriptedModel(steps)
    crew = make_crew(model, {"first": {}, "second": {}}, tools={"look": look})

    async def tell(store: Store, run_id: str) -> None:
        assert not await instruct(store, run_id, "Only the wind.", "ann")

    result = await meanwhile(crew, tell)
    assert result.status == "succeeded"
    assert heard(model) == [False, False, True, True], "the next call of the task, and the first of the one after it"
    assert sum(message.content == TOLD for message in model.requests[-1].messages) == 1
    told = [row.event for row in crew.store.events(result.run_id) if isinstance(row.event, Instructed)]
    assert [(one.path, one.by) for one in told] == [("", "ann"), ("first/turn-3", "ann"), ("second/turn-1", "ann")]
    forked = await crew.afork(result.run_id, "second")  # replays the first task, hears it anew in the second
    assert forked.text == "Later still." and heard(model)[4:] == [True]
    await crew.aclose()


async def test_a_planner_hears_when_it_plans_again(make_crew: Any) -> None:
    async def fail(place: str) -> str:
        """Fail.

        Args:
            place: Where.
        """
        await asyncio.sleep(0.7)
        raise RuntimeError("gone")

    first = {"id": "s1", "does": "Look.", "tool": "look", "inputs": {"place": "here"}}
    slow = {"id": "s2", "does": "Look.", "tool": "fail", "inputs": {"place": "there"}, "after": ["s1"]}
    planned = {"steps": [first, slow], "answer": "s2"}
    other = {"steps": [{"id": "s3", "does": "Say it.", "worker": "clerk", "inputs": {}}], "answer": "s3"}
    model = ScriptedModel([answered(planned), answered(other), text("Wind only.")])
    agents = {"clerk": {**AGENT, "tools": ("look", "fail"), "plan": {"planner": "expensive", "executor": "cheap"}}}
    crew = make_crew(model, {"first": {}}, agents=agents, tools={"look": look, "fail": fail})

    async def tell(store: Store, run_id: str) -> None:
        await instruct(store, run_id, "Only the wind.", "ann")

    result = await meanwhile(crew, tell)
    assert (result.status, result.text) == ("succeeded", "Wind only.")
    assert heard(model) == [False, True, True], "the plan that was made after it, and the step"
    told = [row.event.path for row in crew.store.events(result.run_id) if isinstance(row.event, Instructed)]
    assert told == ["", "first/plan-2/turn-1", "first/plan-2/s3/turn-1"]
    await crew.aclose()


async def test_a_resumed_run_hears_at_the_same_turns(make_crew: Any) -> None:
    """A replay asks exactly what was asked before, or the journal would say that it diverged."""
    slow = delay(0.7, call("look", place="there"))
    steps = [call("look", place="here"), slow, call("look", place="up"), error("refused"), text("Wind only.")]
    model = ScriptedModel(steps)
    crew = make_crew(model, {"first": {}}, tools={"look": look})

    async def tell(store: Store, run_id: str) -> None:
        await instruct(store, run_id, "Only the wind.", "ann")

    failed = await meanwhile(crew, tell)
    assert (failed.status, failed.code) == ("failed", "model_refused")
    result = await crew.aresume(failed.run_id)
    assert (result.status, result.text) == ("succeeded", "Wind only.")
    assert heard(model) == [False, False, True, True, True]
    assert [message.content for message in model.requests[-1].messages].count(TOLD) == 1
    told = [row.event for row in crew.store.events(result.run_id) if isinstance(row.event, Instructed)]
    assert [one.path for one in told] == ["", "first/turn-3"]
    await crew.aclose()


async def test_a_cancel_acts_within_one_step(make_crew: Any) -> None:
    """Nothing that the agent wants after it is done: neither the slow answer's call, nor one in flight beside it."""
    done: list[str] = []

    async def write(place: str) -> str:
        """Write somewhere.

        Args:
            place: Where.
        """
        await asyncio.sleep(5 if place == "slow" else 0)
        done.append(place)
        return "written"

    model = ScriptedModel([call("write", place="first"), together(call("write", place="slow"))])
    crew = make_crew(model, {"first": {}}, tools={"write": write})
    began = time.monotonic()

    async def cancel(store: Store, run_id: str) -> None:
        store.request_cancel(run_id)

    result = await meanwhile(crew, cancel)
    assert (result.status, result.code, done) == ("cancelled", "cancelled", ["first"])
    assert time.monotonic() - began < 2
    assert len([row for row in crew.store.events(result.run_id) if isinstance(row.event, ToolCalled)]) == 1
    await crew.aclose()


async def decide(crew: Crew, said: Any, **more: Any) -> ApprovalAsked:
    (item,) = questions(crew.store)
    await answer(crew.store, item, said, by="ann", **more)
    return item.asked


async def test_a_tool_that_is_out_of_scope_is_asked_about_at_the_third_try(make_crew: Any) -> None:
    def steps() -> list[Step]:
        return [call("look", place=str(number)) for number in range(3)]

    crew = make_crew(
        ScriptedModel([*steps(), text("Without it.")]), {"first": {}}, tools={"look": look},
        agents={"clerk": {**AGENT, "tools": ()}},
    )  # fmt: skip
    waits = await crew.akickoff()
    assert (waits.status, waits.code) == ("waiting", "approval")
    asked = await decide(crew, "approved")
    assert (asked.reason, asked.arguments) == ("scope", {"tool": "look"}) and "keeps asking for look" in asked.needs
    result = await crew.aresume(waits.run_id)
    assert (result.status, result.text, result.tool_calls) == ("succeeded", "Without it.", 0)
    await crew.aclose()


async def test_a_person_can_end_what_is_out_of_scope(make_crew: Any) -> None:
    crew = make_crew(
        ScriptedModel([call("look", place=str(number)) for number in range(3)]), {"first": {}}, tools={"look": look},
        agents={"clerk": {**AGENT, "tools": ()}},
    )  # fmt: skip
    waits = await crew.akickoff()
    await decide(crew, "rejected", reason="not your business")
    result = await crew.aresume(waits.run_id)
    assert (result.status, result.code) == ("failed", "out_of_scope") and "not your business" in result.evidence
    await crew.aclose()
