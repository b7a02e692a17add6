"""One sandboxed command as a tool's result: what it said, and the files that it left, in the run's own folder."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from quarterdeck.errors import ToolError
from quarterdeck.tools.sandbox import Finished, Sandbox

if TYPE_CHECKING:
    from quarterdeck.tools.tool import ToolContext

FOLDER = "sandbox"
_UNFIT = re.compile(r"[^A-Za-z0-9._-]+")
_CALL = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,119}")


async def carry_out(context: ToolContext, argv: Sequence[str], files: Mapping[str, bytes]) -> dict[str, Any]:
    """Run a command in the sandbox and keep what it made.

    Args:
        context: The run that asks. Files go to `sandbox/CALL` in its folder, a folder for each call.
        argv: The command, as it is inside.
        files: To be put there first, by absolute path.

    Returns:
        `exit_code`, `stdout`, `stderr` and `files`, a list of names within the run's folder with their bytes.

    Raises:
        ToolError: There is no sandbox, it took too long, or the run's folder cannot be written.
    """
    sandbox = Sandbox()
    try:
        finished = await sandbox.run(argv, files)
    except TimeoutError:
        raise ToolError(
            f"It did not end within {sandbox.limits.seconds:g} s and was killed with all that it started; "
            "nothing that it made is kept. Give it less to do."
        ) from None
    try:
        kept = _keep(context, finished)
    except OSError as error:
        raise ToolError(f"What the code made could not be written: {error.strerror or error}.") from None
    result: dict[str, Any] = {"exit_code": finished.exit_code, "stdout": finished.stdout, "stderr": finished.stderr}
    if kept:
        result["files"] = kept
    if finished.skipped:
        result["files_left_out"] = finished.skipped
    return result


def remove(arguments: Mapping[str, Any], result: Any, context: ToolContext) -> bool:
    """Undo a call: delete the folder with the files that it made."""
    del arguments, result  # where the files are follows from the call's path alone
    folder = context.folder / FOLDER / _folder_of(context)
    if folder.is_dir() and not folder.is_symlink():
        shutil.rmtree(folder)
    return not folder.exists()


def _keep(context: ToolContext, finished: Finished) -> list[dict[str, Any]]:
    """Write the files under plain names into a new folder of the call."""
    if not finished.files:
        return []
    name = _folder_of(context)
    folder = context.folder / FOLDER / name
    remove({}, None, context)  # left by a process that died in this very call
    folder.mkdir(parents=True)
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    kept: list[dict[str, Any]] = []
    used: set[str] = set()
    try:
        for path, data in sorted(finished.files.items()):
            plain = _plain(path, used)
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
            with open(os.open(plain, flags, 0o644, dir_fd=descriptor), "wb") as file:
                file.write(data)
            kept.append({"name": f"{FOLDER}/{name}/{plain}", "bytes": len(data)})
    finally:
        os.close(descriptor)
    return kept


def _plain(path: str, used: set[str]) -> str:
    """Return a name without folders, dots at its front or characters that a shell would look at twice."""
    name = _UNFIT.sub("_", path.replace("/", "-")).strip(".-")[-100:].lstrip(".-") or "file"
    at = 1
    plain = name
    while plain.lower() in used:
        at += 1
        plain = f"{at}-{name}"
    used.add(plain.lower())
    return plain


def _folder_of(context: ToolContext) -> str:
    name = _UNFIT.sub("_", context.path.replace("/", "."))[:120].lstrip(".")
    return name if _CALL.fullmatch(name) else "call"
