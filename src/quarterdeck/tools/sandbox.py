"""Running code that nobody trusts: in a process of its own, between walls that the kernel keeps, or not at all.

The walls are namespaces made by bubblewrap: no network, no other process to be seen, a read-only root that holds the
system's programs and Python and nothing else, an empty environment, and a work folder in memory that is gone at the
end. What the code leaves in that folder comes back as bytes.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

from quarterdeck.errors import ToolError
from quarterdeck.tools import sandbox_inside
from quarterdeck.tools.sandbox_inside import WALLS, WORK

INSTALL = "Install bubblewrap (on Debian and Ubuntu: apt-get install bubblewrap) on a Linux kernel from 5.14 on."
_SCRIPT = "/inside.py"
_PATH = "/usr/local/bin:/usr/bin:/bin"
_CHUNK = 65_536
_SYSTEM = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")


@dataclass(frozen=True, slots=True)
class Limits:
    """What code in the sandbox may use.

    Attributes:
        seconds: Wall time of the whole call.
        cpu_seconds: CPU time a process.
        memory_bytes: Address space a process.
        processes: Processes and threads at once.
        open_files: Open files a process.
        file_bytes: The largest file.
        folder_bytes: The work folder; the folder for temporary files has as much again.
        output_bytes: What is kept of stdout, and of stderr.
        files: How many of the files that are left in the work folder come back.
        total_bytes: All that come back together.
    """

    seconds: float = 30.0
    cpu_seconds: int = 30
    memory_bytes: int = 512 * 2**20
    processes: int = 32
    open_files: int = 128
    file_bytes: int = 16 * 2**20
    folder_bytes: int = 32 * 2**20
    output_bytes: int = 64_000
    files: int = 50
    total_bytes: int = 8 * 2**20


@dataclass(frozen=True, slots=True)
class Finished:
    """How a command in the sandbox ended.

    Attributes:
        exit_code: Of the command; a negative number is the signal that ended it.
        stdout: Its beginning, and a note on what was cut.
        stderr: Likewise.
        files: What the command left in the work folder, by path relative to it.
        skipped: How many more files there were that were too large, too many or no regular files.
        seconds: Wall time.
    """

    exit_code: int
    stdout: str
    stderr: str
    files: Mapping[str, bytes]
    skipped: int
    seconds: float


class Sandbox:
    """Runs commands between walls, each in walls of its own.

    Args:
        limits: What each of them may use.
        user_namespace: Whether the walls are made as a user without privileges; by default unless this process is
            root's. Root needs none, and gives the command an account that owns nothing.

    Raises:
        ToolError: There is nothing on this machine that could keep code in; says what to install.
    """

    def __init__(self, limits: Limits | None = None, *, user_namespace: bool | None = None) -> None:
        program = bubblewrap()
        if not program:
            raise ToolError(f"Nothing was run: this machine has no sandbox, and code never runs without one. {INSTALL}")
        self.limits = limits or Limits()
        self._walls = [program, *_walls(self.limits, os.getuid() != 0 if user_namespace is None else user_namespace)]

    async def run(self, argv: Sequence[str], files: Mapping[str, bytes] | None = None) -> Finished:
        """Run a command to its end.

        Args:
            argv: Program and arguments, as they are inside: `sys.executable` does not exist there, `python()` does.
            files: To be put there first, by absolute path below `/work` or `/tmp`.

        Returns:
            How it ended, whatever its exit code.

        Raises:
            TimeoutError: It took longer than its limit; it and all that it started is dead.
            ToolError: The walls could not be built, or the command broke its own supervision.
        """
        started = time.monotonic()
        reading, writing = os.pipe()
        request = {
            "argv": list(argv),
            "files": {name: base64.b64encode(data).decode() for name, data in (files or {}).items()},
            "limits": asdict(self.limits),
            "outside": {wall: os.readlink(f"/proc/self/ns/{wall}") for wall in WALLS},
            "report": writing,
        }
        command = [*self._walls, "--", python(), "-I", "-B", _SCRIPT]
        try:
            process = await asyncio.create_subprocess_exec(
                *command,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                pass_fds=[writing],
                env={"PATH": _PATH},
                start_new_session=True,
            )
        except BaseException:
            os.close(reading)
            raise
        finally:
            os.close(writing)
        try:
            async with asyncio.timeout(self.limits.seconds):
                out, err, report = await self._talk(process, reading, json.dumps(request).encode())
        finally:
            await _end(process)
        return self._finished(out, err, report, time.monotonic() - started)

    async def _talk(
        self, process: asyncio.subprocess.Process, reading: int, request: bytes
    ) -> tuple[bytes, bytes, bytes]:
        assert process.stdin and process.stdout and process.stderr
        reader = asyncio.StreamReader()
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(reading, "rb")
        )
        most = self.limits.output_bytes
        try:
            _, out, err, report = await asyncio.gather(
                _send(process.stdin, request),
                _read(process.stdout, most),
                _read(process.stderr, most),
                _read(reader, 2 * self.limits.total_bytes + 2**20),
            )
        finally:
            transport.close()
        return out, err, report

    def _finished(self, out: bytes, err: bytes, report: bytes, seconds: float) -> Finished:
        first, _, rest = report.partition(b"\n")
        began = _parsed(first)
        if "unconfined" in began:
            raise ToolError(f"Nothing was run: the sandbox lacks walls ({', '.join(began['unconfined'])}). {INSTALL}")
        if "ready" not in began:
            said = " ".join(err.decode("utf-8", "replace").split())[:300]
            raise ToolError(
                f"Nothing was run: the sandbox could not be set up ({said or 'no reason given'}). {INSTALL}"
            )
        ended = _parsed(rest)
        if "exit" not in ended:
            raise ToolError("The code ended its own supervision, so nothing that it made is kept.")
        return Finished(
            exit_code=int(ended["exit"]),
            stdout=_text(out, self.limits.output_bytes),
            stderr=_text(err, self.limits.output_bytes),
            files={str(name): base64.b64decode(data) for name, data in ended["files"].items()},
            skipped=int(ended["skipped"]),
            seconds=seconds,
        )


def bubblewrap() -> str:
    """Return the path of bubblewrap, from the system's own folders; empty when there is none."""
    return shutil.which("bwrap", path=_PATH) or ""


def python() -> str:
    """Return the path of the Python that is in the sandbox: that of this process, without its packages."""
    return os.path.realpath(getattr(sys, "_base_executable", "") or sys.executable)


@cache
def _roots() -> tuple[str, ...]:
    """Return the folders besides the system's that Python needs."""
    prefixes = {os.path.realpath(prefix) for prefix in (sys.base_prefix, sys.base_exec_prefix)}
    home = os.path.realpath(Path.home())
    wide = [prefix for prefix in prefixes if Path(home).is_relative_to(prefix) and not home.startswith("/usr/")]
    if wide:
        raise ToolError(f"Nothing was run: Python is installed in {wide[0]}, around the home folder; install it apart.")
    return tuple(sorted(prefix for prefix in prefixes if not Path(prefix).is_relative_to("/usr")))


def _walls(limits: Limits, user_namespace: bool) -> list[str]:
    size = str(limits.folder_bytes)
    options = [
        *("--unshare-ipc", "--unshare-pid", "--unshare-net", "--unshare-uts", "--unshare-cgroup-try"),
        *("--die-with-parent", "--new-session", "--hostname", "sandbox", "--clearenv"),
        *("--setenv", "PATH", _PATH, "--setenv", "HOME", WORK, "--setenv", "TMPDIR", "/tmp"),
        *("--setenv", "LANG", "C.UTF-8", "--ro-bind", "/usr", "/usr", "--ro-bind-try", "/etc/alternatives"),
        "/etc/alternatives",
    ]
    if user_namespace:
        options += ["--unshare-user", "--disable-userns", "--uid", "65534", "--gid", "65534", "--cap-drop", "ALL"]
    for name in _SYSTEM:
        path = f"/{name}"
        if os.path.islink(path):
            options += ["--symlink", os.readlink(path), path]
        elif os.path.isdir(path):
            options += ["--ro-bind", path, path]
    for root in _roots():
        for parent in reversed(Path(root).parents[:-1]):  # only their names: what else is in them stays outside
            options += ["--perms", "0755", "--dir", str(parent)]
        options += ["--ro-bind", root, root]
    options += ["--proc", "/proc", "--dev", "/dev", "--remount-ro", "/dev"]
    for folder in (WORK, "/tmp"):
        options += ["--perms", "0700", "--size", size, "--tmpfs", folder]
    return [*options, "--ro-bind", sandbox_inside.__file__, _SCRIPT, "--remount-ro", "/", "--chdir", WORK]


async def _send(stream: asyncio.StreamWriter, data: bytes) -> None:
    with contextlib.suppress(ConnectionError):  # it never started; its other streams say why
        stream.write(data)
        await stream.drain()
    stream.close()


async def _read(stream: asyncio.StreamReader, most: int) -> bytes:
    """Read to the end; keep the beginning, and one byte more where something was cut."""
    kept = bytearray()
    while chunk := await stream.read(_CHUNK):
        kept += chunk[: max(0, most + 1 - len(kept))]
    return bytes(kept)


async def _end(process: asyncio.subprocess.Process) -> None:
    """Kill what still lives; with the first process of its namespace everything in it dies."""
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    await asyncio.shield(process.communicate())  # to the end of its pipes, not only to its own


def _parsed(line: bytes) -> dict[str, Any]:
    try:
        value = json.loads(line)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _text(data: bytes, most: int) -> str:
    text = data[:most].decode("utf-8", "replace")
    return text if len(data) <= most else f"{text}\n[cut: the rest of the output]"
