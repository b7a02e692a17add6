"""The JSON Schemas that editors use for declared files, made from the models that check them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from quarterdeck.spec.crew import CrewSpec, RoleSpec
from quarterdeck.spec.governance import GovernanceConfig
from quarterdeck.spec.limits import LimitsConfig
from quarterdeck.spec.mcp import McpConfig
from quarterdeck.spec.memory import MemoryProfile
from quarterdeck.spec.models import ModelsConfig
from quarterdeck.spec.services import ServicesConfig

_SCHEMAS: dict[str, tuple[type[BaseModel], str]] = {
    "crew.json": (CrewSpec, "A Quarterdeck crew"),
    "role.json": (RoleSpec, "A role of the library"),
    "models.json": (ModelsConfig, "The models of a workspace"),
    "limits.json": (LimitsConfig, "What all runs share"),
    "memory.json": (MemoryProfile, "What a crew remembers"),
    "governance.json": (GovernanceConfig, "What tools may do"),
    "mcp.json": (McpConfig, "The MCP servers of a workspace"),
    "services.json": (ServicesConfig, "The services that tools may use"),
}


def schemas() -> dict[str, str]:
    """Return the text of each schema by its file name."""
    return {name: _text(model, title) for name, (model, title) in _SCHEMAS.items()}


def write_schemas(folder: Path) -> None:
    """Write the schemas into a folder, `config/schema` in a workspace; it is made if need be."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in schemas().items():
        (folder / name).write_text(text, encoding="utf-8")


def _text(model: type[BaseModel], title: str) -> str:
    schema: dict[str, Any] = model.model_json_schema()
    ordered = {"$schema": "https://json-schema.org/draft/2020-12/schema", **_tidy(schema), "title": title}
    return json.dumps(ordered, indent=2, ensure_ascii=False) + "\n"


def _tidy(schema: Any) -> Any:
    """Drop titles that repeat names, and close the mappings whose keys are names."""
    if isinstance(schema, list):
        return [_tidy(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    tidy = {key: _tidy(value) for key, value in schema.items() if not (key == "title" and isinstance(value, str))}
    if "patternProperties" in tidy:
        tidy["additionalProperties"] = False
    return tidy
