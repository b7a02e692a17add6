"""`quarterdeck validate`: every mistake in the declared files at once, and nothing run to find them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from quarterdeck.cli import options
from quarterdeck.errors import InputError, SpecError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable
    from pathlib import Path

    from quarterdeck.cli.screen import Screen
    from quarterdeck.spec.problem import Problem
    from quarterdeck.spec.workspace import Workspace

INVALID = 2


def validate(
    crews: Annotated[list[str] | None, typer.Argument(help="Crews to check; without any, the whole workspace.")] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Each crew must also declare its whole scope.")] = False,
    json: options.Json = False,
) -> None:
    """Find every mistake in the declared files, with file and line.

    No code of the workspace is run. Exit codes: 0 all fine, 2 there are problems.
    """
    from quarterdeck.cli.screen import Screen
    from quarterdeck.spec.workspace import Workspace

    workspace = Workspace.find()
    if not crews and not (workspace.own_crews() or workspace.own_roles() or _own_tools(workspace)):
        raise InputError(
            f"There is nothing to check in {workspace.root}: no crews, roles or tools. "
            "Go to a workspace, or make one: quarterdeck new FOLDER"
        )
    problems, checked = _check(workspace, crews or [], strict=strict)
    screen = Screen()
    if json:
        warnings = _warnings(crews or [], workspace)
        screen.data(
            {"problems": [_as_object(problem) for problem in problems], "warnings": warnings, "checked": checked}
        )
    else:
        for warning in _warnings(crews or [], workspace):
            screen.line(f"warning: {warning}")
        _show(problems, checked, screen)
    raise typer.Exit(INVALID if problems else 0)


def _check(workspace: Workspace, crews: list[str], *, strict: bool) -> tuple[list[Problem], dict[str, int]]:
    from quarterdeck.spec.check import check_workspace
    from quarterdeck.tools.loading import check_file, tool_names

    declared, wrong = _declared(workspace)
    names = [*tool_names(workspace.tool_files()), *_pinned(workspace), *declared]
    if crews:
        paths = [workspace.crew_path(crew) for crew in crews]
        problems = {problem for path in paths for problem in _crew_problems(path, workspace, names)}
        checked = {"crews": len(paths)}
    else:
        paths = workspace.own_crews()
        own = _own_tools(workspace)
        problems = set(check_workspace(workspace, names))
        problems |= {problem for file in own for problem in check_file(file, workspace.root)}
        checked = {"crews": len(paths), "roles": len(workspace.own_roles()), "tools": len(tool_names(own))}
    problems |= _open_tools(paths, workspace) | wrong
    if strict:
        for path in paths:
            problems |= set(_scope_problems(path, workspace))
    return sorted(problems), checked


def _open_tools(crews: Iterable[Path], workspace: Workspace) -> set[Problem]:
    """Return what the tools that some crews are granted leave open; a file with problems of its own is left out."""
    from quarterdeck.governance.lint import check_tools, granted, listed
    from quarterdeck.spec.load import load_crew, load_governance

    names: set[str] = set()
    for path in crews:
        try:
            names |= set(granted(load_crew(path, workspace)))
        except SpecError:
            continue
    try:
        return set(check_tools(listed(workspace, load_governance(workspace)), names))
    except SpecError:
        return set()


def _warnings(crews: list[str], workspace: Workspace) -> list[str]:
    """Return what is no problem yet: tools that will go or say too little, and models that judge their own work."""
    from quarterdeck.cli.doctor import cannot_redact
    from quarterdeck.governance.lint import granted
    from quarterdeck.spec.judges import same_models
    from quarterdeck.spec.load import load_crew, load_models
    from quarterdeck.tools.loading import deprecated_tools

    said = deprecated_tools(workspace.tool_files())
    try:
        models = load_models(workspace)
    except SpecError:  # told already
        models = None
    lines: list[str] = []
    used: set[str] = set()
    for path in [workspace.crew_path(crew) for crew in crews] if crews else workspace.own_crews():
        try:
            crew = load_crew(path, workspace)
        except SpecError:
            continue
        names = set(granted(crew))
        used |= names
        file = workspace.shown(path)
        lines += [f"{file}: {name} is deprecated: {said[name]}" for name in sorted(names & set(said))]
        lines += [f"{file}: {line}" for line in (same_models(crew, models) if models is not None else ())]
        lines += [f"{file}: {line}" for line in _without_user(crew.memory, workspace)]
    return [*lines, *_advice(used, workspace, everything=not crews), *cannot_redact(workspace), *_wrong_cache()]


def _wrong_cache() -> list[str]:
    """Return what is wrong with the address of the session cache in Redis, where one is set."""
    import os

    from quarterdeck.memory.redis_session import VARIABLE, check_url

    try:
        if url := os.environ.get(VARIABLE):
            check_url(url)
    except InputError as error:
        return [str(error)]
    return []


def _without_user(profile: str, workspace: Workspace) -> list[str]:
    """Return that what a profile keeps is a user's own while nobody says whose, where it is so."""
    import os

    from quarterdeck.spec.load import load_memory
    from quarterdeck.spec.memory import WITHOUT_USER, needs_user

    if os.environ.get("QUARTERDECK_USER"):
        return []
    try:
        return [WITHOUT_USER] if needs_user(load_memory(profile, workspace)) else []
    except (InputError, SpecError):  # told already
        return []


def _advice(used: set[str], workspace: Workspace, *, everything: bool) -> list[str]:
    """Return what the workspace's own tools could say better: those that are used, or all of them.

    A file with mistakes is left out until it has none.
    """
    from quarterdeck.governance.lint import advise, listed
    from quarterdeck.spec.governance import GovernanceConfig
    from quarterdeck.tools.loading import check_file, tool_names

    names = tool_names(file for file in _own_tools(workspace) if not check_file(file, workspace.root))
    wanted = [name for name in names if everything or name in used]
    return [str(problem) for problem in advise(listed(workspace, GovernanceConfig()), wanted)] if wanted else []


def _pinned(workspace: Workspace) -> list[str]:
    """Return the tools of MCP servers; files of theirs that are wrong are told by `check_workspace`."""
    from quarterdeck.spec.mcp import mcp_file

    if not mcp_file(workspace).exists():
        return []
    from quarterdeck.tools.mcp import pinned_names

    try:
        return pinned_names(workspace)
    except SpecError:
        return []


def _declared(workspace: Workspace) -> tuple[list[str], set[Problem]]:
    """Return the tools that config/services.yaml makes, and what is wrong with that file."""
    from quarterdeck.tools.declared import load_services

    try:
        return [tool.name for tool in load_services(workspace)[1]], set()
    except SpecError as error:
        return [], set(error.problems)


def _own_tools(workspace: Workspace) -> list[Path]:
    from quarterdeck.tools.loading import tool_files

    return tool_files([workspace.root / "tools"])


def _crew_problems(path: Path, workspace: Workspace, tools: Collection[str]) -> tuple[Problem, ...]:
    from quarterdeck.spec.load import load_crew

    try:
        load_crew(path, workspace, tools)
    except SpecError as error:
        return error.problems
    return ()


def _scope_problems(path: Path, workspace: Workspace) -> list[Problem]:
    from quarterdeck.spec.crew import ScopeSpec
    from quarterdeck.spec.load import load_crew
    from quarterdeck.spec.problem import Problem

    try:
        scope = load_crew(path, workspace).scope
    except SpecError:
        return []  # its own problems are told already
    return [
        Problem(workspace.shown(path), 1, 1, f"scope.{block}", "missing; --strict wants all five blocks of scope")
        for block in ScopeSpec.model_fields
        if getattr(scope, block) == ()
    ]


def _show(problems: list[Problem], checked: dict[str, int], screen: Screen) -> None:
    from quarterdeck.cli.text import count

    if not problems:
        screen.line(f"{', '.join(count(number, noun[:-1]) for noun, number in checked.items())}: all fine.")
        return
    rows = [(f"{problem.file}:{problem.line}:{problem.column}", _what(problem)) for problem in problems]
    screen.columns(rows)
    files = len({problem.file for problem in problems})
    screen.line(f"{count(len(problems), 'problem')} in {count(files, 'file')}. Nothing was run.")


def _what(problem: Problem) -> str:
    return f"{problem.where}: {problem.what}" if problem.where else problem.what


def _as_object(problem: Problem) -> dict[str, str | int]:
    return {
        "file": problem.file, "line": problem.line, "column": problem.column, "where": problem.where,
        "what": problem.what,
    }  # fmt: skip
