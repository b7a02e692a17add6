"""Putting a file in place at once: whoever looks, and whoever comes after a crash, sees the old one or the new one."""

from __future__ import annotations

import contextlib
import hashlib
import os

_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


def put_file(folder: int, name: str, content: bytes, mode: int = 0o644, owner: os.stat_result | None = None) -> None:
    """Put a file in place at once and for good: temporary file, fsync, rename, fsync of the folder.

    Args:
        folder: The descriptor of the folder.
        name: In that folder.
        content: The whole of it.
        mode: Permission bits.
        owner: Whose file it replaces; it stays theirs where the system lets us.
    """
    aside = temporary(name)
    with contextlib.suppress(FileNotFoundError):
        os.unlink(aside, dir_fd=folder)  # left by a process that died here
    descriptor = os.open(aside, _NEW, 0o600, dir_fd=folder)
    try:
        with open(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            if owner is not None and (owner.st_uid, owner.st_gid) != (os.geteuid(), os.getegid()):
                with contextlib.suppress(PermissionError):
                    os.fchown(file.fileno(), owner.st_uid, owner.st_gid)
            os.fchmod(file.fileno(), mode)
            os.fsync(file.fileno())
        os.rename(aside, name, src_dir_fd=folder, dst_dir_fd=folder)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(aside, dir_fd=folder)
        raise
    os.fsync(folder)


def temporary(name: str) -> str:
    """Return the name under which the next content of a file is written; always the same, so that none is left over."""
    return f".quarterdeck-{hashlib.sha256(name.encode()).hexdigest()[:24]}.tmp"
