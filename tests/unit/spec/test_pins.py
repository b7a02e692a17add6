"""Pins: which names always mean the same model, by many real names."""

from __future__ import annotations

from pathlib import Path

import pytest

from quarterdeck.errors import InputError, SpecError
from quarterdeck.spec.check import check_workspace
from quarterdeck.spec.load import load_crew
from quarterdeck.spec.models import ModelsConfig
from quarterdeck.spec.pins import has_version, in_production, is_pinned
from quarterdeck.spec.workspace import Workspace

PINNED = """
gpt-4o-mini-2024-07-18 openai/gpt-4.1-2025-04-14 gpt-4-0613 gpt-4-32k-0613 gpt-4-1106-preview gpt-4-0125-preview
gpt-3.5-turbo-0125 gpt-35-turbo-16k-0613 o1-2024-12-17 azure/us/gpt-4o-2024-08-06 gpt-4o-mini-2024-07-18:batch
ft:gpt-4o-mini-2024-07-18 ft:gpt-3.5-turbo-0613 davinci-002
anthropic/claude-haiku-4-5-20251001 claude-3-5-sonnet-20241022 claude-opus-4-6-20260205
vertex_ai/claude-3-5-sonnet@20240620 vertex_ai/codestral-2@001 mistral-large@2411-001 jamba-1.5-mini@001
codestral@2405 mistral-small-2503@001
bedrock/anthropic.claude-3-5-sonnet-20241022-v2:0 us.anthropic.claude-opus-4-20250514-v1:0 anthropic.claude-v2:1
amazon.nova-pro-v1:0 amazon.titan-text-express-v1 ai21.jamba-1-5-large-v1:0 us.meta.llama3-3-70b-instruct-v1:0
us-gov.openai.gpt-oss-120b-1:0 mistral.mistral-7b-instruct-v0:2 eu.anthropic.claude-opus-4-6-v1 us.deepseek.r1-v1:0
bedrock/us-east-1/anthropic.claude-3-haiku-20240307-v1:0 anthropic.claude-3-sonnet-20240229-v1:0:200k
mistral/mistral-large-2411 mistral/codestral-2501 mistral-nemo-instruct-2407 ministral-8b-2512:batch
cohere/command-r-08-2024 command-a-03-2025 command-r7b-12-2024
gemini/gemini-1.5-pro-002 gemini-2.5-flash-preview-09-2025 gemini-2.5-pro-preview-05-06 gemini-exp-1206
deepseek/deepseek-r1-0528 DeepSeek-V3-0324 kimi-k2-0905 Qwen3-235B-A22B-Instruct-2507 grok-4.20-0309
qwen-plus-2025-07-28 qwen3.5-flash-02-23 doubao-seed-2-0-pro-260215 glm-4-7-251222 kimi-k2-thinking-251104
openchat-3p5-0106-7b olmOCR-7B-0725-FP8
replicate/meta/llama-2-70b-chat:02e509c789964a7ea8736978a43525956ef40397be9033abf9fd2badfe68c9e3
""".split()
ALIASES = """
gpt-4o openai/gpt-4o-mini gpt-4.1 gpt-5 o1 o3-mini chatgpt-4o-latest gpt-4-turbo gpt-4-turbo-preview gpt-3.5-turbo-16k
claude-3-5-sonnet-latest claude-sonnet-4-5 anthropic/claude-opus-4-8 claude-3-haiku claude-sonnet-4.5
claude-opus-5@default vertex_ai/claude-sonnet-4-5@default codestral@latest mistral-large@latest
anthropic.claude-haiku-4-5 us.anthropic.claude-sonnet-5 mistral-large-latest codestral-latest command-r command-nightly
gemini-2.5-pro gemini-flash-latest gemini-1.5-pro grok-4 grok-4.20-beta-latest-reasoning deepseek-chat deepseek-v3.2
moonshot-v1-128k moonshot-v1-8k-vision-preview llama3:8b llama2:70b ollama/llama3.1 gpt-oss:120b-cloud
Llama-3.1-405B-Instruct phi-3-mini-128k-instruct qwen2p5-coder-32b-instruct-128k granite-ttm-1024-96-r2
qwen3-1p7b-fp8-draft-131072 mixtral-8x7b-instruct azure/our-deployment openai/our-model minimax-01 2024-gpt
claude-3-5-sonnet-20249999 gpt-4o-2024-13-45 model-v1 o3-mini-high deepseek-v3.1:671b-cloud qwen3.8-27b:free
""".split()


@pytest.mark.parametrize("name", PINNED)
def test_a_name_with_a_date_a_number_or_a_hash_is_pinned(name: str) -> None:
    assert has_version(name)


@pytest.mark.parametrize("name", ALIASES)
def test_a_name_that_can_change_its_meaning_is_not(name: str) -> None:
    assert not has_version(name)


def test_a_declared_and_an_embedded_model_are_pinned() -> None:
    config = ModelsConfig.model_validate({
        "default": "ours",
        "models": {
            "ours": {"pinned": True, "api_base": "http://127.0.0.1:1"}, "theirs": {"api_base": "http://127.0.0.1:1"},
            "local": {"provider": "embedded"},
        },
    })  # fmt: skip
    assert [is_pinned(name, config) for name in ("ours", "theirs", "local", "openai/gpt-4o")] == [
        True, False, True, False
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("profile", "variable", "production"),
    [("development", "", False), ("production", "", True), ("development", "production", True),
     ("production", "development", False), ("production", " ", True)],
)  # fmt: skip
def test_the_environment_wins(profile: str, variable: str, production: bool) -> None:
    config = ModelsConfig.model_validate({"default": "a/b", "profile": profile})
    assert in_production(config, {"QUARTERDECK_PROFILE": variable}) is production


def test_a_profile_that_there_is_not_is_no_development() -> None:
    with pytest.raises(InputError, match='"prod"; it can be development or production'):
        in_production(ModelsConfig(default="a/b"), {"QUARTERDECK_PROFILE": "prod"})


MODELS = """\
default: openai/gpt-4o
profile: production
groups:
  cheap: [openai/gpt-4o-mini-2024-07-18, openai/gpt-4o-mini, ours]
  expensive:
    models: [anthropic/claude-sonnet-4-5]
    fallback: [cheap]
models:
  ours: {api_base: "http://127.0.0.1:1", pinned: true}
"""
CREW = """\
crew: x
agents:
  a: {role: r, goal: g, backstory: b, model: openai/gpt-4o}
tasks:
  t: {agent: a, description: d, expected_output: e, model: cheap}
  u: {agent: a, description: d, expected_output: e, model: mistral/mistral-large-latest}
"""


def test_validate_finds_each_alias_in_production(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    (workspace.root / "config").mkdir()
    Path(workspace.root / "config" / "models.yaml").write_text(MODELS)
    (workspace.root / "crews" / "x.yaml").write_text(CREW)
    found = [(problem.file, problem.line, problem.where) for problem in check_workspace(workspace)]
    assert found == [
        ("config/models.yaml", 1, "default"), ("config/models.yaml", 4, "groups.cheap.1"),
        ("config/models.yaml", 6, "groups.expensive.models.0"), ("crews/x.yaml", 3, "agents.a.model"),
        ("crews/x.yaml", 6, "tasks.u.model"),
    ]  # fmt: skip
    with pytest.raises(SpecError, match="can change its meaning, and this is production"):
        load_crew("x", workspace)
    monkeypatch.setenv("QUARTERDECK_PROFILE", "development")
    assert check_workspace(workspace) == []


def test_models_of_tasks_and_plans_are_checked(workspace: Workspace) -> None:
    text = CREW.replace("mistral/mistral-large-latest", "chaep") + "plan: {planner: expensive, executor: chap}\n"
    (workspace.root / "crews" / "x.yaml").write_text(text)
    with pytest.raises(SpecError) as caught:
        load_crew("x", workspace)
    assert [problem.where for problem in caught.value.problems] == ["tasks.u.model", "plan.executor"]
    assert 'did you mean "cheap"' in caught.value.problems[0].what


def test_auto_needs_a_ladder(workspace: Workspace) -> None:
    (workspace.root / "config").mkdir()
    (workspace.root / "config" / "models.yaml").write_text("default: a/b\ngroups: {tiny: [a/b]}\n")
    (workspace.root / "crews" / "x.yaml").write_text(CREW.replace("model: cheap", "model: auto"))
    with pytest.raises(SpecError, match=r'no group or model "auto": none of the groups in routing.ladder'):
        load_crew("x", workspace)
    (workspace.root / "config" / "models.yaml").write_text(
        "default: a/b\ngroups: {tiny: [a/b]}\nrouting: {ladder: [tiny, huge], forced: {t: hug}}\n"
    )
    load_crew("x", workspace)
    told = [(problem.line, problem.where) for problem in check_workspace(workspace)]
    assert told == [(3, "routing.ladder.1"), (3, "routing.forced.t")]


def test_a_task_that_runs_a_function_asks_no_model(workspace: Workspace) -> None:
    task = "  v: {run: tools/checks.py:verbatim, model: cheap}\n"
    (workspace.root / "crews" / "x.yaml").write_text(CREW.replace("mistral/mistral-large-latest", "cheap") + task)
    with pytest.raises(SpecError, match=r"tasks.v.model: a task that runs a function asks no model"):
        load_crew("x", workspace)
