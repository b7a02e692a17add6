"""Finds, without running anything, the tools that nobody has classified as far as it takes to trust them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast, get_args

from quarterdeck.governance.policy import Policy, classes_of
from quarterdeck.spec.governance import Effect, GovernanceConfig
from quarterdeck.spec.problem import Problem
from quarterdeck.tools.declarations import UNKNOWN, Declaration, declarations
from quarterdeck.tools.manifest import Manifest
from quarterdeck.tools.outline import advice
from quarterdeck.tools.tool import Tool

if TYPE_CHECKING:
    from quarterdeck.governance.policy import Verdict
    from quarterdeck.spec.crew import CrewSpec
    from quarterdeck.spec.workspace import Workspace

FILE = "file"
"""The origin of tools that are Python functions of the workspace or the starter."""
_EXAMPLE = {"effect": 'effect="read"', "owner": 'owner="the office"', "sinks": "sinks={}"}
"""How it is said; the example of `sinks` is the explicit `none`."""
_BY_OPERATOR = {"effect": "effect: read", "owner": "owner: the office", "sinks": "sinks: {}"}
"""How it is said of a tool that has no file of its own."""


@dataclass(frozen=True, slots=True)
class Listed:
    """A tool of a workspace as far as its declaration tells.

    Attributes:
        declared: What its file says.
        manifest: With what the operator says in its place; plain data only.
        open: What nobody has said: of `effect`, `owner` and `sinks`.
        origin: Where it comes from: a file, an MCP server, an API or a database.
    """

    declared: Declaration
    manifest: Manifest
    open: tuple[str, ...]
    origin: str = FILE

    @property
    def name(self) -> str:
        """As agents are granted it."""
        return self.declared.name

    def tool(self) -> Tool:
        """Return what the policy can judge; it cannot be called."""
        properties: dict[str, Any] = {name: {} for name in self.declared.parameters if name != "context"}
        return Tool(self.name, "", {"properties": properties}, _never_called, manifest=self.manifest)


def listed(workspace: Workspace, config: GovernanceConfig) -> dict[str, Listed]:
    """Return the tools in the files of a workspace by name, the starter's included.

    Args:
        workspace: The workspace.
        config: What the operator says of them.
    """
    files = workspace.tool_files()
    found = declarations(files, {file: workspace.shown(file) for file in files})
    return {name: classified(declared, config) for name, declared in sorted(found.items())}


def tier_of(one: Listed, config: GovernanceConfig) -> Verdict:
    """Return what becomes of a call of a tool at the operator's dial; rules that look at arguments count as strict."""
    return Policy(config).judge(one.tool(), {})


def check_tools(tools: Mapping[str, Listed], names: Iterable[str]) -> list[Problem]:
    """Return what is wrong with, or left open by, some tools.

    Args:
        tools: As `listed` returned them.
        names: Which; those that are not there have problems of their own.
    """
    problems: list[Problem] = []
    for name in sorted({name for name in names if name in tools}):
        one = tools[name]
        problems += one.declared.mistakes()
        if one.open:
            problems.append(one.declared.problem(_what(one)))
    return problems


def advise(tools: Mapping[str, Listed], names: Iterable[str]) -> list[Problem]:
    """Return what would help agents to choose some tools well, a line a tool; none of it is wrong.

    Args:
        tools: As `listed` returned them.
        names: Which; a function that is there under two names is told once.
    """
    seen = {}
    for one in (tools[name] for name in sorted(set(names) & set(tools))):
        place = (one.declared.file, one.declared.line)
        if place not in seen and (found := advice(one.declared.doc)):
            seen[place] = one.declared.problem("; ".join(found))
    return sorted(seen.values())


def granted(crew: CrewSpec) -> Iterator[str]:
    """Yield the tools that anybody in a crew may call: agents, and the engine itself."""
    for agent in crew.agents.values():
        yield from agent.tools
    for task in crew.tasks.values():
        yield from (begin.tool for begin in task.begin)
        if task.save_as:
            yield "output.write"
    if crew.hierarchical is not None:
        yield from (begin.tool for begin in crew.hierarchical.begin)


def classified(declared: Declaration, config: GovernanceConfig, origin: str = FILE) -> Listed:
    """Return a tool with what the operator says of it in the place of what it says itself.

    Args:
        declared: What it says itself.
        config: What the operator says.
        origin: Where it comes from.
    """
    classes = classes_of(config.tools, declared.name, declared.base, declared.version)

    def said(key: str) -> Any:
        by_operator = (getattr(of, key, None) for of in classes)
        return next((value for value in by_operator if value is not None), declared.said.get(key))

    effect, owner, sinks, isolated = said("effect"), said("owner"), said("sinks"), said("isolated")
    known = effect if effect in get_args(Effect) else None
    gaps = {"effect": known is None, "owner": not owner, "sinks": sinks is None}
    manifest = Manifest(
        effect=cast("Effect | None", known),
        owner=owner if isinstance(owner, str) else "",
        sinks=sinks if isinstance(sinks, dict) else None,
        version=declared.version,
        isolated=isolated if isinstance(isolated, bool) else None,
    )
    return Listed(declared, manifest, tuple(key for key, is_open in gaps.items() if is_open), origin)


def _what(one: Listed) -> str:
    if one.open == ("effect",) and one.declared.said.get("effect") is UNKNOWN:
        return "effect: write it out as plain data in @tool, so that it can be checked without running the file"
    left = f"nobody has said its {' and '.join(', '.join(one.open).rsplit(', ', 1))}; write, such as, "
    if one.origin != FILE:
        said = ", ".join(_BY_OPERATOR[key] for key in one.open)
        return f"{left}{one.name}: {{{said}}} under tools in config/governance.yaml"
    said = ", ".join(_EXAMPLE[key] for key in one.open)
    return f"{left}@tool({said}) above it, or the same under tools in config/governance.yaml"


def _never_called() -> None:
    raise AssertionError("a tool that was only read from its file is never called")
