"""Writing results: into the run's own folder and nowhere else."""

from __future__ import annotations

import os
import re
from typing import Annotated, Any

from pydantic import Field

from quarterdeck.errors import ToolError
from quarterdeck.tools.backups import OWN, receipt, restore, root_of, transact, written
from quarterdeck.tools.manifest import tool
from quarterdeck.tools.tool import ToolContext

__all__ = ["write"]

MAX_BYTES = 1_000_000
MAX_FILES = 200

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


@tool(
    effect="write", owner="the run", sinks={}, idempotent=True, undo=restore, verify=written,
    projection=("name", "bytes"), isolated=False,
)  # fmt: skip
def write(
    context: ToolContext,
    name: Annotated[str, Field(max_length=100)],
    content: Annotated[str, Field(max_length=MAX_BYTES)],
) -> dict[str, Any]:
    """Write a text file into the folder of this run. A file of the same name is replaced.

    Args:
        context: The run that asks; filled in by the engine.
        name: The file's bare name, such as report.md; no folders.
        content: The text.

    Returns:
        `name` and `bytes`.
    """
    if not _NAME.fullmatch(name):
        raise ToolError(
            f'"{name[:100]}" is no plain file name: use letters, digits, dot, dash and underscore, no folders.'
        )
    data = content.encode("utf-8", "replace")
    if len(data) > MAX_BYTES:
        raise ToolError(f"{name} would have {len(data):,} bytes, more than {MAX_BYTES:,}. Write less.")
    with root_of(context, OWN) as root, root.folder(()) as folder:
        if name not in (there := os.listdir(folder)) and len(there) >= MAX_FILES:
            raise ToolError(f"The run's folder has {len(there)} files already; replace one of them.")
    change = transact(context, "output.write", OWN, name, lambda old: data)
    return receipt(OWN, change, name=name, bytes=len(data))
