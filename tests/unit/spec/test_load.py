from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from quarterdeck.errors import InputError, SpecError
from quarterdeck.spec.check import check_workspace
from quarterdeck.spec.load import load_crew, load_models
from quarterdeck.spec.workspace import Workspace, starter

Problems = Callable[..., list[str]]

SOUND = """\
crew: x
inputs:
  topic: {description: What.}
agents:
  one: {use: researcher, goal: Mine., tools: [documents.search]}
tasks:
  first:
    agent: one
    description: About {topic}.
    expected_output: Facts.
    output: {facts: [string], done?: boolean}
"""


def test_a_sound_crew_takes_its_role_over_and_overrides_it(workspace: Workspace, problems: Problems) -> None:
    assert problems(SOUND, ["documents.search"]) == []
    agent = load_crew("x", workspace).agents["one"]
    assert (agent.role, agent.goal, agent.tools) == ("Researcher", "Mine.", ("documents.search",))
    assert agent.backstory


def test_all_mistakes_are_told_at_once_where_they_stand(problems: Problems) -> None:
    text = """\
crew: x
process: sequental
agents:
  researcher: {use: reseacher, tools: [documents.serch]}
  critic: {role: 5, goal: "{topc}", backstory: ok, model: chep, temprature: 1}
  bad name: {}
  five: 5
inputs: {topic: {default: 3}}
report: fin
tasks:
  gather:
    agent: reseacher
    description: find {topic}
  review:
    agent: critic
    max_itr: 3
    description: d
    expected_output: e
    needs: [final]
  final: {max_turns: 1.5, agent: critic, description: d, expected_output: e}
limits: {usd: -1, seconds: soon}
"""
    assert problems(text, ["documents.search"]) == [
        '2:1  process: must be one of sequential, graph, hierarchical, not "sequental"; did you mean "sequential"?',
        '4:16  agents.researcher.use: no role "reseacher" in roles/; did you mean "researcher"?',
        '4:40  agents.researcher.tools.0: no tool "documents.serch"; did you mean "documents.search"?',
        "5:12  agents.critic.role: must be text, not 5; put it in quotes",
        '5:21  agents.critic.goal: {topc} names no input; did you mean "topic"?',
        '5:52  agents.critic.model: no group or model "chep"; did you mean "cheap"?',
        '5:65  agents.critic: unknown key "temprature"; did you mean "temperature"?',
        '6:3  agents: "bad name" is not a name: a letter, then at most 63 letters, digits, _ or -',
        "7:3  agents.five: must be a mapping, not 5",
        '8:18  inputs.topic.default: the default of a string cannot be "3"; put it in quotes',
        '9:1  report: no task "fin" in this crew; did you mean "final"?',
        "11:3  tasks.gather.expected_output: missing; say what a good result looks like",
        '12:5  tasks.gather.agent: no agent "reseacher" in this crew; did you mean "researcher"?',
        '16:5  tasks.review: unknown key "max_itr"; did you mean "max_turns"?',
        '19:13  tasks.review.needs.0: task "final" comes later in a sequential crew; move it above this one',
        "20:11  tasks.final.max_turns: must be a whole number, not 1.5",
        "21:10  limits.usd: must be at least 0, not -1",
        '21:19  limits.seconds: must be a number, not "soon"',
    ]


@pytest.mark.parametrize("text", ["", "- a\n", "just text", "crew: x\nagents: 5\ntasks: [a]\n", "crew: x\n"])
def test_files_that_are_no_crew(problems: Problems, text: str) -> None:
    assert problems(text)


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("max_iter: 3", 'unknown key "max_iter"; did you mean "max_turns"?'),
        ("depends_on: []", 'unknown key "depends_on"; did you mean "needs"?'),
        ("loop: {until: done}", "loop.back_to: missing"),
        ("when: 5", "when: must be text, not 5; put it in quotes"),
        ("context: first", 'context: must be a list such as [a, b], not "first"'),
        ("save_as: ../x", "is not a file name such as report.md"),
        ("needs:", "needs: is empty; fill it in or leave the key out"),
        ("begin: [{}]", "begin.0.tool: missing"),
    ],
)
def test_what_is_wrong_is_said_in_words(problems: Problems, line: str, what: str) -> None:
    found = problems(SOUND + f"    {line}\n")
    assert len(found) == 1
    assert what in found[0]
    assert found[0].startswith("12:")


def test_a_mistake_in_a_role_is_told_at_the_role_and_once(workspace: Workspace, problems: Problems) -> None:
    (workspace.root / "roles").mkdir()
    (workspace.root / "roles" / "researcher.yaml").write_text("role: R\nbackstory: b\nmax_turns: many\nlevel: 3\n")
    (workspace.root / "crews" / "y.yaml").write_text(SOUND.replace("goal: Mine., ", ""))
    with pytest.raises(SpecError) as caught:
        load_crew("y", workspace)
    expected = [
        "roles/researcher.yaml:1:1  goal: missing; say in one sentence what this role is after",
        'roles/researcher.yaml:3:1  max_turns: must be a whole number, not "many"',
        'roles/researcher.yaml:4:1  unknown key "level"',
    ]
    assert [str(problem) for problem in caught.value.problems] == expected
    assert [str(problem) for problem in check_workspace(workspace)] == expected


def test_a_broken_file_is_a_problem_too(workspace: Workspace) -> None:
    (workspace.root / "crews" / "x.yaml").write_text("a: [")
    (workspace.root / "config").mkdir()
    (workspace.root / "config" / "models.yaml").write_text(
        "default: cheep\ngroups: {cheap: [locl]}\nmodels: {local: {}}"
    )
    assert [problem.file for problem in check_workspace(workspace)] == ["config/models.yaml"] * 2 + ["crews/x.yaml"]


def test_an_unknown_crew(workspace: Workspace) -> None:
    with pytest.raises(InputError, match="The crews here are"):
        load_crew("nothing", workspace)


def test_nothing_depends_on_the_current_folder(
    workspace: Workspace, problems: Problems, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert problems(SOUND) == []
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    assert load_crew("x", workspace).crew == "x"


def test_what_comes_with_quarterdeck_is_sound() -> None:
    workspace = Workspace(starter())
    problems = check_workspace(workspace)
    assert [str(problem) for problem in problems] == []
    assert {"researcher", "critic", "writer", "manager", "editor"} <= set(workspace.role_names())
    models = load_models(workspace)
    assert models.groups["cheap"].models[-1] == "local"
    assert models.models["local"].weights == "qwen2.5-coder-1.5b"


def test_models_file_mistakes(workspace: Workspace) -> None:
    (workspace.root / "config").mkdir()
    (workspace.root / "config" / "models.yaml").write_text(
        "default: cheap\n"
        "groups: {cheap: [openai/gpt-4o, locl], none: []}\n"
        "models:\n"
        "  local: {provider: embeded, weights: w}\n"
        "  openai/mine: {api_base: ftp://x, api_key_env: sk-1, price: {input: 1}, context: 8}\n"
    )
    with pytest.raises(SpecError) as caught:
        load_models(workspace)
    assert [f"{p.line}:{p.where}" for p in caught.value.problems] == [
        "2:groups.cheap.1",
        "2:groups.none",
        "4:models.local.provider",
        "5:models.openai/mine.api_base",
        "5:models.openai/mine.api_key_env",
        "5:models.openai/mine.price.output",
        "5:models.openai/mine.context",
    ]


def test_without_a_models_file_there_is_the_embedded_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("quarterdeck.spec.workspace.starter", lambda: tmp_path)
    assert load_models(Workspace(tmp_path)).models["local"].provider == "embedded"


def test_checking_imports_no_vendor_and_runs_no_tool(workspace: Workspace, problems: Problems) -> None:
    assert problems(SOUND + "    guardrails: [tools/checks.py:verbatim]\n") == []
    code = (
        "import sys; from pathlib import Path; from quarterdeck.spec.check import check_workspace;"
        "from quarterdeck.spec.workspace import Workspace;"
        f"assert check_workspace(Workspace(Path({str(workspace.root)!r}))) == [];"
        "heavy = {'crewai', 'litellm', 'xllamacpp', 'jsonschema', 'json5', 'sqlalchemy'};"
        "print(sorted(heavy & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
