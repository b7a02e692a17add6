"""Both ways between us and CrewAI: our member in its crew, its crew in our engine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from quarterdeck.engine.crew import Crew
from quarterdeck.engine.member import crewai_classes
from quarterdeck.errors import SpecError
from quarterdeck.spec.governance import GovernanceConfig, ToolClass
from quarterdeck.spec.workspace import Workspace
from quarterdeck.testing import ScriptedModel, answer, call, text
from quarterdeck.testing.catalog import ScriptedCatalog
from quarterdeck.tools.signature import tool_from_crewai

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # CrewAI deprecates what its own code uses


class Report(BaseModel):
    title: str


@pytest.fixture
def crewai() -> Any:
    crewai_classes()
    import crewai

    return crewai


def agents_of(crewai: Any, **more: Any) -> Any:
    return crewai.Agent(role="Clerk", goal="Be right.", backstory="You are careful.", llm="openai/gpt-4o-mini", **more)


def test_a_member_works_in_a_plain_crewai_crew(crewai: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    model = ScriptedModel([text("Two ships."), text("Two ships came.")])
    member = crewai_classes().member(
        role="Clerk", goal="Be right.", backstory="You are careful.",
        catalog=ScriptedCatalog(model), database_url=f"sqlite:///{tmp_path}/j.db",
    )  # fmt: skip
    count = crewai.Task(description="Count.", expected_output="A number.", agent=member)
    report = crewai.Task(description="Report.", expected_output="A sentence.", agent=member)
    output = crewai.Crew(agents=[member], tasks=[count, report], verbose=False).kickoff()
    assert output.raw == "Two ships came."
    assert "Two ships." in model.requests[1].messages[1].content


def test_a_crewai_crew_runs_on_our_engine(crewai: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "unused")
    from crewai.tools import BaseTool

    class Lookup(BaseTool):  # type: ignore[misc]
        name: str = "lookup"
        description: str = "Look a word up and return what it means."

        def _run(self, word: str) -> str:
            return f"{word} is a word"

    seen: list[str] = []

    # without annotations: CrewAI reads them as objects, and here they are text
    def polite(output):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
        seen.append(output.raw)
        return "please" in output.raw, "Say please."

    agent = agents_of(crewai, tools=[Lookup()])
    first = crewai.Task(
        description="Explain {word}.", expected_output="Text.", agent=agent, guardrail=polite, name="explain"
    )
    second = crewai.Task(description="Title it.", expected_output="A title.", agent=agent, output_pydantic=Report)
    taken = Crew.from_crewai(
        crewai.Crew(agents=[agent], tasks=[first, second]),
        workspace=Workspace(tmp_path),
        database_url=f"sqlite:///{tmp_path}/j.db",
        governance=GovernanceConfig(tools={"lookup": ToolClass(effect="read", owner="tests", sinks={})}),
        catalog=ScriptedCatalog(
            model := ScriptedModel(
                [call("lookup", word="buoy"), text("A buoy."), text("A buoy, please."), answer({"title": "Buoys"})]
            )
        ),
    )
    result = taken.kickoff({"word": "buoy"})
    assert result.status == "succeeded" and result.output == Report(title="Buoys")
    assert seen == ["A buoy.", "A buoy, please."]
    assert model.requests[1].messages[-1].content == "buoy is a word"
    assert taken.spec.agents["clerk"].model == "openai/gpt-4o-mini"


def test_what_would_wait_at_a_console_is_refused(crewai: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "unused")
    agent = agents_of(crewai)
    task = crewai.Task(description="Ask.", expected_output="Text.", agent=agent, human_input=True)
    with pytest.raises(SpecError, match="human_input"):
        Crew.from_crewai(crewai.Crew(agents=[agent], tasks=[task]))


def test_its_tools_are_external_until_somebody_says_otherwise(crewai: Any) -> None:
    from crewai.tools import BaseTool

    class Post(BaseTool):  # type: ignore[misc]
        name: str = "post"
        description: str = "Post a message."

        def _run(self, to: str) -> str:
            return to

    manifest = tool_from_crewai(Post()).manifest
    assert (manifest.effect, manifest.owner, manifest.sinks, manifest.trusted) == ("external", "crewai", None, False)
