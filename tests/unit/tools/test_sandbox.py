"""What code in the sandbox can and cannot do; bubblewrap is a real counterpart that .ci/run installs."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from quarterdeck.errors import ToolError
from quarterdeck.tools import sandbox as module
from quarterdeck.tools import sandbox_inside
from quarterdeck.tools.sandbox import Finished, Limits, Sandbox, bubblewrap, python

here = pytest.mark.skipif(not bubblewrap() and "CI" not in os.environ, reason="no bubblewrap on this machine")
pytestmark = here
BOTH = [False, True] if os.getuid() == 0 else [True]
"""Root's walls and a user's walls, as far as this process can build them."""


@pytest.fixture(params=BOTH, ids=lambda walls: "user" if walls else "root")
def walls(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


async def shell(command: str, walls: bool, limits: Limits | None = None) -> Finished:
    return await Sandbox(limits or Limits(seconds=20), user_namespace=walls).run(["/bin/sh", "-c", command])


async def program(code: str, walls: bool, limits: Limits | None = None) -> Finished:
    box = Sandbox(limits or Limits(seconds=20), user_namespace=walls)
    return await box.run([python(), "-I", "-B", "/tmp/main.py"], {"/tmp/main.py": code.encode()})


async def test_code_runs_and_its_files_come_back(walls: bool) -> None:
    done = await program(
        "open('a.txt','w').write('hi'); import os; os.makedirs('d'); open('d/b','wb'); print(2)", walls
    )
    assert (done.exit_code, done.stdout, done.stderr) == (0, "2\n", "")
    assert done.files == {"a.txt": b"hi", "d/b": b""} and done.skipped == 0


async def test_what_fails_says_so(walls: bool) -> None:
    done = await program("raise SystemExit(7)", walls)
    assert done.exit_code == 7
    assert "ZeroDivisionError" in (await program("1/0", walls)).stderr


UNSEEN: list[Callable[[Path], str]] = [
    lambda secret: "/etc/shadow",
    lambda secret: "/etc/passwd",
    lambda secret: str(secret),
    lambda secret: f"/proc/{os.getpid()}/environ",
    lambda secret: "/proc/1/root/etc/shadow",
    lambda secret: str(Path(__file__)),
    lambda secret: str(Path.home() / ".bashrc"),
]


@pytest.mark.parametrize("place", UNSEEN, ids=range(len(UNSEEN)))
async def test_files_outside_are_not_seen(place: Callable[[Path], str], walls: bool, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("canary")
    secret.chmod(0o644)
    done = await shell(f"cat '{place(secret)}'", walls)
    assert done.exit_code != 0 and not done.stdout


async def test_the_home_folder_is_not_there(walls: bool) -> None:
    done = await program(f"import os; print(os.path.isdir({str(Path.home() / '.ssh')!r}), os.listdir('/home') "
                         "if os.path.isdir('/home') else [])", walls)  # fmt: skip
    assert done.stdout == "False []\n"


@pytest.mark.parametrize("place", ["/canary", "/usr/canary", "/dev/shm/canary", "/etc/canary", "/proc/canary",
                                   "/../canary", "{prefix}/canary", "{tmp}/canary"])  # fmt: skip
async def test_nothing_outside_is_written(place: str, walls: bool, tmp_path: Path) -> None:
    target = place.format(prefix=sys.base_prefix, tmp=tmp_path)
    done = await shell(f"echo x > '{target}'", walls)
    assert done.exit_code != 0
    assert not Path(target).exists() and not list(tmp_path.iterdir())


@pytest.mark.parametrize("way", ["socket.create_connection(('127.0.0.1', {port}), 2)",
                                 "socket.create_connection(('1.1.1.1', 53), 2)",
                                 "socket.getaddrinfo('example.org', 80)",
                                 "socket.socket(socket.AF_UNIX).connect(chr(0) + {name!r})"])  # fmt: skip
async def test_no_socket_leads_out(way: str, walls: bool, socket_enabled: None) -> None:
    name = f"quarterdeck-{os.getpid()}"
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket(socket.AF_UNIX) as abstract:
        abstract.bind("\0" + name)
        abstract.listen()
        done = await program(f"import socket; {way.format(port=server.getsockname()[1], name=name)}", walls)
    assert done.exit_code == 1 and "error" in done.stderr.lower()


async def test_no_secret_is_in_the_environment(walls: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-canary-0123456789")
    done = await shell("env; cat /proc/*/environ | tr '\\0' '\\n'; cat /proc/*/cmdline", walls)
    assert "canary" not in done.stdout and "PATH=" in done.stdout


@pytest.mark.skipif(
    os.getuid() == 0 and BOTH == [True], reason="limits of processes do not hold for root's own account"
)
async def test_a_fork_bomb_meets_a_limit() -> None:
    bomb = "import os, time\nn = 0\ntry:\n  while True:\n    if os.fork() == 0: time.sleep(60)\n    n += 1\n"
    done = await program(bomb + "except OSError: print(n)", os.getuid() != 0)
    assert done.exit_code == 0 and 0 < int(done.stdout) < Limits().processes


async def test_memory_and_disk_have_a_limit(walls: bool) -> None:
    done = await program("bytearray(2**30)", walls)
    assert done.exit_code == 1 and "MemoryError" in done.stderr
    fill = "n=0; while [ $n -lt 12 ]; do dd if=/dev/zero of=$n bs=1M count=8 2>/dev/null || exit 9; n=$((n+1)); done"
    assert (await shell(fill, walls)).exit_code == 9
    assert (await shell("dd if=/dev/zero of=/tmp/a bs=1M count=64 2>/dev/null", walls)).exit_code != 0


async def test_what_comes_out_is_bounded(walls: bool) -> None:
    limits = Limits(seconds=20, output_bytes=1000, files=3, total_bytes=5000)
    done = await program("print('x' * 10**7)\nfor n in range(9): open(str(n), 'w').write('y' * 2000)", walls, limits)
    assert len(done.stdout) < 1100 and done.stdout.endswith("[cut: the rest of the output]")
    assert len(done.files) == 2 and done.skipped == 7


async def test_links_and_pipes_do_not_come_back(walls: bool) -> None:
    done = await shell("ln -s /usr/bin/env link; mkfifo pipe; echo x > real", walls)
    assert set(done.files) == {"real"} and done.skipped == 2


def processes_with(mark: str) -> list[str]:
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # one that ended while it was looked at
            if entry.name.isdigit() and mark in (entry / "cmdline").read_text(errors="replace"):
                found.append(entry.name)
    return found


async def gone(mark: str) -> bool:
    for _ in range(100):
        if not processes_with(mark):
            return True
        await asyncio.sleep(0.02)
    return False


async def test_nothing_is_left_behind(walls: bool) -> None:
    mark = f"6{os.getpid()}1"
    started = time.monotonic()
    done = await shell(f"(setsid nohup sleep {mark} >/dev/null 2>&1 &); echo started", walls)
    assert done.stdout == "started\n" and time.monotonic() - started < 10
    assert await gone(mark)


async def test_the_deadline_kills_all_of_it(walls: bool) -> None:
    mark = f"6{os.getpid()}2"
    with pytest.raises(TimeoutError):
        await shell(f"trap '' TERM INT; sleep {mark} & sleep {mark}", walls, Limits(seconds=0.6))
    assert await gone(mark)


async def test_a_cancelled_call_is_dead(walls: bool) -> None:
    mark = f"6{os.getpid()}3"
    call = asyncio.ensure_future(shell(f"sleep {mark}", walls))
    while not processes_with(mark):
        await asyncio.sleep(0.02)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert await gone(mark)


def test_it_dies_with_the_process_that_started_it(tmp_path: Path) -> None:
    mark = f"6{os.getpid()}4"
    code = ("import asyncio; from quarterdeck.tools.sandbox import Sandbox; "
            f"asyncio.run(Sandbox().run(['/bin/sleep', '{mark}']))")  # fmt: skip
    parent = subprocess.Popen([sys.executable, "-c", code])
    while not processes_with(f"/bin/sleep\0{mark}"):
        time.sleep(0.02)
    parent.kill()
    parent.wait()
    assert asyncio.run(gone(mark))


async def test_killing_its_supervision_gains_nothing(walls: bool) -> None:
    with pytest.raises(ToolError, match="supervision"):
        await shell("kill -9 $PPID; sleep 5", walls)
    assert (await shell("kill -9 1; echo alive", walls)).stdout == "alive\n"


async def test_no_privilege_can_be_gained(walls: bool) -> None:
    done = await shell("grep -E 'NoNewPrivs|CapEff' /proc/self/status; id -u; mount -t tmpfs x /tmp 2>&1", walls)
    assert "NoNewPrivs:\t1" in done.stdout and "CapEff:\t0000000000000000" in done.stdout
    assert done.exit_code != 0 and "\n0\n" not in done.stdout


def test_without_bubblewrap_nothing_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "bubblewrap", lambda: "")
    with pytest.raises(ToolError, match="apt-get install bubblewrap"):
        Sandbox()


async def test_walls_that_do_not_stand_are_noticed(walls: bool) -> None:
    box = Sandbox(Limits(seconds=20), user_namespace=walls)
    box._walls.remove("--unshare-net")
    with pytest.raises(ToolError, match=r"Nothing was run.*net"):
        await box.run(["/bin/true"])
    box._walls.insert(1, "--no-such-option")
    with pytest.raises(ToolError, match=r"Nothing was run.*no-such-option"):
        await box.run(["/bin/true"])


def test_every_wall_is_compared() -> None:
    own = {wall: os.readlink(f"/proc/self/ns/{wall}") for wall in sandbox_inside.WALLS}
    assert sandbox_inside.standing(own) == list(sandbox_inside.WALLS)
    assert sandbox_inside.standing(dict.fromkeys(own, "another")) == []
    assert sandbox_inside.standing({}) == list(sandbox_inside.WALLS)
