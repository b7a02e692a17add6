from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest

from quarterdeck.errors import SpecError
from quarterdeck.spec.crewai_format import Imported, load_crewai
from quarterdeck.spec.crewai_keys import AGENT, CREW, TASK
from quarterdeck.spec.load import load_crew
from quarterdeck.spec.workspace import Workspace

AGENT_YAML = """\
researcher:
  role: >
    {topic} Researcher
  goal: Find out
  backstory: Seasoned
  llm: gpt-4o
  max_iter: 7
  verbose: true
  tools: [search.web]
"""
TASKS_YAML = """\
research_task:
  description: >
    Research {topic} in {current_year}
  expected_output: A list
  agent: researcher
report_task:
  description: Write
  expected_output: A report
  agent: researcher
  context: [research_task]
  output_file: out/{topic}.md
  async_execution: false
"""


def load(workspace: Workspace, folder: Path) -> Imported:
    return load_crewai(folder, workspace)


def wrong(workspace: Workspace, path: Path) -> str:
    with pytest.raises(SpecError) as caught:
        load_crewai(path, workspace)
    return str(caught.value)


def yaml_project(root: Path, agents: str = AGENT_YAML, tasks: str = TASKS_YAML, config: str = "src/my/config") -> Path:
    folder = root / "my-project" / config
    folder.mkdir(parents=True)
    (folder / "agents.yaml").write_text(agents)
    (folder / "tasks.yaml").write_text(tasks)
    return root / "my-project"


@pytest.mark.parametrize("config", [".", "config", "src/my/config"])
def test_agents_and_tasks_yaml(workspace: Workspace, config: str) -> None:
    project = yaml_project(workspace.root, config=config)
    crew, notes = (imported := load(workspace, project)).crew, imported.notes
    assert (crew.crew, crew.process) == ("my-project", "sequential")
    agent = crew.agents["researcher"]
    assert (agent.role, agent.model, agent.max_turns) == ("{topic} Researcher", "openai/gpt-4o", 7)
    assert agent.tools == ("search.web",)
    assert sorted(crew.inputs) == ["current_year", "topic"]
    assert crew.tasks["report_task"].context == ("research_task",)
    assert crew.tasks["report_task"].save_as == "topic_.md"
    assert any("verbose has no effect" in note for note in notes)
    assert load_crew(str(project), workspace) == crew


def test_mistakes_stand_at_their_file_and_line(workspace: Workspace) -> None:
    agents = AGENT_YAML.replace("max_iter: 7", "max_itr: 7").replace("verbose: true", "allow_code_execution: true")
    tasks = TASKS_YAML.replace("[research_task]", "[reserch_task]").replace(
        "async_execution: false", "human_input: true"
    )
    project = yaml_project(workspace.root, agents, tasks.replace("agent: researcher", "agent: resercher", 1))
    base = "my-project/src/my/config"
    assert wrong(workspace, project).splitlines() == [
        f'{base}/agents.yaml:7:3  researcher: unknown key "max_itr"; did you mean "max_iter"?',
        f"{base}/agents.yaml:8:3  researcher.allow_code_execution: agents run no code of their own; give them a tool",
        f'{base}/tasks.yaml:5:3  research_task.agent: no agent "resercher" in this crew; did you mean "researcher"?',
        f'{base}/tasks.yaml:10:13  report_task.context.0: no task "reserch_task" in this crew;'
        ' did you mean "research_task"?',
        f"{base}/tasks.yaml:12:3  report_task.human_input: no task waits at a console;"
        " declare an approval in a Quarterdeck crew",
    ]


def test_unknown_tools_are_told(workspace: Workspace) -> None:
    project = yaml_project(workspace.root)
    with pytest.raises(SpecError, match=r'no tool "search\.web"'):
        load_crewai(project, workspace, known_tools=["documents.search"])


def test_folders_that_are_no_project(workspace: Workspace) -> None:
    (workspace.root / "none").mkdir()
    assert "no CrewAI project" in wrong(workspace, workspace.root / "none")
    project = yaml_project(workspace.root)
    (project / "src/my/config/tasks.yaml").rename(project / "tasks.yaml")
    assert "there is no tasks.yaml beside it" in wrong(workspace, project)
    (project / "src/other/config").mkdir(parents=True)
    (project / "src/other/config/agents.yaml").write_text("")
    assert "several CrewAI crews" in wrong(workspace, project)


CREW_JSONC = """\
{
  // a comment
  "name": "My Crew",
  "agents": ["researcher", "writer"],
  "tasks": [
    {"name": "Find Out", "description": "About {topic} {n}", "expected_output": "e", "agent": "researcher"},
    {"description": "Write", "expected_output": "e", "agent": "writer", "context": ["Find Out"],
     "tools": ["custom:pen"]},
  ],
  "process": "PROCESS",
  "memory": true, "planning": false, "before_kickoff_callbacks": [],
  "inputs": {"topic": "wind", "n": 3}
}
"""


def json_project(root: Path, text: str = CREW_JSONC, **agent: object) -> Path:
    folder = root / "jsoncrew"
    (folder / "agents").mkdir(parents=True)
    (folder / "crew.jsonc").write_text(text.replace("PROCESS", "sequential"))
    for name in ("researcher", "writer", "boss"):
        data = {"role": name, "goal": "g", "backstory": "b", "tools": [], "settings": {"max_iter": 5}, **agent}
        (folder / "agents" / f"{name}.jsonc").write_text(json.dumps(data))
    return folder


def test_crew_jsonc(workspace: Workspace) -> None:
    imported = load(workspace, json_project(workspace.root))
    crew = imported.crew
    assert crew.crew == "My_Crew"
    assert list(crew.tasks) == ["Find_Out", "task_2"]
    assert crew.tasks["task_2"].context == ("Find_Out",)
    assert crew.tasks["task_2"].tools == crew.agents["writer"].tools == ("pen",)
    assert crew.agents["researcher"].max_turns == 5
    assert crew.inputs["topic"].default == "wind"
    assert (crew.inputs["n"].type, crew.inputs["n"].default) == ("integer", 3)
    assert imported.notes == ("jsoncrew/crew.jsonc: memory has no effect here",)


def test_a_hierarchical_crew_with_its_own_manager(workspace: Workspace) -> None:
    text = CREW_JSONC.replace('"PROCESS"', '"hierarchical", "manager_agent": "boss"')
    crew = load(workspace, json_project(workspace.root, text)).crew
    assert crew.hierarchical is not None
    assert (crew.hierarchical.manager, crew.hierarchical.workers) == ("boss", ("researcher", "writer"))
    assert crew.tasks["Find_Out"].agent is None


def test_a_hierarchical_crew_with_a_manager_model(workspace: Workspace) -> None:
    text = CREW_JSONC.replace('"PROCESS"', '"hierarchical", "manager_llm": "claude-sonnet-4-5"')
    crew = load(workspace, json_project(workspace.root, text)).crew
    assert crew.agents["manager"].model == "anthropic/claude-sonnet-4-5"
    assert crew.agents["manager"].role == "Manager"


def test_json_mistakes(workspace: Workspace) -> None:
    text = CREW_JSONC.replace('"writer"]', '"riter", "../x"]').replace(
        '"memory": true', '"prompt_file": "x", "memry": 1'
    )
    found = wrong(workspace, json_project(workspace.root, text, multimodal=True, llm={"model": "m"}))
    for what in (
        "crew.jsonc:4:28  agents.1: no file agents/riter.jsonc or agents/riter.json",
        "agents.2: must be the name of a file in agents/",
        "prompt_file: prompts are not replaced",
        'unknown key "memry"; did you mean "memory"?',
        'tasks.1.agent: no agent "writer" in this crew; did you mean "riter"?',
        "agents/researcher.jsonc:1:97  multimodal: images are not read",
        "llm: declare this model in config/models.yaml",
    ):
        assert what in found


def test_crewais_own_template_loads_unchanged(workspace: Workspace) -> None:
    spec = importlib.util.find_spec("crewai_cli")
    assert spec is not None and spec.submodule_search_locations
    template = Path(next(iter(spec.submodule_search_locations))) / "templates" / "crew" / "config"
    crew = load(workspace, template).crew
    assert list(crew.agents) == ["researcher", "reporting_analyst"]
    assert list(crew.tasks) == ["research_task", "reporting_task"]
    assert sorted(crew.inputs) == ["current_year", "topic"]


@pytest.mark.parametrize("keys", [AGENT, TASK, CREW])
def test_a_key_has_one_meaning(keys: object) -> None:
    assert keys in (AGENT, TASK, CREW)
    for kind in (AGENT, TASK, CREW):
        assert len(kind.known) == len(kind.taken) + len(kind.harmless) + len(kind.refused)
