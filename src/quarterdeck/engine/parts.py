"""Loading what the names in a crew stand for: tools, output shapes, guardrails, functions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from quarterdeck.engine.output import OutputType
from quarterdeck.engine.scope import Parts
from quarterdeck.spec.output import model_from_fields
from quarterdeck.tools.declared import load_services
from quarterdeck.tools.loading import Toolbox, load_object
from quarterdeck.tools.mcp import Servers

if TYPE_CHECKING:
    from quarterdeck.spec.crew import CrewSpec
    from quarterdeck.spec.workspace import Workspace


def load_parts(spec: CrewSpec, workspace: Workspace) -> Parts:
    """Load the tools of a workspace, and the Python objects that a crew names.

    Raises:
        SpecError: A file is missing or broken, or a name is not in it.
    """
    folders = [folder / "tools" for folder in workspace.folders]
    tools = Toolbox.load(folders, display_root=workspace.root)
    servers = Servers.of(workspace)
    services, declared = load_services(workspace)
    for tool in (*servers.tools(), *declared):
        tools.add(tool)
    outputs: dict[str, OutputType] = {}
    guardrails: dict[str, tuple[Any, ...]] = {}
    functions: dict[str, Any] = {}
    for name, task in spec.tasks.items():
        if task.output is not None:
            outputs[name] = OutputType(_output_model(name, task.output, folders))
        guardrails[name] = tuple(load_object(reference, folders) for reference in task.guardrails)
        if task.run is not None:
            functions[name] = load_object(task.run, folders)
    delegation = spec.hierarchical
    worker_output = delegation.output if delegation else None
    return Parts(
        tools=tools,
        outputs=outputs,
        guardrails=guardrails,
        functions=functions,
        worker_output=OutputType(_output_model("worker", worker_output, folders)) if worker_output else None,
        worker_guardrails=tuple(load_object(name, folders) for name in (delegation.guardrails if delegation else ())),
        servers=servers,
        services=services,
    )


def _output_model(task: str, declared: str | dict[str, Any], folders: Any) -> type[BaseModel]:
    if isinstance(declared, str):
        model: type[BaseModel] = load_object(declared, folders)
        return model
    return model_from_fields(task, declared)
