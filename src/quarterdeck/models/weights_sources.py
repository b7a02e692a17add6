"""Where weights come from: Hugging Face, a mirror of packages, or a file. Each fills one partial file.

Whatever arrives is only bytes: it is neither imported nor trusted, `weights.pull` checks the hash of the whole.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from quarterdeck.errors import ModelError

if TYPE_CHECKING:
    import httpx

CONNECT_S = 5.0
READ_S = 30.0
PART_S = 900.0
"""Seconds until a source that does not connect, falls silent, or does not deliver a part, is given up."""

ATTEMPTS = 5
"""Broken downloads that are taken up again before a source is given up."""

_COPY_BYTES = 1 << 20
_CREDENTIALS = re.compile(r"//[^/@\s]+@")


class SourceFailed(Exception):
    """A source could not deliver; the text says why."""


@dataclass(frozen=True, slots=True)
class Mirror:
    """Packages that carry a file in parts, as data.

    Attributes:
        package: The packages' name, with `{}` for the part's number, counted from 1.
        version: The one version that is used.
        parts: How many there are.
        file: The pattern of the one file in a package that is a part.
    """

    package: str
    version: str
    parts: int
    file: str = "*/data/part*.bin"


def from_file(source: Path, partial: Path, size: int) -> None:
    """Link or copy a file that is on this machine.

    Raises:
        ModelError: `no_weights` when there is no such file or it has another size.
    """
    if not source.is_file():
        raise ModelError(f"There is no file {source}. Give the path of the weights' own file.", "no_weights")
    found = source.stat().st_size
    if found != size:
        raise ModelError(
            f"{source} has {found} bytes, these weights have {size}: it is another file. Give the right one, or "
            "fetch it: quarterdeck models pull, without --from",
            "no_weights",
        )
    partial.unlink(missing_ok=True)
    try:
        os.link(source, partial)
    except OSError:
        shutil.copyfile(source, partial)


def from_hub(
    repository: str,
    file: str,
    partial: Path,
    size: int,
    progress: Callable[[int, int], None],
    transport: httpx.BaseTransport | None = None,
) -> None:
    """Fetch a file from Hugging Face (or `HF_ENDPOINT`), going on from what `partial` holds.

    Args:
        repository: Owner and name.
        file: The file's name there.
        partial: The file to append to.
        size: The bytes that it must have in the end.
        progress: Told the bytes so far and in all.
        transport: Carries the requests; for tests.

    Raises:
        SourceFailed: When it is out of reach or keeps breaking off.
    """
    import httpx

    base = os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")
    url = f"{base}/{repository}/resolve/main/{file}"
    timeout = httpx.Timeout(READ_S, connect=CONNECT_S)
    why = ""
    with httpx.Client(timeout=timeout, follow_redirects=True, transport=transport) as client:
        for _ in range(ATTEMPTS):
            before = _size(partial)
            if before == size:
                return
            try:
                _append_stream(client, url, partial, size, progress)
            except (httpx.HTTPError, OSError) as error:
                if isinstance(error, OSError) and not isinstance(error, ConnectionError):
                    raise
                why = str(error) or type(error).__name__
                if _size(partial) == before:
                    break
    if _size(partial) != size:
        raise SourceFailed(why or f"it ended at {_size(partial)} of {size} bytes")


def _append_stream(
    client: httpx.Client, url: str, partial: Path, size: int, progress: Callable[[int, int], None]
) -> None:
    done = _size(partial)
    done = done if done < size else 0
    headers = {"Range": f"bytes={done}-"} if done else {}
    with client.stream("GET", url, headers=headers) as response:
        if response.status_code not in (200, 206):
            raise SourceFailed(f"answered {response.status_code}")
        if response.status_code == 200:
            done = 0  # the server does not resume: what is here would only be repeated
        with partial.open("r+b" if partial.exists() else "wb") as out:
            out.truncate(done)
            out.seek(done)
            for chunk in response.iter_bytes(_COPY_BYTES):
                done += len(chunk)
                if done > size:
                    raise SourceFailed(f"sent more than the {size} bytes of the file")
                out.write(chunk)
                progress(done, size)


def from_mirror(mirror: Mirror, partial: Path, size: int, progress: Callable[[int, int], None]) -> None:
    """Fetch a file part by part as packages, with the package client and configuration that the user has.

    The packages are unpacked into a folder of their own, never imported, and deleted part by part.

    Raises:
        SourceFailed: When there is no client, or it cannot fetch a part.
    """
    client = package_client()
    done, offset = _parts(partial)
    with partial.open("r+b" if partial.exists() else "wb") as out:
        out.truncate(offset)
        out.seek(offset)
        progress(offset, size)
        for number in range(done + 1, mirror.parts + 1):
            with tempfile.TemporaryDirectory(dir=partial.parent, prefix=".part-") as folder:
                chunk = _fetch_part(client, mirror, number, Path(folder))
                offset += chunk.stat().st_size
                if offset > size:
                    raise SourceFailed(f"its parts hold more than the {size} bytes of the file")
                with chunk.open("rb") as part:
                    shutil.copyfileobj(part, out, _COPY_BYTES)
            out.flush()
            _parts_file(partial).write_text(json.dumps({"parts": number, "bytes": offset}))
            progress(offset, size)


def package_client() -> list[str]:
    """Return the command that unpacks a package's wheel into the folder that follows it.

    Raises:
        SourceFailed: When neither uv nor pip is at hand.
    """
    wheel_only = ["--no-deps", "--only-binary", ":all:"]
    uv = [found] if (found := shutil.which("uv")) else [sys.executable, "-m", "uv"] if _has("uv") else []
    if uv:
        quiet = ["--python", sys.executable, "--no-cache", "--no-compile-bytecode"]
        return [*uv, "pip", "install", *quiet, *wheel_only, "--target"]
    if _has("pip"):
        quiet = ["--no-cache-dir", "--no-compile", "--disable-pip-version-check"]
        return [sys.executable, "-m", "pip", "install", *quiet, *wheel_only, "--target"]
    raise SourceFailed("neither uv nor pip is installed here")


def forget_parts(partial: Path) -> None:
    """Remove the note of how many parts a partial file holds."""
    _parts_file(partial).unlink(missing_ok=True)


def _fetch_part(client: list[str], mirror: Mirror, number: int, folder: Path) -> Path:
    requirement = f"{mirror.package.format(number)}=={mirror.version}"
    try:
        ended = subprocess.run(
            [*client, str(folder), requirement], capture_output=True, text=True, timeout=PART_S, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise SourceFailed(f"{requirement} did not arrive within {PART_S:.0f} s") from error
    except OSError as error:
        raise SourceFailed(f"{client[0]} cannot be run ({error.strerror})") from error
    if ended.returncode != 0:
        lines = [line for line in ended.stderr.splitlines() if line.strip()] or ["no message"]
        raise SourceFailed(f"{requirement}: {_CREDENTIALS.sub('//***@', ' '.join(lines[-2:]))[:300]}")
    chunks = [path for path in folder.glob(mirror.file) if path.is_file() and not path.is_symlink()]
    if len(chunks) != 1:
        raise SourceFailed(f"{requirement} holds {len(chunks)} chunks, expected one")
    return chunks[0]


def _parts(partial: Path) -> tuple[int, int]:
    """Return how many parts of a mirror the partial file is known to hold, and their bytes."""
    try:
        noted = json.loads(_parts_file(partial).read_text())
        parts, offset = int(noted["parts"]), int(noted["bytes"])
    except (OSError, ValueError, KeyError, TypeError):
        return 0, 0
    return (parts, offset) if 0 < offset <= _size(partial) else (0, 0)


def _parts_file(partial: Path) -> Path:
    return partial.with_name(partial.name + ".parts")


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _has(module: str) -> bool:
    return importlib.util.find_spec(module) is not None
