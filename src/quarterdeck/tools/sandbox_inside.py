"""The program that stands between the walls of the sandbox and the code in it. Needs the standard library alone.

It is started as a script, inside the walls, with a request on stdin. It proves that the walls stand, gives up every
privilege, carries the command out under limits, and writes what came of it, as JSON, to the descriptor it was given.
"""

from __future__ import annotations

import base64
import json
import os
import resource
import secrets
import signal
import stat
import subprocess
import sys
from typing import Any

WORK = "/work"
WALLS = ("net", "pid", "mnt", "ipc", "uts")
MAX_FOLDERS = 200
_FIRST_UID = 1 << 30  # above every real account, and a fresh one each time: process limits count by account


def main() -> None:
    """Carry the request out."""
    request: dict[str, Any] = json.load(sys.stdin.buffer)
    report = os.fdopen(request["report"], "w")
    os.set_inheritable(report.fileno(), False)
    missing = standing(request["outside"])
    if missing:
        report.write(json.dumps({"unconfined": missing}) + "\n")
        sys.exit(1)
    drop_privileges()
    for name, data in request["files"].items():
        with open(name, "xb") as file:
            file.write(base64.b64decode(data))
    report.write(json.dumps({"ready": True}) + "\n")
    report.flush()
    limits = request["limits"]
    os.chdir(WORK)
    code = subprocess.run(
        request["argv"],
        stdin=subprocess.DEVNULL,
        preexec_fn=lambda: restrict(limits),  # single-threaded here, so safe
        check=False,
    ).returncode
    end_others()
    files, skipped = collect(limits["files"], limits["total_bytes"])
    report.write(json.dumps({"exit": code, "files": files, "skipped": skipped}))
    report.close()


def standing(outside: dict[str, str]) -> list[str]:
    """Return the walls that do not stand: the namespaces that are those of the world outside."""
    return [wall for wall in WALLS if outside.get(wall) in (None, os.readlink(f"/proc/self/ns/{wall}"))]


def drop_privileges() -> None:
    """Become an account that owns nothing, where that is possible; else the walls' own user namespace has to do."""
    if os.getuid() != 0:
        return
    number = _FIRST_UID + secrets.randbelow(1 << 20)
    for folder in (WORK, "/tmp"):
        os.chown(folder, number, number)
    os.setgroups([])
    os.setresgid(number, number, number)
    os.setresuid(number, number, number)


def restrict(limits: dict[str, int]) -> None:
    """Set the limits of this process and all that it starts; none of them can be raised again."""
    for kind, number in (
        (resource.RLIMIT_CPU, limits["cpu_seconds"]),
        (resource.RLIMIT_AS, limits["memory_bytes"]),
        (resource.RLIMIT_NPROC, limits["processes"]),
        (resource.RLIMIT_NOFILE, limits["open_files"]),
        (resource.RLIMIT_FSIZE, limits["file_bytes"]),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(kind, (number, number))
    os.umask(0o077)


def end_others() -> None:
    """Kill whatever the command left running."""
    try:
        os.kill(-1, signal.SIGKILL)
    except ProcessLookupError:
        return


def collect(most: int, most_bytes: int) -> tuple[dict[str, str], int]:
    """Return the regular files of the work folder, and how many were left out.

    Args:
        most: Files to return.
        most_bytes: All of them together.
    """
    found: dict[str, str] = {}
    skipped = folders = 0
    for folder, _, names in os.walk(WORK, onerror=None, followlinks=False):
        folders += 1
        if folders > MAX_FOLDERS:
            break
        for name in sorted(names):
            path = os.path.join(folder, name)
            data = _content(path, most_bytes)
            if data is None or len(found) >= most:
                skipped += 1
                continue
            most_bytes -= len(data)
            shown = os.path.relpath(path, WORK).encode("utf-8", "replace").decode()
            found[shown] = base64.b64encode(data).decode()
    return found, skipped


def _content(path: str, most: int) -> bytes | None:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return None
    with open(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return None
        data = file.read(most + 1)
    return data if len(data) <= most else None


if __name__ == "__main__":
    main()
