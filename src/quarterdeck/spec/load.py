"""Loads a crew: its file, the roles it uses, and every check, so that all mistakes are told at once."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from quarterdeck.errors import InputError, SpecError
from quarterdeck.spec.crew import CrewSpec, PlanSpec, RoleSpec
from quarterdeck.spec.crossref import check_crew
from quarterdeck.spec.governance import GovernanceConfig, read_governance
from quarterdeck.spec.limits import LimitsConfig, read_limits
from quarterdeck.spec.memory import MemoryProfile, read_memory
from quarterdeck.spec.models import AUTO, ModelEntry, ModelsConfig, not_pinned, read_models, unpinned
from quarterdeck.spec.pins import in_production, is_pinned
from quarterdeck.spec.problem import Problem, did_you_mean
from quarterdeck.spec.sentences import Finding, covered, findings
from quarterdeck.spec.text import Document, Place, read_document
from quarterdeck.spec.workspace import NAME, Workspace

MAX_PROBLEMS = 200
NO_MEMORY = "none"


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


def load_limits(workspace: Workspace) -> LimitsConfig:
    """Read `config/limits.yaml` of a workspace, else the starter's; without either, runs share no budget.

    Raises:
        SpecError: The file is wrong; carries every problem.
    """
    path = workspace.config_path("limits.yaml")
    if path is None:
        return LimitsConfig()
    document = read_document(path, workspace.shown(path))
    config, found = read_limits(document)
    if config is None or found:
        raise SpecError(sorted(_problems(document, found)))
    return config


def load_governance(workspace: Workspace) -> GovernanceConfig:
    """Read `config/governance.yaml` of a workspace, else the starter's; without either, tools speak for themselves.

    Raises:
        SpecError: The file is wrong; carries every problem.
    """
    path = workspace.config_path("governance.yaml")
    if path is None:
        return GovernanceConfig()
    document = read_document(path, workspace.shown(path))
    config, found = read_governance(document)
    if config is None or found:
        raise SpecError(sorted(_problems(document, found)))
    return config


def load_memory(name: str, workspace: Workspace) -> MemoryProfile:
    """Read a profile, `memory/NAME.yaml` of a workspace, else the starter's; `none` uses no tier of memory.

    Args:
        name: The profile.
        workspace: Where it is looked for.

    Raises:
        InputError: There is no such profile.
        SpecError: The file is wrong; carries every problem.
    """
    if name == NO_MEMORY:
        return MemoryProfile()
    path = workspace.file(f"memory/{name}.yaml") if NAME.fullmatch(name) else None
    if path is None:
        raise InputError(f'No profile of memory "{name[:64]}"{_profile_hint(name, workspace)}')
    document = read_document(path, workspace.shown(path))
    profile, found = read_memory(document)
    if profile is None or found:
        raise SpecError(sorted(_problems(document, found)))
    return profile


def check_memory(crew: CrewSpec, workspace: Workspace) -> list[Finding]:
    """Return that a crew names a profile of memory which does not exist, where it does."""
    if crew.memory == NO_MEMORY or workspace.file(f"memory/{crew.memory}.yaml"):
        return []
    return [Finding(("memory",), f'no profile "{crew.memory[:64]}" in memory/{_profile_hint(crew.memory, workspace)}')]


def read_crew(
    document: Document, workspace: Workspace, known_tools: Collection[str] | None = None
) -> tuple[CrewSpec | None, list[Problem]]:
    """Check a crew file that was read; return the crew as far as it can be read, and what is wrong."""
    data, in_roles, found = _merge_roles(document, workspace)
    crew, wrong = findings(CrewSpec, data, {"crew": "unnamed", "agents": {}, "tasks": {}})
    found = [*wrong, *found]
    if crew is not None:
        checks = [*check_crew(crew, known_tools, workspace.file), *check_models(crew, workspace)]
        checks += check_memory(crew, workspace)
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
    """Return where a model is named that is not known, or in production is not pinned.

    A models file that is wrong itself is not looked into.
    """
    config = _models(workspace)
    if config is None:
        return []
    found = []
    production = in_production(config, os.environ)
    for place, name in _named_models(crew):
        if not config.knows(name):
            found.append(Finding(place, f'no group or model "{name}"{_hint(name, config)}'))
        elif production and name != AUTO and name not in config.groups and not is_pinned(name, config):
            found.append(Finding(place, not_pinned(name)))
    return found


def check_pins(workspace: Workspace) -> list[Problem]:
    """Return, in production, the models of `config/models.yaml` whose names can change their meaning.

    Raises:
        SpecError: The file is wrong.
    """
    config = load_models(workspace)
    path = workspace.config_path("models.yaml")
    if path is None or not in_production(config, os.environ):
        return []
    document = read_document(path, workspace.shown(path))
    return _problems(document, unpinned(config, document))


def _named_models(crew: CrewSpec) -> Iterator[tuple[Place, str]]:
    """Yield each name of a group or model in a crew, with its place."""
    for name, agent in crew.agents.items():
        if agent.model:
            yield ("agents", name, "model"), agent.model
    for name, task in crew.tasks.items():
        if task.model:
            yield ("tasks", name, "model"), task.model
    plans: list[tuple[Place, PlanSpec | None]] = [(("plan",), crew.plan)]
    plans += [(("agents", name, "plan"), agent.plan) for name, agent in crew.agents.items()]
    for place, plan in plans:
        if plan is not None:
            yield (*place, "planner"), plan.planner
            yield (*place, "executor"), plan.executor


def _profile_hint(name: str, workspace: Workspace) -> str:
    known = workspace.memory_names()
    return did_you_mean(name, known) or f"; there are {', '.join(known)}"


def _problems(document: Document, found: list[Finding]) -> list[Problem]:
    return [document.problem(finding.place, finding.what, at=finding.at) for finding in found]


def _hint(model: str, config: ModelsConfig) -> str:
    if model == AUTO:
        return ": none of the groups in routing.ladder is declared in config/models.yaml"
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
