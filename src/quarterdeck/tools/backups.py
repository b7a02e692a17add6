"""Writing to files so that it can be taken back: each change keeps what was there before, under the run's folder.

A backup belongs to one call, by its idempotency key. It is on the disk before the change is made, so a process that
is killed at any moment leaves the old file or the new one, and a backup that knows both.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import orjson

from quarterdeck.errors import ToolError
from quarterdeck.tools.atomic import put_file
from quarterdeck.tools.confined import MAX_BYTES, Change, Root, State
from quarterdeck.tools.tool import ToolContext

OWN = "run"
"""The name of the root that every run has: its own folder."""
MAX_BACKUPS = 2_000
MAX_TOTAL_BYTES = 1_000_000_000
_PLACE = (".quarterdeck", "undo")
_MAX_RECORD_BYTES = 64_000
_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class Backup:
    """What is known of one change.

    Attributes:
        call: The logical path of the call that made it.
        tool: Its tool.
        root: In which root.
        change: What it changed.
    """

    call: str
    tool: str
    root: str
    change: Change


def root_of(context: ToolContext, name: str) -> Root:
    """Open a root by its name: `run` is the run's own folder, all others are the operator's.

    Raises:
        ToolError: There is no such root, or its folder cannot be opened.
    """
    if name == OWN:
        return Root.open(context.folder, OWN, write=True, make=True)
    if name not in context.roots:
        known = ", ".join([OWN, *sorted(context.roots)])
        raise ToolError(f'There is no root "{name[:60]}". There are: {known}.')
    folder = context.roots[name]
    return Root.open(folder.path, name, write=folder.write)


def transact(
    context: ToolContext, tool: str, root: str, path: str, new: Callable[[bytes | None], bytes | None]
) -> Change:
    """Change a file for a call, once: when the call is made again after a crash, what it has done is not done again.

    Args:
        context: Of the call.
        tool: Its name.
        root: In which root.
        path: Below the root.
        new: Given the old content (None: no file), returns the new one (None: remove it), or raises.

    Returns:
        What was changed.

    Raises:
        ToolError: The path cannot be used, or whatever `new` raises.
    """
    earlier = find(context)
    if earlier is not None and (earlier.root, earlier.change.path) != (root, path):
        raise ToolError(f"The call {context.path} has changed {earlier.change.path} before, not {path}.")
    done = False

    def once(old: bytes | None) -> bytes | None:
        nonlocal done
        done = earlier is not None and _is(old, earlier.change.after)
        return old if done else new(old)

    def keep(change: Change, old: bytes | None) -> None:
        if not done:
            _keep(context, Backup(context.path, tool, root, change), old)

    with root_of(context, root) as opened:
        change = opened.change(path, once, keep)
    return earlier.change if done and earlier is not None else change


def receipt(root: str, change: Change, **told: Any) -> dict[str, Any]:
    """Return the result of a changing call: what the agent is told, and the digests that its undo is checked by."""
    before, after = change.before, change.after
    return {
        "root": root,
        "path": change.path,
        **told,
        "before": before.digest if before else "",
        "after": after.digest if after else "",
    }


def written(arguments: dict[str, Any], result: Any, context: ToolContext) -> bool:
    """Say whether a file is as a call left it; the `verify` of tools that change files."""
    backup = find(context)
    if backup is None:
        return True  # a preview: nothing was to be changed
    with root_of(context, backup.root) as root:
        return _digest(root.state(backup.change.path)) == _digest(backup.change.after)


def restore(arguments: dict[str, Any], result: Any, context: ToolContext) -> str:
    """Put a file back as it was before a call; the `undo` of tools that change files.

    Args:
        arguments: Of the call.
        result: What it returned; None when that was never recorded.
        context: Of the call. With `force`, what somebody has changed since is overwritten, and kept as a backup.

    Returns:
        What was done, in a word; empty when there was nothing to do.

    Raises:
        ToolError: The file is not as the call left it, or the backup is missing or not the one that was recorded.
    """
    backup = find(context)
    recorded = (result["before"], result["after"]) if isinstance(result, dict) and "after" in result else None
    if backup is None:
        if recorded is not None and recorded[0] != recorded[1]:
            raise ToolError(f"its backup is missing from {context.folder.name}/{'/'.join(_PLACE)}")
        return ""
    change = backup.change
    if recorded is not None and recorded != (_digest(change.before), _digest(change.after)):
        raise ToolError("its backup is not the one that was recorded with the call")
    old = _kept(context, change.before)
    overwritten = False

    def back(present: bytes | None) -> bytes | None:
        nonlocal overwritten
        overwritten = not (_is(present, change.after) or _is(present, change.before))
        if overwritten and not context.force:
            raise ToolError(f"{change.path} was changed since; look at it, then undo with --force")
        return old

    def keep(undoing: Change, present: bytes | None) -> None:
        if overwritten:  # somebody's work is kept too
            aside = replace(context, idempotency_key=f"{context.idempotency_key}:{_digest(undoing.before)}")
            _keep(aside, Backup("", backup.tool, backup.root, undoing), present)

    with root_of(context, backup.root) as root:
        root.change(change.path, back, keep, mode=change.before.mode if change.before else None)
        root.remove_folders(change.made)
    return "restored"


def noted(context: ToolContext, make: Callable[[], str] | None = None) -> str:
    """Return what a call noted before it changed anything: for tools whose way back is not a file's content.

    Args:
        context: Of the call.
        make: Makes the note when there is none; a call that is made again after a crash finds its first one.

    Returns:
        The note; empty when there is none and none was made.

    Raises:
        ToolError: It cannot be read or kept.
    """
    name = f"{_id(context.idempotency_key)}.note"
    if make is None and not context.folder.is_dir():
        return ""
    with _place(context.folder, make=make is not None) as folder:
        found = None if folder is None else _bytes(folder, name, _MAX_RECORD_BYTES)
        if found is None and make is not None and folder is not None:
            found = make().encode()
            put_file(folder, name, found, 0o600)
    return (found or b"").decode()


def find(context: ToolContext) -> Backup | None:
    """Return the backup of a call, or None when it has changed nothing yet.

    Raises:
        ToolError: It cannot be read.
    """
    if not context.folder.is_dir():
        return None
    with _place(context.folder) as folder:
        return None if folder is None else _record(folder, f"{_id(context.idempotency_key)}.json")


def backups_of(folder: Path) -> list[Backup]:
    """Return what calls of a run have changed, oldest first, those included that died before they were recorded.

    Args:
        folder: The run's own folder.
    """
    if not folder.is_dir():
        return []
    with _place(folder) as place:
        if place is None:
            return []
        names = sorted(
            (name for name in os.listdir(place) if name.endswith(".json")),
            key=lambda name: os.stat(name, dir_fd=place).st_mtime_ns,
        )
        found = (_record(place, name) for name in names[: 2 * MAX_BACKUPS])
        return [backup for backup in found if backup is not None and backup.call]


def _keep(context: ToolContext, backup: Backup, old: bytes | None) -> None:
    name = _id(context.idempotency_key)
    with _place(context.folder, make=True) as folder:
        assert folder is not None
        sizes = [os.stat(there, dir_fd=folder).st_size for there in os.listdir(folder)]
        if len(sizes) >= 2 * MAX_BACKUPS or sum(sizes) + len(old or b"") > MAX_TOTAL_BYTES:
            raise ToolError(
                f"The run has {len(sizes):,} backups with {sum(sizes):,} bytes: no more can be kept, so no more is "
                "changed. End here, and say what is left to do."
            )
        if old is not None:
            put_file(folder, f"{name}.bin", old, 0o600)
        put_file(folder, f"{name}.json", orjson.dumps(asdict(backup)), 0o600)


def _kept(context: ToolContext, before: State | None) -> bytes | None:
    if before is None:
        return None
    with _place(context.folder) as folder:
        content = None if folder is None else _bytes(folder, f"{_id(context.idempotency_key)}.bin", MAX_BYTES)
    if content is None or not _is(content, before):
        raise ToolError("its backup is missing or damaged")
    return content


def _record(folder: int, name: str) -> Backup | None:
    data = _bytes(folder, name, _MAX_RECORD_BYTES)
    if data is None:
        return None
    try:
        found = orjson.loads(data)
        change = found.pop("change")
        states = {key: State(**change[key]) if change[key] else None for key in ("before", "after")}
        return Backup(**found, change=Change(change["path"], made=tuple(change["made"]), **states))
    except (orjson.JSONDecodeError, KeyError, TypeError):
        raise ToolError(f"The backup {name} cannot be read.") from None


def _bytes(folder: int, name: str, limit: int) -> bytes | None:
    try:
        with open(os.open(name, _FLAGS, dir_fd=folder), "rb") as file:
            return file.read(limit)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ToolError(f"The backup {name} cannot be read: {error.strerror or error}.") from None


@contextlib.contextmanager
def _place(folder: Path, *, make: bool = False) -> Iterator[int | None]:
    """Yield the descriptor of the folder of backups; None when there is none."""
    with Root.open(folder, OWN, write=True, make=make) as root, contextlib.ExitStack() as held:
        try:
            descriptor = held.enter_context(root.folder(_PLACE, make=make))
        except FileNotFoundError:
            yield None
        except OSError as error:
            raise ToolError(f"The backups of the run cannot be used: {error.strerror or error}.") from None
        else:
            yield descriptor


def _id(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()[:32]


def _is(content: bytes | None, state: State | None) -> bool:
    return (hashlib.sha256(content).hexdigest() if content is not None else "") == _digest(state)


def _digest(state: State | None) -> str:
    return "" if state is None else state.digest
