"""Tiers, shadow and trials in whole runs: what is done, what is only recorded, and what is never done."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import pytest

from quarterdeck.engine.crew import Crew
from quarterdeck.engine.result import Result
from quarterdeck.engine.scope import Parts
from quarterdeck.errors import JournalError, QuarterdeckError
from quarterdeck.governance import trials
from quarterdeck.journal.events import Proposed, ToolCalled
from quarterdeck.spec.crew import CrewSpec
from quarterdeck.spec.governance import GovernanceConfig
from quarterdeck.spec.workspace import Workspace, starter
from quarterdeck.testing import ScriptedModel, call, text, together
from quarterdeck.testing.catalog import ScriptedCatalog
from quarterdeck.tools.loading import Toolbox
from quarterdeck.tools.manifest import tool
from quarterdeck.tools.places import comes_along
from quarterdeck.tools.signature import tool_from_function

DIALS = ("shadow", "low", "medium", "high")
Make = Callable[..., Crew]


@pytest.fixture
def done(tmp_path: Path) -> list[str]:
    (tmp_path / "crews").mkdir()
    return []


@pytest.fixture
def make(tmp_path: Path, done: list[str]) -> Make:
    """Return a maker of crews whose one agent has a tool of each effect, and one that nobody has classified."""

    def of(effect: str | None, version: str = "1") -> Any:
        def act(what: str = "it") -> str:
            """Do something.

            Args:
                what: What.
            """
            done.append(f"{effect} {what}")
            return f"did {what}"

        return tool(effect=effect, owner="tests", sinks={}, version=version)(act)

    @tool(effect="write", owner="tests", sinks={})
    def write(name: str, content: str) -> str:
        """Write a file.

        Args:
            name: Its name.
            content: Its content.
        """
        done.append(f"{name}: {content}")
        return name

    def crew(
        model: ScriptedModel, config: dict[str, Any], *, autonomy: str = "", version: str = "1", **more: Any
    ) -> Crew:
        tools = {
            f"do.{effect or 'unknown'}": tool_from_function(of(effect, version), f"do.{effect or 'unknown'}")
            for effect in ("read", "write", "external", "irreversible", None)
        }
        tools["output.write"] = tool_from_function(write, "output.write")
        agent = {"role": "Clerk", "goal": "Do.", "backstory": "Calm.", "tools": [*tools]}
        task = {"agent": "clerk", "description": "Do.", "expected_output": "Done.", **more.pop("task", {})}
        declared = {"crew": "trial", "agents": {"clerk": agent}, "tasks": {"do": task}, **more}
        return Crew(
            CrewSpec.model_validate(declared),
            workspace=Workspace(tmp_path),
            database_url=f"sqlite:///{tmp_path}/journal.db",
            catalog=ScriptedCatalog(model),
            parts=Parts(tools=tools, outputs={}, guardrails={}, functions={}),
            governance=GovernanceConfig.model_validate(config),
            autonomy=autonomy,
        )

    return crew


def calls(crew: Crew, run_id: str) -> list[ToolCalled]:
    return [row.event for row in crew.store.events(run_id) if isinstance(row.event, ToolCalled)]


async def run(crew: Crew) -> tuple[Result, list[ToolCalled]]:
    try:
        result = await crew.akickoff()
        return result, calls(crew, result.run_id)
    finally:
        await crew.aclose()


WHAT = {
    "read": dict.fromkeys(DIALS, "done"),
    "write": {"shadow": "shadowed", "low": "waits", "medium": "done", "high": "done"},
    "external": {"shadow": "shadowed", "low": "waits", "medium": "waits", "high": "done"},
    "irreversible": {"shadow": "shadowed", "low": "denied", "medium": "waits", "high": "waits"},
    "unknown": dict.fromkeys(DIALS, "denied"),
}


@pytest.mark.parametrize("effect", WHAT)
@pytest.mark.parametrize("dial", DIALS)
async def test_each_dial_with_each_effect(make: Make, done: list[str], effect: str, dial: str) -> None:
    model = ScriptedModel([call(f"do.{effect}"), text("Finished.")])
    result, recorded = await run(make(model, {"autonomy": dial}))
    wanted = WHAT[effect][dial]
    assert bool(done) == (wanted == "done")
    if wanted == "waits":
        assert (result.status, result.code, recorded) == ("waiting", "approval", [])
        return
    [event] = recorded
    assert result.status == "succeeded" and event.status == {"done": "ok"}.get(wanted, wanted)
    assert event.error_class == ("forbidden" if wanted == "denied" else "")
    if effect != "unknown":
        assert (event.effect, event.version) == (effect, "1")


async def test_a_denial_names_the_rule(make: Make, done: list[str]) -> None:
    config = {"autonomy": "high", "rules": [{"tools": ["do.*"], "tier": "forbidden", "why": "Not on Sundays."}]}
    model = ScriptedModel([call("do.read"), text("Finished.")])
    _, [event] = await run(make(model, config))
    said = model.requests[1].messages[-1].content
    assert "nobody can approve it" in said and "config/governance.yaml): Not on Sundays." in said
    assert (event.status, event.tier) == ("denied", "forbidden") and not done


async def test_in_shadow_the_agent_is_told_that_nothing_was_done(make: Make, done: list[str]) -> None:
    steps = [
        together(call("do.write", what="a"), call("do.external", what="b"), call("do.read", what="c")),
        text("So."),
    ]
    model = ScriptedModel(steps)
    result, recorded = await run(make(model, {"autonomy": "high"}, autonomy="shadow"))
    assert done == ["read c"] and result.status == "succeeded"
    told = [message.content for message in model.requests[1].messages if message.role == "tool"]
    assert [text_.startswith("Recorded, NOT done") for text_ in told] == [True, True, False]
    assert not any(text_.startswith("Error") for text_ in told)
    assert [(event.tool, event.arguments) for event in recorded if event.status == "shadowed"] == [
        ("do.write", {"what": "a"}), ("do.external", {"what": "b"}),
    ]  # fmt: skip


async def test_in_shadow_the_record_says_what_the_dial_behind_it_would_have_done(make: Make, done: list[str]) -> None:
    steps = [together(call("do.write"), call("do.external"), call("do.irreversible")), text("So.")]
    for file, own, tiers in (
        ("medium", None, ["notify", "approve", "approve"]),
        ("shadow", None, ["notify", "approve", "approve"]),
        ("high", "medium", ["notify", "approve", "approve"]),
        ("high", "low", ["approve", "approve", "forbidden"]),
    ):
        crew = make(ScriptedModel(list(steps)), {"autonomy": file}, autonomy="shadow")
        crew.spec = crew.spec.model_copy(update={"autonomy": own})
        result = await crew.akickoff()
        events = [row.event for row in crew.store.events(result.run_id)]
        await crew.aclose()
        recorded = [event for event in events if isinstance(event, ToolCalled)]
        assert [event.tier for event in recorded] == tiers
        assert [event.status for event in recorded] == [
            "denied" if tier == "forbidden" else "shadowed" for tier in tiers
        ]
        proposals = [event.tier for event in events if isinstance(event, Proposed)]
        assert proposals == [tier for tier in tiers if tier != "forbidden"]
    assert not done


async def test_in_shadow_the_report_is_shown_and_not_written(make: Make, done: list[str], tmp_path: Path) -> None:
    model = ScriptedModel([text("The report.")])
    crew = make(model, {"autonomy": "shadow"}, task={"save_as": "report.md", "begin": [{"tool": "do.write"}]})
    result, recorded = await run(crew)
    assert (result.status, result.text, result.files) == ("succeeded", "The report.", ())
    assert [event.status for event in recorded] == ["shadowed", "shadowed"] and not done


async def test_the_loop_guard_sees_shadowed_calls_too(make: Make) -> None:
    model = ScriptedModel([*[call("do.write")] * 4, text("Enough.")])
    _, recorded = await run(make(model, {"autonomy": "shadow"}))
    assert [event.error_class for event in recorded][-1] == "repeated"


@pytest.mark.parametrize(
    ("file", "crew", "asked", "wanted"),
    [
        ("high", "low", "", "low"),
        ("low", "high", "", "low"),
        ("high", None, "shadow", "shadow"),
        ("high", None, "", "high"),
    ],
)
async def test_a_crew_can_lower_the_dial_and_never_raise_it(
    make: Make, file: str, crew: Any, asked: str, wanted: str
) -> None:
    ready = make(ScriptedModel([text("Yes.")]), {"autonomy": file}, autonomy=asked)
    ready.spec = ready.spec.model_copy(update={"autonomy": crew})
    try:
        result = await ready.akickoff()
        assert ready.store.run(result.run_id).spec["autonomy"] == wanted
    finally:
        await ready.aclose()


async def test_the_variable_lowers_the_dial_of_a_process(make: Make, done: list[str], monkeypatch: Any) -> None:
    monkeypatch.setenv("QUARTERDECK_AUTONOMY", "shadow")
    model = ScriptedModel([call("do.write"), text("So.")])
    _, [event] = await run(make(model, {"autonomy": "high"}))
    assert event.status == "shadowed" and not done


class Stop(Exception):
    """Ends a process in the middle of a run."""


def dies(*_: Any) -> Any:
    raise Stop


async def interrupted(crew: Crew) -> str:
    seen: list[Any] = []
    with pytest.raises(BaseException):  # noqa: B017
        await crew.akickoff(listener=seen.append)
    await crew.aclose()
    return str(next(event.run_id for event in seen if event.kind == "run.opened"))


async def test_a_run_that_began_in_shadow_is_never_resumed_out_of_it(make: Make, done: list[str]) -> None:
    config = {"autonomy": "high"}
    first = make(ScriptedModel([call("do.write", what="a"), lambda request: dies()]), config, autonomy="shadow")
    run_id = await interrupted(first)
    second = make(ScriptedModel([call("do.write", what="b"), text("So.")]), config)
    try:
        result = await second.aresume(run_id)
        recorded = calls(second, run_id)
    finally:
        await second.aclose()
    assert result.status == "succeeded" and not done
    assert [event.status for event in recorded] == ["shadowed", "shadowed"]


@pytest.mark.parametrize(
    ("before", "after", "statuses"),
    [
        ("high", "low", ["ok"]),  # done is done: nobody is asked about it again
        ("high", "shadow", ["ok"]),
        ("high", {"rules": [{"tier": "forbidden"}]}, ["ok"]),
        ({"rules": [{"tier": "forbidden"}]}, "high", ["denied"]),  # denied then, so the agent has gone another way
    ],
)
async def test_what_was_done_or_denied_stays_so_whatever_the_file_says_later(
    make: Make, done: list[str], before: Any, after: Any, statuses: list[str]
) -> None:
    def config(of: Any) -> dict[str, Any]:
        return {"autonomy": of} if isinstance(of, str) else {"autonomy": "high", **of}

    run_id = await interrupted(make(ScriptedModel([call("do.write"), lambda request: dies()]), config(before)))
    made = list(done)
    second = make(ScriptedModel([text("So.")]), config(after))
    try:
        result = await second.aresume(run_id)
        recorded = calls(second, run_id)
    finally:
        await second.aclose()
    assert result.status == "succeeded" and done == made
    assert [event.status for event in recorded] == statuses


class TestTrials:
    CONFIG: ClassVar[dict[str, Any]] = {"autonomy": "high", "trial": {"verified_calls": 2}}

    async def once(self, make: Make, version: str = "1", **more: Any) -> tuple[str, list[str]]:
        model = ScriptedModel([call("do.write"), call("do.read"), text("So.")])
        _, recorded = await run(make(model, self.CONFIG, version=version, **more))
        return model.requests[1].messages[-1].content, [event.status for event in recorded]

    async def test_a_new_tool_acts_once_a_person_has_agreed_often_enough(self, make: Make, done: list[str]) -> None:
        for agreed in range(2):
            said, statuses = await self.once(make)
            assert statuses == ["shadowed", "ok"] and f"agree to {2 - agreed} more" in said
            crew = make(ScriptedModel([]), self.CONFIG)
            assert await trials.agree(crew.store, "do.write", "1", agreed) == agreed + 1
            await crew.aclose()
        assert not [what for what in done if what.startswith("write")]
        _, statuses = await self.once(make)
        assert statuses == ["ok", "ok"] and "write it" in done

    async def test_a_tool_that_comes_with_quarterdeck_is_not_new(self, tmp_path: Path) -> None:
        box = Toolbox.load([starter() / "tools"], display_root=starter())
        (tmp_path / "own.py").write_text((starter() / "tools" / "output.py").read_text())
        own = Toolbox.load([tmp_path], display_root=tmp_path)
        assert comes_along(box["output.write"]) and not comes_along(own["own.write"])
        context: Any = None  # nothing is asked of the journal
        assert await trials.Trials(3).left(box["output.write"], context) == 0

    async def test_a_new_version_begins_anew(self, make: Make) -> None:
        for agreed in range(2):
            await self.once(make)
            crew = make(ScriptedModel([]), self.CONFIG)
            await trials.agree(crew.store, "do.write", "1", agreed)
            await crew.aclose()
        _, statuses = await self.once(make, version="2")
        assert statuses == ["shadowed", "ok"]

    async def test_each_call_is_agreed_to_once(self, make: Make) -> None:
        await self.once(make)
        crew = make(ScriptedModel([]), self.CONFIG)
        store = crew.store
        [tried] = trials.calls_of(store, "do.write", "1")
        assert (tried.arguments, tried.status, tried.path) == ({}, "shadowed", "do/turn-1/tool-1")
        assert trials.calls_of(store, "do.write", "2") == trials.calls_of(store, "do.wr_te", "1") == []
        await trials.agree(store, "do.write", "1", 0)
        with pytest.raises(QuarterdeckError, match=r"no call of do\.write@1") as nothing:
            await trials.agree(store, "do.write", "1", 1)
        await self.once(make)
        with pytest.raises(QuarterdeckError) as twice:
            await trials.agree(store, "do.write", "1", 0)
        assert (nothing.value.code, twice.value.code) == ("nothing_to_agree", "agreed_already")
        assert trials.agreed(store, ["do.write@1", "x@1"]) == {"do.write@1": 1, "x@1": 0}
        await crew.aclose()

    async def test_what_was_changed_in_the_journal_is_told(self, make: Make, tmp_path: Path) -> None:
        import sqlite3
        from contextlib import closing

        await self.once(make)
        with closing(sqlite3.connect(tmp_path / "journal.db")) as base, base:
            [(body,)] = base.execute(
                "SELECT body FROM events WHERE kind = 'tool.called' AND body LIKE '%do.write%'"
            ).fetchall()
            changed = {**json.loads(body), "arguments": None}
            del changed["status"]
            base.execute(
                "UPDATE events SET body = ? WHERE body = ?", (json.dumps(changed, separators=(",", ":")), body)
            )
        crew = make(ScriptedModel([]), self.CONFIG)
        with pytest.raises(JournalError, match="quarterdeck audit verify"):
            trials.calls_of(crew.store, "do.write", "1")
        await crew.aclose()
