"""Results too large for an agent's window: kept as files in the run's folder, read back in parts."""

from __future__ import annotations

import hashlib
import os
import re
import secrets
from pathlib import Path

from quarterdeck.errors import ToolError

FOLDER = "artifacts"
MAX_FILES = 1000
_NAME = re.compile(r"[0-9a-f]{12}\.(txt|json)")
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW


def save(run_folder: Path, path: str, kind: str, body: bytes) -> str:
    """Keep the whole result of a call.

    Args:
        run_folder: The run's own folder.
        path: The call's logical path; the artifact of the same call has the same name.
        kind: `txt` or `json`.
        body: What to keep.

    Returns:
        The artifact's name.

    Raises:
        ToolError: It cannot be written, or the run has too many.
    """
    name = f"{hashlib.sha256(path.encode()).hexdigest()[:12]}.{kind}"
    temporary = f".{secrets.token_hex(8)}.tmp"
    try:
        run_folder.mkdir(parents=True, exist_ok=True)
        folder = _open(run_folder, make=True)
        try:
            if name not in (there := os.listdir(folder)) and len(there) >= MAX_FILES:
                raise ToolError(f"the run has {len(there)} artifacts already")
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
            with open(os.open(temporary, flags, 0o600, dir_fd=folder), "wb") as file:
                file.write(body)
                file.flush()
                os.fsync(file.fileno())
            os.rename(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
        finally:
            os.close(folder)
    except OSError as error:
        raise ToolError(f"{error.strerror or error}") from None
    return name


def read(run_folder: Path, name: str, start: int, length: int) -> tuple[str, int]:
    """Return a part of an artifact, and how many characters the whole has.

    Args:
        run_folder: The run's own folder: no other run's artifacts can be read.
        name: As the result that was cut names it.
        start: The first character, counted from 0.
        length: Characters at most.

    Raises:
        ToolError: This run has no such artifact.
    """
    if not _NAME.fullmatch(name):
        raise ToolError(f'"{name[:60]}" is no name of an artifact; the result that was cut gives it.')
    try:
        folder = _open(run_folder, make=False)
        try:
            with open(os.open(name, os.O_RDONLY | os.O_NOFOLLOW, dir_fd=folder), "rb") as file:
                text = file.read().decode("utf-8", "replace")
        finally:
            os.close(folder)
    except OSError:
        raise ToolError(f"This run has no artifact {name}.") from None
    return text[start : start + length], len(text)


def _open(run_folder: Path, *, make: bool) -> int:
    """Return a descriptor of the artifacts' folder, reached without following a link."""
    parent = os.open(run_folder, _DIRECTORY)
    try:
        if make:
            try:
                os.mkdir(FOLDER, 0o700, dir_fd=parent)
            except FileExistsError:
                pass
        return os.open(FOLDER, _DIRECTORY, dir_fd=parent)
    finally:
        os.close(parent)
