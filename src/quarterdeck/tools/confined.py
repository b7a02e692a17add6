"""Folders that tools are confined to. Every path is walked by descriptor, one component at a time.

No link is followed, `..` is never opened and nothing but folders and plain files is touched: whatever a path says,
and whatever happens to the tree meanwhile, it leads to something below the folder or nowhere. The checks of names
only keep out what another program, or another file system, would read differently.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import stat
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from quarterdeck.errors import ToolError
from quarterdeck.tools.atomic import put_file, temporary
from quarterdeck.tools.names import parts_of

MAX_BYTES = 10_000_000
MAX_ENTRIES = 10_000
MAX_DEPTH = 16
LOCK_SECONDS = 10.0
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class State:
    """What a file is: the SHA-256 of its bytes in hexadecimal, its size in bytes, its permission bits."""

    digest: str
    size: int
    mode: int


@dataclass(frozen=True, slots=True)
class Change:
    """What one transaction does to one file.

    Attributes:
        path: Below the root.
        before: None when there was no file.
        after: None when it is removed.
        made: Folders that have to be made for it, outermost first.
    """

    path: str
    before: State | None
    after: State | None
    made: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Entry:
    """What stands in a folder: `kind` is `file`, `folder` or `other`, which no tool touches."""

    name: str
    kind: str
    size: int


class Root:
    """A folder held by descriptor. Use `Root.open`, in a `with` block.

    Attributes:
        name: As tools name it.
        write: Whether anything in it may be changed.
    """

    def __init__(self, descriptor: int, name: str, *, write: bool) -> None:
        self.name = name
        self.write = write
        self._descriptor = descriptor
        self._device = os.fstat(descriptor).st_dev

    @classmethod
    def open(cls, folder: Path, name: str, *, write: bool = False, make: bool = False) -> Root:
        """Take a folder in hand; whatever becomes of its path after that, this very folder is meant.

        Args:
            folder: Where it is. It must not itself be a link.
            name: As tools name it.
            write: Whether anything in it may be changed.
            make: Make it if it is not there.

        Raises:
            ToolError: There is no such folder, or it cannot be opened.
        """
        try:
            if make:
                folder.mkdir(parents=True, exist_ok=True)
            return cls(os.open(folder, _FOLDER), name, write=write)
        except OSError as error:
            raise ToolError(f'The folder of the root "{name}" cannot be opened: {error.strerror or error}.') from None

    def __enter__(self) -> Root:
        """Return the root; the end of the block lets it go."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Let it go."""
        os.close(self._descriptor)

    def entries(self, path: str) -> list[Entry]:
        """Return what stands in a folder, by name, at most 10,000 entries.

        Raises:
            ToolError: There is no such folder, or it holds more.
        """
        with _told(path), self.folder(parts_of(path)) as folder:
            return _entries(folder)

    def files(self, path: str) -> Iterator[str]:
        """Yield the paths of the plain files below a folder, at most 16 folders deep; links are left out.

        Raises:
            ToolError: There is no such folder.
        """
        waiting = [parts_of(path)]
        while waiting:
            parts = waiting.pop()
            shown = "/".join(parts)
            with _told(shown), self.folder(parts) as folder:
                entries = _entries(folder)
            yield from ("/".join((*parts, entry.name)) for entry in entries if entry.kind == "file")
            if len(parts) < MAX_DEPTH:
                waiting += [(*parts, entry.name) for entry in reversed(entries) if entry.kind == "folder"]

    def read(self, path: str, limit: int = MAX_BYTES) -> bytes:
        """Return the content of a plain file.

        Args:
            path: Below the root.
            limit: Bytes at most.

        Raises:
            ToolError: There is none, it is larger, or it is a link, a device or a file with a second name.
        """
        *folders, name = _named(path)
        with _told(path), self.folder(folders) as folder:
            content, _ = _content(folder, name, limit)
        if content is None:
            raise ToolError(f"There is no file {path} in {self.name}.")
        return content

    def state(self, path: str) -> State | None:
        """Return what a file is, or None when there is none."""
        *folders, name = _named(path)
        try:
            with _told(path), self.folder(folders) as folder:
                return state_of(*_content(folder, name, MAX_BYTES))
        except _Missing:
            return None

    def change(
        self,
        path: str,
        new: Callable[[bytes | None], bytes | None],
        keep: Callable[[Change, bytes | None], None],
        mode: int | None = None,
    ) -> Change:
        """Change one file in a transaction: whoever looks, and after a crash, sees the old one or the new one.

        Args:
            path: Below the root; folders that are not there are made.
            new: Given the old content (None: no file), returns the new one (None: remove it), or raises.
            keep: Called with what will be done and the old content before anything is done; keeps a backup.
            mode: Permission bits; those of the old file, or 0644, when None.

        Raises:
            ToolError: The root or the path may not be written, or whatever `new` and `keep` raise.
        """
        if not self.write:
            raise ToolError(f'Nothing in the root "{self.name}" may be changed: it is read only.')
        *folders, name = _named(path)
        with _told(path), _locked(self._descriptor):
            missing = self._missing(folders)
            with self.folder(folders[: len(folders) - missing]) as folder:
                old, stats = (None, None) if missing else _content(folder, name, MAX_BYTES)
                if old is None and not missing:
                    _refuse_twin(folder, name)
                before = state_of(old, stats)
                content = new(old)
                if content is not None and len(content) > MAX_BYTES:
                    raise ToolError(f"{path} would have {len(content):,} bytes, more than {MAX_BYTES:,}. Write less.")
                bits = mode if mode is not None else (before.mode & 0o777 if before else 0o644)
                after = None if content is None else State(hashlib.sha256(content).hexdigest(), len(content), bits)
                made = () if content is None else _made(folders, missing)
                planned = Change(path, before, after, made)
                keep(planned, old)
                if missing and content is None:
                    return planned
                with self.folder(folders, make=True) as target:
                    _put(target, name, content, stats, after if after != before else None)
            return planned

    def remove_folders(self, folders: tuple[str, ...]) -> None:
        """Remove folders that are empty, innermost first; others stay."""
        for path in reversed(folders):
            *above, name = _named(path)
            with contextlib.suppress(OSError), self.folder(above) as folder:
                os.rmdir(name, dir_fd=folder)

    @contextlib.contextmanager
    def folder(self, parts: tuple[str, ...] | list[str], *, make: bool = False) -> Iterator[int]:
        """Open a folder below the root and yield its descriptor.

        Args:
            parts: The components, in order; none for the root itself.
            make: Make those that are not there.

        Raises:
            OSError: One of them is no folder, a link, or on another file system.
        """
        descriptor = os.dup(self._descriptor)
        try:
            for part in parts:
                below = _enter(descriptor, part, make=make)
                os.close(descriptor)
                descriptor = below
                if os.fstat(descriptor).st_dev != self._device:
                    raise OSError(errno.EXDEV, "another file system is mounted there")
            yield descriptor
        finally:
            os.close(descriptor)

    def _missing(self, folders: list[str]) -> int:
        """Return how many of the innermost folders are not there."""
        for present in range(len(folders), -1, -1):
            try:
                with self.folder(folders[:present]):
                    return len(folders) - present
            except FileNotFoundError:
                continue
        return len(folders)


class _Missing(ToolError):
    """There is nothing at the path."""


def state_of(content: bytes | None, stats: os.stat_result | None) -> State | None:
    """Return the state of a file that was read; None when there was none."""
    if content is None or stats is None:
        return None
    return State(hashlib.sha256(content).hexdigest(), len(content), stat.S_IMODE(stats.st_mode))


def _put(folder: int, name: str, content: bytes | None, old: os.stat_result | None, after: State | None) -> None:
    """Bring a file into its new state; None for `after` where that is its state already."""
    if _stats(folder, name) != (None if old is None else _identity(old)):
        raise ToolError(f"{name} was changed by somebody else just now; look at it again.")
    if content is None:
        if old is not None:
            os.unlink(name, dir_fd=folder)
            os.fsync(folder)
    elif after is not None:
        put_file(folder, name, content, after.mode, old)
    with contextlib.suppress(FileNotFoundError):
        os.unlink(temporary(name), dir_fd=folder)


def _named(path: str) -> tuple[str, ...]:
    parts = parts_of(path)
    if not parts:
        raise ToolError("A file needs a name: give its path below the root, such as notes/report.md.")
    return parts


def _made(folders: list[str], missing: int) -> tuple[str, ...]:
    return tuple("/".join(folders[: number + 1]) for number in range(len(folders) - missing, len(folders)))


def _enter(folder: int, name: str, *, make: bool) -> int:
    if name in ("", ".", "..") or "/" in name:
        raise OSError(errno.EINVAL, "that is no name of a folder")
    if make:
        with contextlib.suppress(FileExistsError):
            os.mkdir(name, 0o755, dir_fd=folder)
    return os.open(name, _FOLDER, dir_fd=folder)


def _content(folder: int, name: str, limit: int) -> tuple[bytes | None, os.stat_result | None]:
    """Return the content of a plain file and what the system says of it; nothing when there is none."""
    try:
        _check_plain(name, os.stat(name, dir_fd=folder, follow_symlinks=False))  # a device must not even be opened
        descriptor = os.open(name, _FILE, dir_fd=folder)
    except FileNotFoundError:
        return None, None
    with open(descriptor, "rb", buffering=0) as file:
        stats = os.fstat(descriptor)
        _check_plain(name, stats)
        content = bytearray()
        while (left := limit + 1 - len(content)) > 0 and (part := file.read(min(left, 1 << 20))):
            content += part
    if len(content) > limit:
        raise ToolError(f"{name} is larger than {limit:,} bytes.")
    return bytes(content), stats


def _check_plain(name: str, stats: os.stat_result) -> None:
    if stat.S_ISLNK(stats.st_mode):
        raise ToolError(f"{name} is a link; links are not followed.")
    if not stat.S_ISREG(stats.st_mode):
        kind = "a folder" if stat.S_ISDIR(stats.st_mode) else "no plain file"
        raise ToolError(f"{name} is {kind}.")
    if stats.st_nlink > 1:
        raise ToolError(f"{name} has a second name (a hard link), which may stand outside; it is not touched.")


def _stats(folder: int, name: str) -> tuple[int, ...] | None:
    try:
        return _identity(os.stat(name, dir_fd=folder, follow_symlinks=False))
    except FileNotFoundError:
        return None


def _identity(stats: os.stat_result) -> tuple[int, ...]:
    return stats.st_dev, stats.st_ino, stats.st_size, stats.st_mtime_ns


def _refuse_twin(folder: int, name: str) -> None:
    """Refuse a new name that differs from an existing one in capitals only: on other systems it is that file."""
    for number, other in enumerate(os.listdir(folder)):
        if number >= MAX_ENTRIES:
            raise ToolError(f"The folder of {name} has more than {MAX_ENTRIES:,} entries.")
        if other != name and other.casefold() == name.casefold():
            raise ToolError(f"There is {other} already, which differs from {name} in capitals only. Use that name.")


def _entries(folder: int) -> list[Entry]:
    found: list[Entry] = []
    with os.scandir(folder) as entries:
        for entry in entries:
            try:
                parts_of(entry.name)
                stats = entry.stat(follow_symlinks=False)
            except (ToolError, OSError):
                continue  # a name that no tool can use, or gone meanwhile
            if len(found) >= MAX_ENTRIES:
                raise ToolError(f"The folder has more than {MAX_ENTRIES:,} entries.")
            kinds = (stat.S_ISREG(stats.st_mode), stat.S_ISDIR(stats.st_mode))
            kind = "file" if kinds[0] else "folder" if kinds[1] else "other"
            found.append(Entry(entry.name, kind, stats.st_size if kinds[0] else 0))
    return sorted(found, key=lambda entry: entry.name)


@contextlib.contextmanager
def _locked(folder: int) -> Iterator[None]:
    """Let one transaction after the other work in a root, of this and of other processes."""
    descriptor = os.open(".", _FOLDER, dir_fd=folder)  # of its own: a duplicate would share the lock
    end = time.monotonic() + LOCK_SECONDS
    try:
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > end:
                    raise ToolError("Another process is writing here; try again later.") from None
                time.sleep(0.005)
            except OSError:
                break  # some file systems have no locks
        yield
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _told(path: str) -> Iterator[None]:
    """Turn errors of the system into words for an agent; they name the path below the root and nothing above."""
    shown = path or "the folder"
    try:
        yield
    except FileNotFoundError:
        raise _Missing(f"There is no {shown}: no such file or folder.") from None
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENOTDIR):
            raise ToolError(f"{shown}: a part of it is a link or no folder; links are not followed.") from None
        raise ToolError(f"{shown}: {error.strerror or error}.") from None
