"""Running git on a repository that nobody vouches for: nothing that it has configured is run, nothing is fetched."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import stat
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from quarterdeck.errors import ToolError
from quarterdeck.tools.confined import Root
from quarterdeck.tools.names import parts_of

SECONDS = 20.0
MAX_OUTPUT = 400_000
SAFE = (
    "-c", "core.fsmonitor=false",
    "-c", "core.hooksPath=/dev/null",
    "-c", "core.pager=cat",
    "-c", "core.untrackedCache=false",
    "-c", "commit.gpgSign=false",
    "-c", "log.showSignature=false",
    "-c", "gc.auto=0",
    "-c", "maintenance.auto=false",
    "-c", "submodule.recurse=false",
)  # fmt: skip
_ALONE = {
    "GIT_ALLOW_PROTOCOL": "none",
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_NO_LAZY_FETCH": "1",
    "GIT_TERMINAL_PROMPT": "0",
    "PATH": os.defpath,
    "LC_ALL": "C.UTF-8",
    "HOME": "/nonexistent",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_ATTR_NOSYSTEM": "1",
    "GIT_EDITOR": "false",
    "GIT_ASKPASS": "false",
    "GIT_NO_REPLACE_OBJECTS": "1",
}
_KNOWN_KEY = re.compile(
    r"core\.(?:repositoryformatversion|filemode|bare|logallrefupdates|ignorecase|precomposeunicode|symlinks|autocrlf"
    r"|eol|safecrlf|quotepath|abbrev|compression)|user\.(?:name|email)|remote\..*\.(?:url|pushurl|fetch|push|tagopt)"
    r"|branch\..*\.(?:remote|merge|rebase)|branch\.(?:sort|autosetupmerge|autosetuprebase)|init\.defaultbranch"
    r"|(?:color|advice|gc|pull|push|fetch)\..*|submodule\..*\.(?:url|active)|extensions\.objectformat",
    re.IGNORECASE,
)
"""What a repository may configure. None of it names a program or a file; what is not known here is refused."""
_PLAIN = ("HEAD", "config", "index", "objects", "refs", "info", "packed-refs", "logs")


@dataclass(frozen=True, slots=True)
class Repository:
    """A checkout inside a root, held by descriptor; use `repository`."""

    descriptor: int
    who: Mapping[str, str] = field(default_factory=dict)

    def git(self, *arguments: str, given: str = "", allowed: tuple[int, ...] = (0,)) -> str:
        """Run a git command on it and return what it printed, at most 400,000 bytes of it.

        Args:
            arguments: The command and its options; whatever a model wrote stands behind `--` or was checked.
            given: What it reads from its standard input.
            allowed: Exit codes that are no failure.

        Raises:
            ToolError: It failed or took too long; carries what git said.
        """
        command = ["git", *SAFE, "--literal-pathspecs", "--no-pager", "--git-dir=.git", "--work-tree=.", *arguments]
        code, out, said = _run(command, f"/proc/self/fd/{self.descriptor}", {**_ALONE, **self.who}, given)
        if code not in allowed:
            what = said.strip().replace("fatal: ", "").replace("error: ", "")[:500]
            raise ToolError(f"git {arguments[0]} failed: {what or f'exit code {code}'}")
        return out


@contextlib.contextmanager
def repository(root: Root, path: str, run_id: str = "") -> Iterator[Repository]:
    """Open a repository inside a root.

    Args:
        root: The root.
        path: The folder that holds `.git`, below the root; empty for the root itself.
        run_id: In whose name commits are made.

    Raises:
        ToolError: It is no repository, parts of it stand elsewhere, or it is configured to run programs.
    """
    who = {
        f"GIT_{role}_{part}": value
        for role in ("AUTHOR", "COMMITTER")
        for part, value in (("NAME", f"Quarterdeck run {run_id}"), ("EMAIL", f"run-{run_id}@quarterdeck.invalid"))
    }
    with contextlib.ExitStack() as held:
        try:
            folder = held.enter_context(root.folder(parts_of(path)))
            _check_whole(folder)
        except OSError:
            raise ToolError(f"{path or 'The root'} is no git repository: it has no folder .git of its own.") from None
        opened = Repository(folder, who)
        _check_config(opened)
        yield opened


def _check_whole(folder: int) -> None:
    """Refuse a repository that stands elsewhere, in whole or in part, and so would lead out of the root."""
    git = os.open(".git", os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
    try:
        for name in os.listdir(git):
            linked = stat.S_ISLNK(os.stat(name, dir_fd=git, follow_symlinks=False).st_mode)
            if name in ("commondir", "gitdir", "config.worktree") or (linked and name in _PLAIN):
                raise ToolError("This repository keeps parts of itself elsewhere; the git tools do not follow there.")
        for name in ("objects/info/alternates", "objects/info/http-alternates"):
            with contextlib.suppress(FileNotFoundError):
                os.stat(name, dir_fd=git, follow_symlinks=False)
                raise ToolError("This repository takes objects from another one; the git tools do not follow there.")
    finally:
        os.close(git)


def _check_config(opened: Repository) -> None:
    """Refuse a repository whose own configuration has a key that could run a program or read another file."""
    listed = ("config", "--file", ".git/config", "--no-includes", "--list", "--name-only", "-z")
    names = opened.git(*listed)
    for name in filter(None, names.split("\0")):
        if not _KNOWN_KEY.fullmatch(name):
            raise ToolError(
                f"This repository's own configuration sets {name[:100]}, which the git tools do not trust. "
                "A person can remove it with: git config --local --unset KEY"
            )


def _run(command: list[str], folder: str, environment: Mapping[str, str], given: str) -> tuple[int, str, str]:
    """Run a program and return its exit code, its output up to the limit, and its messages."""
    descriptor = re.fullmatch(r"/proc/self/fd/(\d+)", folder)
    with tempfile.TemporaryFile() as said, tempfile.TemporaryFile() as stdin:
        stdin.write(given.encode("utf-8", "replace"))
        stdin.seek(0)
        try:
            process = subprocess.Popen(
                command, cwd=folder, env=dict(environment), stdin=stdin, stdout=subprocess.PIPE, stderr=said,
                start_new_session=True, pass_fds=(int(descriptor[1]),) if descriptor else (),
            )  # fmt: skip
        except OSError as error:
            raise ToolError(f"git could not be started: {error.strerror or error}") from None
        late = threading.Event()
        timer = threading.Timer(SECONDS, _kill, (process, late))
        timer.start()
        with process:
            assert process.stdout is not None
            out = process.stdout.read(MAX_OUTPUT + 1)
            if len(out) > MAX_OUTPUT:
                _kill(process)
            code = process.wait()
        timer.cancel()
        if late.is_set():
            raise ToolError(f"git took longer than {SECONDS:g} s and was stopped.")
        if len(out) > MAX_OUTPUT:
            out, code = out[:MAX_OUTPUT] + b"\n[cut]\n", 0
        said.seek(0)
        return code, out.decode(errors="replace"), said.read(4000).decode(errors="replace")


def _kill(process: subprocess.Popen[bytes], late: threading.Event | None = None) -> None:
    if late is not None:
        late.set()
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
