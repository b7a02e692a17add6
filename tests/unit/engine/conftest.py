"""Crews on a scripted model, with a journal in a temporary folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from quarterdeck.engine.crew import Crew
from quarterdeck.engine.scope import Parts
from quarterdeck.spec.crew import CrewSpec
from quarterdeck.spec.governance import GovernanceConfig
from quarterdeck.spec.workspace import Workspace
from quarterdeck.testing import ScriptedModel
from quarterdeck.testing.catalog import ScriptedCatalog
from quarterdeck.tools.manifest import Manifest
from quarterdeck.tools.signature import tool_from_function
from quarterdeck.tools.tool import Tool

AGENT = {"role": "Clerk", "goal": "Be right.", "backstory": "You are careful."}

MakeCrew = Callable[..., Crew]


def tested(function: Callable[..., Any], name: str) -> Tool:
    """Return a function as a tool that is free to be called, unless it says otherwise of itself."""
    tool = tool_from_function(function, name)
    return tool if tool.manifest.effect else replace(tool, manifest=Manifest(effect="read", owner="tests", sinks={}))


@pytest.fixture
def make_crew(tmp_path: Path) -> Iterator[MakeCrew]:
    def make(
        model: ScriptedModel,
        tasks: dict[str, Any],
        *,
        agents: dict[str, Any] | None = None,
        tools: dict[str, Callable[..., Any]] | None = None,
        parts: dict[str, Any] | None = None,
        catalog: dict[str, Any] | None = None,
        governance: GovernanceConfig | None = None,
        **more: Any,
    ) -> Crew:
        named = {name: tested(function, name) for name, function in (tools or {}).items()}
        spec = CrewSpec.model_validate(
            {
                "crew": "trial",
                "agents": agents or {"clerk": {**AGENT, "tools": tuple(named)}},
                "tasks": {
                    name: {"agent": "clerk", "description": name, "expected_output": "Text.", **task}
                    if "run" not in task and not more.get("hierarchical")
                    else {"description": name, "expected_output": "Text.", **task}
                    for name, task in tasks.items()
                },
                **more,
            }
        )
        given = Parts(
            tools=named,
            **{"outputs": {}, "guardrails": {}, "functions": {}, **(parts or {})},
        )
        (tmp_path / "crews").mkdir(exist_ok=True)
        return Crew(
            spec,
            workspace=Workspace(tmp_path),
            database_url=f"sqlite:///{tmp_path}/journal.db",
            catalog=ScriptedCatalog(model, **(catalog or {})),
            parts=given,
            governance=governance,
        )

    yield make
