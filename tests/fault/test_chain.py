"""Whole runs whose first model is ill: they succeed on the next one, say so, and spend no call on an open circuit."""

from __future__ import annotations

from collections import Counter
from functools import partial
from pathlib import Path

import pytest
from tests.unit.models.stages import model_of

from quarterdeck.cli.progress import result_object, totals_line
from quarterdeck.engine import equipment
from quarterdeck.engine.crew import Crew
from quarterdeck.engine.scope import Parts
from quarterdeck.journal.events import Decision, Event, ModelCalled, ModelFailed, TextArrived
from quarterdeck.journal.totals import Totals
from quarterdeck.models.catalog import Catalog, ResolvedModel
from quarterdeck.models.port import ModelReply, ModelRequest, OnText
from quarterdeck.models.stack import build_port
from quarterdeck.spec.crew import CrewSpec
from quarterdeck.spec.models import ModelsConfig
from quarterdeck.spec.workspace import Workspace
from quarterdeck.testing import HttpAnswer, OpenAIServer, ScriptedModel, Step, error, text
from quarterdeck.testing.catalog import ScriptedCatalog

CLERK = {"role": "Clerk", "goal": "Be right.", "backstory": "You are careful.", "model": "first"}


class Pair(ScriptedCatalog):
    """Two models: `second` stands in for `first`."""

    def chain(self, name: str, group: str) -> tuple[ResolvedModel, ...]:
        """Return both, the one asked for first."""
        return (model_of("first"), model_of("second"))


class Ill:
    """`first` always fails in one way, `second` always answers; counts the calls."""

    def __init__(self, fault: Step) -> None:
        self._fault = fault
        self.calls: Counter[str] = Counter()

    async def answer(self, request: ModelRequest, on_text: OnText | None = None) -> ModelReply:
        self.calls[request.model] += 1
        said = self._fault if request.model == "first" else text("Nine fathoms.")
        return await ScriptedModel([said]).answer(request, on_text)

    async def close(self) -> None:
        """Hold nothing."""


@pytest.fixture(autouse=True)
def _hardly_any_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(equipment, "build_port", partial(build_port, retry_base=0.001))


def crew_of(model: Ill, folder: Path) -> Crew:
    tasks = {
        name: {"agent": "clerk", "description": f"Sound {name}.", "expected_output": "Fathoms."}
        for name in ("kiel", "riga", "vigo")
    }
    spec = CrewSpec.model_validate({"crew": "soundings", "agents": {"clerk": CLERK}, "tasks": tasks})
    return Crew(
        spec,
        workspace=Workspace(folder),
        database_url=f"sqlite:///{folder}/journal.db",
        catalog=Pair(model),
        parts=Parts(tools={}, outputs={}, guardrails={}, functions={}),
    )


def _last_line(totals: Totals) -> str:
    return totals_line("succeeded", 1.0, 3, 0, 100, "$0.00", degraded=totals.degraded_calls > 0)


async def test_an_outage_is_survived_and_told(tmp_path: Path) -> None:
    model = Ill(error("server", "The harbour office is closed."))
    crew = crew_of(model, tmp_path)
    result = await crew.akickoff()
    assert (result.status, result.degraded, result.text) == ("succeeded", True, "Nine fathoms.")
    assert model.calls == {"first": 5, "second": 3}, "five failures in a row open the circuit"
    assert result_object(result)["degraded"] is True
    totals = crew.store.run(result.run_id).totals
    assert totals.degraded_calls == 3
    assert "(degraded: a fallback model answered)" in _last_line(totals)
    assert crew.health()["first"].state == "open" and crew.health()["second"].state == "closed"

    events = [stored.event for stored in crew.store.events(result.run_id)]
    failed = [event for event in events if isinstance(event, ModelFailed)]
    assert [(event.path.split("/")[0], event.attempt) for event in failed] == [
        ("kiel", 1), ("kiel", 2), ("kiel", 3), ("riga", 1), ("riga", 2),
    ]  # fmt: skip
    called = [event for event in events if isinstance(event, ModelCalled)]
    assert [(event.model, event.degraded, event.request["model"]) for event in called] == [
        ("second", True, "first")
    ] * 3
    decided = [event for event in events if isinstance(event, Decision)]
    assert [event.path for event in decided if event.chosen == "second"] == [
        f"{name}/turn-1/fallback" for name in ("kiel", "riga", "vigo")
    ]
    assert [event.path for event in decided if event.chosen == "open"] == ["riga/turn-1/breaker"]
    await crew.aclose()


async def test_nothing_is_degraded_while_the_first_model_answers(tmp_path: Path) -> None:
    model = Ill(text("Eight fathoms."))
    crew = crew_of(model, tmp_path)
    result = await crew.akickoff()
    assert (result.status, result.degraded, model.calls) == ("succeeded", False, {"first": 3})
    await crew.aclose()


async def test_a_refusal_ends_the_task_without_asking_around(tmp_path: Path) -> None:
    model = Ill(error("refused", "That is none of our business."))
    crew = crew_of(model, tmp_path)
    result = await crew.akickoff()
    assert (result.status, result.code) == ("failed", "model_refused")
    assert "none of our business" in result.evidence
    assert not model.calls["second"]
    await crew.aclose()


ENTRY = {"api_key_env": "K", "price": "free", "idle_seconds": 0.1, "json_schema": True}


def hosted(url: str, other_url: str, folder: Path) -> Crew:
    """Return a crew on a group of two hosted models, at an address each."""
    config = {
        "default": "cheap",
        "groups": {"cheap": {"models": ["openai/first"], "fallback": ["other"]}, "other": ["openai/second"]},
        "models": {"openai/first": {**ENTRY, "api_base": url}, "openai/second": {**ENTRY, "api_base": other_url}},
    }
    task = {"agent": "clerk", "description": "Sound Kiel.", "expected_output": "Fathoms."}
    spec = {"crew": "soundings", "agents": {"clerk": {**CLERK, "model": "cheap"}}, "tasks": {"kiel": task}}
    return Crew(
        CrewSpec.model_validate(spec),
        workspace=Workspace(folder),
        database_url=f"sqlite:///{folder}/journal.db",
        catalog=Catalog(ModelsConfig.model_validate(config), {"K": "secret-key"}),
        parts=Parts(tools={}, outputs={}, guardrails={}, functions={}),
    )


async def test_a_stream_that_stalls_is_cut_and_asked_for_again(loopback_model: OpenAIServer, tmp_path: Path) -> None:
    loopback_model.script([HttpAnswer("Seven or was it", stall=3), HttpAnswer("Nine fathoms.")])
    crew = hosted(loopback_model.url, loopback_model.url, tmp_path)
    events: list[Event] = []
    result = await crew.akickoff(listener=events.append)
    assert (result.status, result.degraded, result.text) == ("succeeded", False, "Nine fathoms.")
    assert "Seven" in "".join(event.text for event in events if isinstance(event, TextArrived))
    failed = [event for event in events if isinstance(event, ModelFailed)]
    assert [(event.error_kind, event.attempt) for event in failed] == [("timeout", 1)]
    assert loopback_model.counts.requests == 2
    await crew.aclose()


async def test_a_group_falls_back_as_it_declares(loopback_model: OpenAIServer, tmp_path: Path) -> None:
    with OpenAIServer(HttpAnswer("The account is empty.", status=402)) as broken:
        crew = hosted(broken.url, loopback_model.url, tmp_path)
        result = await crew.akickoff()
        assert (result.status, result.degraded) == ("succeeded", True)
        assert (broken.counts.requests, loopback_model.counts.requests) == (1, 1)
        (failed,) = [one.event for one in crew.store.events(result.run_id) if isinstance(one.event, ModelFailed)]
        assert (failed.error_kind, failed.model) == ("no_quota", "openai/first")
        await crew.aclose()
