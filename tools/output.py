"""Writing results: into the run's own folder and nowhere else."""

from __future__ import annotations

import os
import re
import secrets
from typing import Annotated, Any

from pydantic import Field

from quarterdeck.errors import ToolError
from quarterdeck.tools.tool import ToolContext

__all__ = ["write"]

MAX_BYTES = 1_000_000
MAX_FILES = 200

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


def write(
    context: ToolContext,
    name: Annotated[str, Field(max_length=100)],
    content: Annotated[str, Field(max_length=MAX_BYTES)],
) -> dict[str, Any]:
    """Write a text file into the folder of this run; a file of the same name is replaced.

    Args:
        context: The run that asks; filled in by the engine.
        name: The file's bare name, such as report.md; no folders.
        content: The text.
    """
    if not _NAME.fullmatch(name):
        raise ToolError(
            f'"{name[:100]}" is no plain file name: use letters, digits, dot, dash and underscore, no folders.'
        )
    data = content.encode("utf-8", "replace")
    if len(data) > MAX_BYTES:
        raise ToolError(f"{name} would have {len(data):,} bytes, more than {MAX_BYTES:,}. Write less.")
    try:
        context.folder.mkdir(parents=True, exist_ok=True)
        # by descriptor: whatever becomes of the path meanwhile, the file lands in this very folder
        folder = os.open(context.folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            if name not in (there := os.listdir(folder)) and len(there) >= MAX_FILES:
                raise ToolError(f"The run's folder has {len(there)} files already; replace one of them.")
            _replace(folder, name, data)
        finally:
            os.close(folder)
    except OSError as error:
        raise ToolError(f"{name} could not be written: {error.strerror or error}.") from None
    return {"name": name, "bytes": len(data)}


def _replace(folder: int, name: str, data: bytes) -> None:
    """Put a file in place at once: whoever looks sees the old one or the new one, also after a power cut."""
    temporary = f".{secrets.token_hex(8)}.tmp"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    descriptor = os.open(temporary, flags, 0o644, dir_fd=folder)
    try:
        with open(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.rename(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
    except BaseException:
        os.unlink(temporary, dir_fd=folder)
        raise
    os.fsync(folder)
