"""Checks a whole workspace, for `quarterdeck validate`."""

from __future__ import annotations

from collections.abc import Collection

from quarterdeck.errors import SpecError
from quarterdeck.spec.crossref import check_crew
from quarterdeck.spec.load import check_pins, load_crew, load_governance, load_limits, read_role
from quarterdeck.spec.mcp import load_mcp
from quarterdeck.spec.problem import Problem
from quarterdeck.spec.text import read_document
from quarterdeck.spec.workspace import Workspace

__all__ = ["check_crew", "check_workspace"]


def check_workspace(workspace: Workspace, known_tools: Collection[str] | None = None) -> list[Problem]:
    """Check all own crews, roles and configuration of a workspace; return every problem, in the order of the files.

    Args:
        workspace: The workspace.
        known_tools: The tools that there are; None leaves tool names unchecked.
    """
    problems: set[Problem] = set()
    for path in workspace.own_crews():
        try:
            load_crew(path, workspace, known_tools)
        except SpecError as error:
            problems |= set(error.problems)
    for path in workspace.own_roles():
        try:
            problems |= set(read_role(read_document(path, workspace.shown(path)))[1])
        except SpecError as error:
            problems |= set(error.problems)
    try:
        problems |= set(check_pins(workspace))
    except SpecError as error:
        problems |= set(error.problems)
    for load in (load_limits, load_governance, load_mcp):
        try:
            load(workspace)
        except SpecError as error:
            problems |= set(error.problems)
    return sorted(problems)
