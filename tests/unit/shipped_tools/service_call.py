"""Calling a tool as the gate does: arguments checked, then executed, then shaped."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

from quarterdeck.spec.services import ServicesConfig
from quarterdeck.tools.arguments import validate
from quarterdeck.tools.loading import Toolbox
from quarterdeck.tools.shaping import shape
from quarterdeck.tools.tool import Tool, ToolContext

ROOT = Path(__file__).parents[3]
SHIPPED = Toolbox.load([ROOT / "tools"], display_root=ROOT)
CANARY = "canary-4711-0815-secret"


def context(folder: Path, services: dict[str, Any], key: str = "r1:a") -> ToolContext:
    return ToolContext("r1", key, {}, folder, services=ServicesConfig.model_validate(services))


async def call(tool: Tool | str, where: ToolContext, **arguments: Any) -> Any:
    found = SHIPPED[tool] if isinstance(tool, str) else tool
    valid = validate(found, arguments)
    given = {**valid, "context": where} if found.takes_context else valid
    result = found.function(**given)
    return shape(await result if inspect.isawaitable(result) else result)
