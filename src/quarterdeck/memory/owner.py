"""Who may write the index of vectors: one process at a time, by a lock that the system frees when it dies."""

from __future__ import annotations

import fcntl
import os
import threading
from pathlib import Path


class Owner:
    """A claim on a folder.

    Args:
        folder: What is claimed; made when it is first claimed.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / "owner.lock"
        self._descriptor: int | None = None
        self._lock = threading.Lock()

    @property
    def held(self) -> bool:
        """Whether this process has the folder for itself."""
        return self._descriptor is not None

    def claim(self) -> bool:
        """Take the folder if no other process has it; return whether it is ours. Never waits.

        A folder that cannot be written is nobody's: whoever searches does so without it.
        """
        with self._lock:
            if self._descriptor is not None:
                if self._same():
                    return True
                self._close()  # somebody deleted the folder under us
            try:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            except OSError:
                return False
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                os.close(descriptor)
                return False
            self._descriptor = descriptor
            if not self._same():
                self._close()
            return self._descriptor is not None

    def release(self) -> None:
        """Let the folder go; harmless when it is not held."""
        with self._lock:
            self._close()

    def _same(self) -> bool:
        try:
            return self._descriptor is not None and os.fstat(self._descriptor).st_ino == os.stat(self._path).st_ino
        except OSError:
            return False

    def _close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
