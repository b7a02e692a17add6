"""A name alone runs nothing: a tool's file is imported for whoever may use it, and for nobody else."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, get_args

import pytest

from quarterdeck.engine.crew import Crew
from quarterdeck.engine.result import Result
from quarterdeck.governance.policy import Classified, Policy
from quarterdeck.governance.queue import answer, questions
from quarterdeck.governance.result import ToolResult
from quarterdeck.governance.stages import Exists, Found, Granted
from quarterdeck.journal.events import ToolCalled
from quarterdeck.spec.crew import Autonomy, CrewSpec
from quarterdeck.spec.governance import GovernanceConfig
from quarterdeck.spec.workspace import Workspace
from quarterdeck.testing import ScriptedModel, call, text
from quarterdeck.testing.catalog import ScriptedCatalog
from quarterdeck.tools.loading import Toolbox

TOOL = '''
from pathlib import Path

from quarterdeck import tool

Path({mark!r}).write_text("imported")
{more}

@tool(effect="external", owner="tests", sinks={{}})
def deploy(what: str) -> str:
    """Deploy.

    Args:
        what: What.
    """
    return "deployed"
'''
DIALS: tuple[Autonomy, ...] = get_args(Autonomy)


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    (tmp_path / "tools").mkdir()
    for name, more in (("ops", ""), ("bad", "import nothing_such"), ("left", "raise SystemExit(3)")):
        source = TOOL.format(mark=str(tmp_path / f"{name}.mark"), more=more)
        (tmp_path / "tools" / f"{name}.py").write_text(source)
    return tmp_path


def marks(workspace: Path) -> list[str]:
    return sorted(file.stem for file in workspace.glob("*.mark"))


async def run(workspace: Path, names: list[str], granted: str, dial: Autonomy) -> tuple[Result, list[Any]]:
    """Run a crew whose agent proposes calls; answer what is asked, and go on in another process."""
    agent = {"role": "Clerk", "goal": "Be right.", "backstory": "You are careful.", "tools": (granted,)}
    task = {"agent": "clerk", "description": "Answer.", "expected_output": "Text."}
    spec = CrewSpec.model_validate({"crew": "c", "agents": {"clerk": agent}, "tasks": {"work": task}})
    script = [*(call(name, what="x") for name in names), text("Done.")]
    run_id = ""
    while True:
        left = script[len(names) :] if run_id else script
        crew = Crew(
            spec, workspace=Workspace(workspace), database_url=f"sqlite:///{workspace}/journal.db",
            catalog=ScriptedCatalog(ScriptedModel(left if names else [])), governance=GovernanceConfig(autonomy=dial),
        )  # fmt: skip
        result = await (crew.aresume(run_id) if run_id else crew.akickoff())
        run_id = result.run_id
        if result.status != "waiting":
            calls = [row.event for row in crew.store.events(run_id) if isinstance(row.event, ToolCalled)]
            await crew.aclose()
            return result, calls
        for item in questions(crew.store):
            await answer(crew.store, item, "approved", by="ann")
        await crew.aclose()


@pytest.mark.parametrize("dial", DIALS)
async def test_a_name_that_is_not_granted_imports_nothing_and_ends_nothing(workspace: Path, dial: Autonomy) -> None:
    names = ["ops.deploy", "bad.deploy", "left.deploy", "ops.deploy@1", "no.such"]
    result, calls = await run(workspace, names, "calculator.compute", dial)
    assert (result.status, marks(workspace)) == ("succeeded", [])
    said = [(event.status, event.error_class) for event in calls]
    assert said[:3] == [("denied", "not_granted")] * 3 and {status for status, _ in said} == {"denied"}


async def test_nor_when_the_run_goes_on_in_another_process(workspace: Path) -> None:
    """What was denied stands in the journal, which is read again."""
    (workspace / "tools" / "own.py").write_text(TOOL.format(mark=str(workspace / "own.mark"), more=""))
    result, calls = await run(workspace, ["ops.deploy", "bad.deploy", "own.deploy"], "own.deploy", "medium")
    assert (result.status, marks(workspace)) == ("succeeded", ["own"])
    assert [event.status for event in calls] == ["denied", "denied", "ok"]


async def test_a_granted_tool_that_cannot_be_imported_is_found_before_anything_is_done(workspace: Path) -> None:
    result, calls = await run(workspace, [], "bad.deploy", "high")
    assert (result.status, result.code, calls) == ("failed", "invalid", []) and "nothing_such" in str(result.evidence)


@pytest.mark.parametrize(("name", "why"), [("bad.deploy", "nothing_such"), ("left.deploy", "SystemExit")])
def test_where_it_is_found_only_by_the_gate_it_is_a_result(workspace: Path, name: str, why: str) -> None:
    from quarterdeck.governance.call import ToolCall

    box = Toolbox.load([workspace / "tools"], display_root=workspace)
    tools = Classified(box, Policy(GovernanceConfig()))
    context: Any = None
    reached: list[str] = []

    async def last(one: ToolCall, context: Any) -> ToolResult:
        return await Found(tools)(one, context, beyond)

    async def beyond(one: ToolCall, context: Any) -> ToolResult:
        reached.append(one.name)
        return ToolResult("ok", "")

    async def through(granted: frozenset[str]) -> ToolResult:
        async def middle(one: ToolCall, context: Any) -> ToolResult:
            return await Granted(lambda _: granted)(one, context, last)

        return await Exists(tools, lambda _: granted)(ToolCall(name, {}, "", ""), context, middle)

    assert asyncio.run(through(frozenset())).error_class == "not_granted" and marks(workspace) == []
    result = asyncio.run(through(frozenset({name})))
    assert (result.status, result.error_class, reached) == ("denied", "not_loaded", [])
    assert name in result.value and why in result.value and f"tools/{name.partition('.')[0]}.py:" in result.value
