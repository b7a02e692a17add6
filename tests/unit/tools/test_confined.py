"""Nothing leaves a root: neither by a path, nor by a link, nor by winning a race."""

from __future__ import annotations

import contextlib
import hashlib
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.unit.tools.escapes import ESCAPES

from quarterdeck.errors import ToolError
from quarterdeck.tools import confined
from quarterdeck.tools.confined import Root
from quarterdeck.tools.names import parts_of

SECRET = b"the secret outside"


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Lay out a root with every kind of trap in it, and a secret beside it."""
    base = tmp_path_factory.mktemp("port")
    (base / "secret").write_bytes(SECRET)
    (base / "outside").mkdir()
    (base / "outside" / "secret").write_bytes(SECRET)
    root = base / "root"
    (root / "a" / "b").mkdir(parents=True)
    (root / "a" / "file.txt").write_text("inside")
    for name, target in {
        "link": "../secret", "linkdir": "../outside", "a/uplink": "../../outside", "absolute": str(base / "secret"),
        "loop": "loop", "chain": "linkdir", "dangling": "../outside/not-there", "selflink": ".", "proc": "/proc",
        "fdlink": "/proc/self/fd", "rootlink": str(base),
    }.items():  # fmt: skip
        (root / name).symlink_to(target)
    os.link(base / "secret", root / "hard")
    os.mkfifo(root / "fifo")
    with socket.socket(socket.AF_UNIX) as listener, contextlib.chdir(root):
        listener.bind("socket")
    yield base


def tree(folder: Path) -> str:
    """Return a hash of all files below a folder: their paths, modes, contents and links."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        mode = path.lstat().st_mode
        content = os.readlink(path) if path.is_symlink() else path.read_bytes() if path.is_file() else ""
        digest.update(repr((str(path.relative_to(folder)), mode, content)).encode())
    return digest.hexdigest()


def attempts(root: Root, path: str) -> list[Any]:
    """Try everything that can be done at a path; return what came through."""
    through: list[Any] = []
    looks = (
        lambda: root.read(path),
        lambda: root.entries(path),
        lambda: list(root.files(path)),
        lambda: root.state(path),
    )
    changes = (
        lambda: root.change(path, lambda old: b"taken over", lambda change, old: None),
        lambda: root.change(path, lambda old: None if old else b"", lambda change, old: None),
    )
    # should the walk ever be broken, no test may reach a file of the machine that it runs on
    for attempt in (*looks, *(() if path.startswith(("/", "~")) else changes)):
        with contextlib.suppress(ToolError):
            through.append(attempt())
    return [result for result in through if result is not None]


def test_the_corpus_is_large_enough() -> None:
    assert len(ESCAPES) >= 200


def test_no_escape_gets_through(port: Path) -> None:
    before = tree(port)
    with Root.open(port / "root", "root", write=True) as root:
        came_through = [path for path in ESCAPES if attempts(root, path)]
    assert came_through == []
    assert tree(port) == before


@pytest.mark.parametrize("path", ["..", "../secret", "a/../../secret", "a/./b", "/", "a//b", "../outside/secret"])
def test_the_walk_itself_refuses_to_climb(port: Path, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The check of names is not the defence: without it nothing gets out either."""
    monkeypatch.setattr(confined, "parts_of", lambda path: tuple(path.split("/")))
    before = tree(port)
    with Root.open(port / "root", "root", write=True) as root:
        assert attempts(root, path) == []
    assert tree(port) == before


@given(path=st.text(alphabet="./\\~:%2eaf \0\u202e\uff0e\uff0flink", max_size=24))
@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_whatever_the_path_nothing_outside_is_read(port: Path, path: str) -> None:
    with Root.open(port / "root", "root") as root, contextlib.suppress(ToolError):
        assert root.read(path) == b"inside"


@given(path=st.text(max_size=40))
@settings(max_examples=300, deadline=None)
def test_a_path_that_is_taken_has_plain_parts_only(path: str) -> None:
    with contextlib.suppress(ToolError):
        for part in parts_of(path):
            assert part not in ("", ".", "..") and "/" not in part and part.isprintable()


def test_a_race_with_links_is_never_won(tmp_path: Path) -> None:
    """A thread swaps a folder and a file for links to the outside while both are read and written."""
    outside, root_folder = tmp_path / "outside", tmp_path / "root"
    outside.mkdir()
    (outside / "f").write_bytes(SECRET)
    (root_folder / "d").mkdir(parents=True)
    (root_folder / "d" / "f").write_bytes(b"inside")
    over = threading.Event()

    def swap() -> None:
        d, f = root_folder / "d", root_folder / "g"
        while not over.is_set():
            for path, aside, target in ((d, root_folder / "d2", outside), (f, root_folder / "g2", outside / "f")):
                with contextlib.suppress(OSError):
                    os.rename(path, aside)
                with contextlib.suppress(OSError):
                    os.symlink(target, path)
                with contextlib.suppress(OSError):
                    os.unlink(path)
                with contextlib.suppress(OSError):
                    os.rename(aside, path)

    thread = threading.Thread(target=swap)
    thread.start()
    leaked = 0
    try:
        with Root.open(root_folder, "root", write=True) as root:
            for _ in range(400):
                for path in ("d/f", "g"):
                    with contextlib.suppress(ToolError):
                        leaked += root.read(path) == SECRET
                    with contextlib.suppress(ToolError):
                        root.change(path, lambda old: b"inside" + (old or b"")[:20], lambda change, old: None)
    finally:
        over.set()
        thread.join()
    assert leaked == 0
    assert {path.name: path.read_bytes() for path in outside.iterdir()} == {"f": SECRET}


def test_the_root_stays_the_folder_it_was(tmp_path: Path) -> None:
    """The path of the root is swapped for a link after it was opened; the folder itself must not be a link."""
    (tmp_path / "root").mkdir()
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "f").write_bytes(SECRET)
    with Root.open(tmp_path / "root", "root", write=True) as root:
        (tmp_path / "root").rename(tmp_path / "moved")
        (tmp_path / "root").symlink_to("outside")
        with pytest.raises(ToolError, match="There is no f"):
            root.read("f")
        root.change("g", lambda old: b"x", lambda change, old: None)
    assert (tmp_path / "moved" / "g").read_bytes() == b"x" and not (tmp_path / "outside" / "g").exists()
    with pytest.raises(ToolError, match="cannot be opened"):
        Root.open(tmp_path / "root", "root")


def test_a_change_keeps_mode_and_first_makes_the_backup(tmp_path: Path) -> None:
    file = tmp_path / "run.sh"
    file.write_bytes(b"old")
    file.chmod(0o750)
    seen: list[tuple[bytes | None, bytes]] = []
    with Root.open(tmp_path, "root", write=True) as root:
        change = root.change("run.sh", lambda old: b"new", lambda change, old: seen.append((old, file.read_bytes())))
    assert seen == [(b"old", b"old")]
    assert (file.read_bytes(), file.stat().st_mode & 0o7777) == (b"new", 0o750)
    assert change.before and change.after and (change.before.mode, change.after.size) == (0o750, 3)
    assert [path.name for path in tmp_path.iterdir()] == ["run.sh"]


def test_a_change_that_fails_leaves_the_old_file_and_no_litter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "f").write_bytes(b"old")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with Root.open(tmp_path, "root", write=True) as root:
        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(ToolError, match="f: No space left"):
            root.change("f", lambda old: b"new", lambda change, old: None)
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("f", b"old")]


def test_a_file_that_somebody_changes_meanwhile_is_not_overwritten(tmp_path: Path) -> None:
    file = tmp_path / "f"
    file.write_bytes(b"old")

    def overtake(change: confined.Change, old: bytes | None) -> None:
        file.write_bytes(b"theirs")

    with Root.open(tmp_path, "root", write=True) as root, pytest.raises(ToolError, match="by somebody else just now"):
        root.change("f", lambda old: b"mine", overtake)
    assert file.read_bytes() == b"theirs"


def test_a_read_only_root_is_never_changed(tmp_path: Path) -> None:
    with Root.open(tmp_path, "root") as root, pytest.raises(ToolError, match="read only"):
        root.change("f", lambda old: b"x", lambda change, old: None)
    assert list(tmp_path.iterdir()) == []


def test_a_name_that_differs_in_capitals_only_is_refused(tmp_path: Path) -> None:
    (tmp_path / "Readme.md").touch()
    with Root.open(tmp_path, "root", write=True) as root, pytest.raises(ToolError, match=r"Readme\.md already"):
        root.change("README.md", lambda old: b"x", lambda change, old: None)


def test_writers_wait_for_each_other_but_not_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two threads add to one file by two roots; none of what they add is lost."""
    (tmp_path / "f").touch()

    def add(mark: bytes) -> None:
        with Root.open(tmp_path, "root", write=True) as root:
            for _ in range(20):
                root.change("f", lambda old: (old or b"") + mark, lambda change, old: None)

    threads = [threading.Thread(target=add, args=(mark,)) for mark in (b"a", b"b")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted((tmp_path / "f").read_bytes()) == sorted(b"ab" * 20)
    monkeypatch.setattr(confined, "LOCK_SECONDS", 0.02)
    with Root.open(tmp_path, "root", write=True) as root, Root.open(tmp_path, "root", write=True) as other:

        def within(old: bytes | None) -> bytes:
            with pytest.raises(ToolError, match="Another process is writing"):
                other.change("g", lambda old: b"", lambda change, old: None)
            return b"done"

        root.change("f", within, lambda change, old: None)


def test_sizes_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(confined, "MAX_BYTES", 10)
    monkeypatch.setattr(confined, "MAX_ENTRIES", 3)
    (tmp_path / "f").write_bytes(b"x" * 11)
    with Root.open(tmp_path, "root", write=True) as root:
        with pytest.raises(ToolError, match="larger than 10"):
            root.change("f", lambda old: b"x", lambda change, old: None)
        with pytest.raises(ToolError, match="more than 10"):
            root.change("g", lambda old: b"x" * 11, lambda change, old: None)
        for number in range(4):
            (tmp_path / str(number)).touch()
        with pytest.raises(ToolError, match="more than 3 entries"):
            root.entries("")
