"""`quarterdeck validate`: every mistake in the declared files at once, and nothing run to find them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from quarterdeck.cli import options
from quarterdeck.errors import InputError, SpecError

if TYPE_CHECKING:
    from collections.abc import Collection
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
        screen.data({"problems": [_as_object(problem) for problem in problems], "checked": checked})
    else:
        _show(problems, checked, screen)
    raise typer.Exit(INVALID if problems else 0)


def _check(workspace: Workspace, crews: list[str], *, strict: bool) -> tuple[list[Problem], dict[str, int]]:
    from quarterdeck.spec.check import check_workspace
    from quarterdeck.tools.loading import check_file, tool_names

    names = tool_names(workspace.tool_files())
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
    if strict:
        for path in paths:
            problems |= set(_scope_problems(path, workspace))
    return sorted(problems), checked


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
        if not getattr(scope, block)
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
