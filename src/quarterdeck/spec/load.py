"""Loads a crew: its file, the roles it uses, and every check, so that all mistakes are told at once."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

from quarterdeck.errors import SpecError
from quarterdeck.spec.crew import CrewSpec, RoleSpec
from quarterdeck.spec.crossref import check_crew
from quarterdeck.spec.models import ModelEntry, ModelsConfig, read_models
from quarterdeck.spec.problem import Problem, did_you_mean
from quarterdeck.spec.sentences import Finding, covered, findings
from quarterdeck.spec.text import Document, Place, read_document
from quarterdeck.spec.workspace import Workspace

MAX_PROBLEMS = 200


def load_crew(name_or_path: str | Path, workspace: Workspace, known_tools: Collection[str] | None = None) -> CrewSpec:
    """Load a crew, complete and checked.

    Args:
        name_or_path: A crew's name, or the path of a crew file or of a CrewAI project.
        workspace: Where crews, roles and tools are looked for.
        known_tools: The tools that there are; None leaves tool names unchecked.

    Raises:
        InputError: There is no such crew.
        SpecError: It is wrong; carries every problem found, in the order of the files.
    """
    path = workspace.crew_path(name_or_path)
    if path.is_dir() or path.suffix in (".json", ".jsonc"):
        from quarterdeck.spec.crewai_format import load_crewai

        return load_crewai(path, workspace, known_tools).crew
    document = read_document(path, workspace.shown(path))
    crew, problems = read_crew(document, workspace, known_tools)
    if problems or crew is None:
        raise SpecError(sorted(set(problems))[:MAX_PROBLEMS])
    return crew


def load_models(workspace: Workspace) -> ModelsConfig:
    """Read `config/models.yaml` of a workspace, else the starter's; without either, the embedded model is all there is.

    Raises:
        SpecError: The file is wrong; carries every problem.
    """
    path = workspace.config_path("models.yaml")
    if path is None:
        return ModelsConfig(default="local", models={"local": ModelEntry(provider="embedded", price="free")})
    document = read_document(path, workspace.shown(path))
    config, found = read_models(document)
    if config is None or found:
        raise SpecError(sorted(_problems(document, found)))
    return config


def read_crew(
    document: Document, workspace: Workspace, known_tools: Collection[str] | None = None
) -> tuple[CrewSpec | None, list[Problem]]:
    """Check a crew file that was read; return the crew as far as it can be read, and what is wrong."""
    data, in_roles, found = _merge_roles(document, workspace)
    crew, wrong = findings(CrewSpec, data, {"crew": "unnamed", "agents": {}, "tasks": {}})
    found = [*wrong, *found]
    if crew is not None:
        checks = [*check_crew(crew, known_tools, workspace.file), *check_models(crew, workspace)]
        found += [finding for finding in checks if not covered(finding, found)]
    # What an agent took over from its role is not wrong here; the role's own problem says so.
    broken = {role for role, problems in in_roles.items() if problems}
    found = [f for f in found if not _from_role(f.place, document, broken)]
    return crew, [*_problems(document, found), *(problem for wrong_role in in_roles.values() for problem in wrong_role)]


def read_role(document: Document) -> tuple[dict[str, Any], list[Problem]]:
    """Check a role file that was read; return the fields that are right, and what is wrong."""
    blank = dict.fromkeys(("role", "goal", "backstory"), "?")
    role, found = findings(RoleSpec, document.data, blank)
    fields = role.model_dump(exclude_unset=True) if role else blank
    for key in ("role", "goal", "backstory"):
        if not fields[key].strip():
            found.append(Finding((key,), "must be filled in"))
    return fields, _problems(document, found)


def check_models(crew: CrewSpec, workspace: Workspace) -> list[Finding]:
    """Return the agents whose model is not known; a models file that is wrong itself is not looked into."""
    config = _models(workspace)
    if config is None:
        return []
    return [
        Finding(("agents", name, "model"), f'no group or model "{agent.model}"{_hint(agent.model, config)}')
        for name, agent in crew.agents.items()
        if agent.model and not config.knows(agent.model)
    ]


def _problems(document: Document, found: list[Finding]) -> list[Problem]:
    return [document.problem(finding.place, finding.what, at=finding.at) for finding in found]


def _hint(model: str, config: ModelsConfig) -> str:
    return did_you_mean(model, config.names()) or (
        f"; there are {', '.join(config.names())}, and any provider/model such as openai/{model}"
    )


def _models(workspace: Workspace) -> ModelsConfig | None:
    path = workspace.config_path("models.yaml")
    if path is None:
        return None
    try:
        return read_models(read_document(path, workspace.shown(path)))[0]
    except SpecError:
        return None


def _merge_roles(document: Document, workspace: Workspace) -> tuple[Any, dict[str, list[Problem]], list[Finding]]:
    """Put the fields of used roles under those of the agents; return data, problems by role, unknown roles."""
    in_roles: dict[str, list[Problem]] = {}
    found: list[Finding] = []
    agents = document.data.get("agents") if isinstance(document.data, dict) else None
    if not isinstance(agents, dict):
        return document.data, in_roles, found
    merged: dict[str, Any] = {}
    for name, agent in agents.items():
        merged[name] = agent
        role = agent.get("use") if isinstance(agent, dict) else None
        if not isinstance(role, str):
            continue
        path = workspace.role_path(role)
        if path is None:
            known = workspace.role_names()
            hint = did_you_mean(role, known) or f"; there are {', '.join(known)}"
            found.append(Finding(("agents", name, "use"), f'no role "{role[:64]}" in roles/{hint}'))
            # Its character would have come from there: one mistake, one problem.
            merged[name] = {"role": "?", "goal": "?", "backstory": "?", **agent}
            continue
        try:
            fields, problems = read_role(read_document(path, workspace.shown(path)))
        except SpecError as error:
            fields, problems = dict.fromkeys(("role", "goal", "backstory"), "?"), list(error.problems)
        in_roles[role] = problems
        merged[name] = {**fields, **agent}
    return {**document.data, "agents": merged}, in_roles, found


def _from_role(place: Place, document: Document, broken: set[str]) -> bool:
    if len(place) < 3 or place[0] != "agents" or place[:3] in document.positions:
        return False
    return document.data["agents"][place[1]].get("use") in broken
