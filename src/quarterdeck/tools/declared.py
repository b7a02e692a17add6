"""Tools that a workspace declares in `config/services.yaml`: operations of APIs, and named queries of databases."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from quarterdeck.errors import SpecError
from quarterdeck.spec.sentences import Finding
from quarterdeck.spec.services import ServicesConfig, read_services
from quarterdeck.spec.text import read_document
from quarterdeck.tools.loading import Toolbox

if TYPE_CHECKING:
    from quarterdeck.spec.services import ApiSpec
    from quarterdeck.spec.workspace import Workspace
    from quarterdeck.tools.tool import Tool


def all_tools(workspace: Workspace) -> Toolbox:
    """Return every tool of a workspace: of its files, of accepted MCP servers, and of its declared services.

    Raises:
        SpecError: A file is wrong; carries every problem of it.
    """
    from quarterdeck.tools.mcp import Servers

    tools = Toolbox.load([folder / "tools" for folder in workspace.folders], display_root=workspace.root)
    for tool in (*Servers.of(workspace).tools(), *load_services(workspace)[1]):
        tools.add(tool)
    return tools


def load_services(workspace: Workspace) -> tuple[ServicesConfig, list[Tool]]:
    """Read `config/services.yaml` of a workspace, else the starter's; return it, and the tools that it makes.

    Raises:
        SpecError: It, or the document of an API, is wrong; carries every problem.
    """
    path = workspace.config_path("services.yaml")
    if path is None:
        return ServicesConfig(), []
    document = read_document(path, workspace.shown(path))
    config, found = read_services(document)
    tools: list[Tool] = []
    if config is not None and not found:
        found += _clashes(config, workspace)
        for name, api in config.apis.items():
            made, wrong = _api(name, api, workspace)
            tools += made
            found += wrong
        for name, database in config.databases.items():
            found += _unbound(name, config)
            from quarterdeck.tools import queries

            tools += queries.tools_of(name, database)
    if config is None or found:
        raise SpecError(sorted(document.problem(one.place, one.what, at=one.at) for one in found))
    return config, tools


def _api(name: str, spec: ApiSpec, workspace: Workspace) -> tuple[list[Tool], list[Finding]]:
    from quarterdeck.tools import apis
    from quarterdeck.tools.openapi import Unusable, operations

    place = ("apis", name, "spec")
    file = workspace.file(spec.spec)
    if file is None:
        return [], [Finding(place, f"there is no file {spec.spec} in this workspace")]
    try:
        offered, unusable = operations(read_document(file, workspace.shown(file)).data)
    except Unusable as why:
        return [], [Finding(place, f"{spec.spec}: {why}")]
    except SpecError as error:
        return [], [Finding(place, f"{spec.spec} cannot be read: {error.problems[0].what}")]
    tools = apis.tools_of(name, spec, offered)
    found = [
        Finding(("apis", name, "operations"), f'no tool can be made of "{wanted}": {unusable[wanted]}')
        if wanted in unusable
        else Finding(("apis", name, "operations"), f'{spec.spec} has no operation "{wanted}"')
        for wanted in spec.operations
        if not any(letter in wanted for letter in "*?[") and wanted not in {one.name for one in offered}
    ]
    if not tools and not found:
        found.append(Finding(("apis", name, "operations"), f"none of the operations of {spec.spec} matches"))
    return tools, found


def _clashes(config: ServicesConfig, workspace: Workspace) -> list[Finding]:
    """Return which services bear a name that other tools have already."""
    files = {Path(file).stem for file in workspace.tool_files()}
    found = []
    for kind, names in (("apis", config.apis), ("databases", config.databases)):
        for name in names:
            if name in files or name.startswith("mcp_") or (kind == "databases" and name in config.apis):
                found.append(Finding((kind, name), f'there are tools "{name}.*" already; choose another name'))
    return found


def _unbound(name: str, config: ServicesConfig) -> list[Finding]:
    """Return which parameters a database's queries use without declaring them, or the other way round."""
    from quarterdeck.tools import queries

    found = []
    for query, spec in config.databases[name].queries.items():
        place = ("databases", name, "queries", query)
        used = queries.placeholders(spec.sql)
        found += [
            Finding(place, f":{one} is not declared in parameters") for one in sorted(used - set(spec.parameters))
        ]
        found += [
            Finding(place, f"parameter {one} does not stand in sql") for one in sorted(set(spec.parameters) - used)
        ]
    return found
