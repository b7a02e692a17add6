"""`quarterdeck doctor`: what this machine has and lacks, each with its fix."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Literal

import typer

from quarterdeck.cli import options
from quarterdeck.errors import JournalError, QuarterdeckError

if TYPE_CHECKING:
    from quarterdeck.models.catalog import Catalog, ModelListing
    from quarterdeck.spec.models import ModelsConfig
    from quarterdeck.spec.workspace import Workspace

NETWORK_SECONDS = 3.0
PINNED = ("crewai", "litellm")


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found.

    Attributes:
        level: `fail` is what keeps crews from running.
        what: In words.
        fix: What to do; empty when there is nothing to do.
    """

    level: Literal["ok", "info", "warn", "fail"]
    what: str
    fix: str = ""


def doctor(json: options.Json = False, database: options.Database = None) -> None:
    """Check this machine, each trouble with its fix.

    Exit codes: 0 crews can run, 1 something has to be mended first.
    """
    from quarterdeck.cli.screen import Screen
    from quarterdeck.spec.workspace import Workspace

    workspace = Workspace.find()
    screen = Screen()
    findings = list(examine(workspace, database))
    if json:
        screen.data([asdict(finding) for finding in findings])
    else:
        screen.columns([(finding.level, finding.what, finding.fix) for finding in findings])
    raise typer.Exit(1 if any(finding.level == "fail" for finding in findings) else 0)


def examine(workspace: Workspace, database: str | None) -> Iterator[Finding]:
    """Run all checks; a check that itself goes wrong is a finding too.

    Args:
        workspace: Whose models and journal are looked at.
        database: The journal's URL; None for the default.
    """
    checks: tuple[Callable[[], Iterator[Finding]], ...] = (
        _python,
        lambda: _database(workspace, database),
        lambda: _models(workspace),
        _embedder,
        lambda: _names(workspace),
        _sandbox,
        _versions,
        lambda: _network(workspace),
        _telemetry,
    )
    for check in checks:
        try:
            yield from check()
        except QuarterdeckError as error:
            yield Finding("fail", " ".join(str(error).split()))


def _python() -> Iterator[Finding]:
    import quarterdeck
    from quarterdeck.models.embedded import usable_cores

    fits = (3, 11) <= sys.version_info[:2] <= (3, 13)
    cores = usable_cores()
    parts = [f"Python {platform.python_version()}", f"quarterdeck {quarterdeck.__version__}"]
    parts += [f"{cores} core{'' if cores == 1 else 's'}", *_memory()]
    yield Finding("ok" if fits else "fail", ", ".join(parts), "" if fits else "use Python 3.11, 3.12 or 3.13")


def _memory() -> list[str]:
    try:
        return [f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GB"]
    except (AttributeError, OSError, ValueError):
        return []


def _database(workspace: Workspace, database: str | None) -> Iterator[Finding]:
    from quarterdeck.journal.store import Store, default_url

    url = database or default_url(workspace.root)
    try:
        with Store.open(url) as store:
            shown = store.url
            folder = store.folder
        mode = _sqlite_mode(url) if folder is not None else ""
    except JournalError as error:
        yield Finding("fail", f"database: {error}")
        return
    kind = f"sqlite ({mode.upper()})" if mode else "postgresql"
    yield Finding("ok", f"database {kind}, writable, schema current", f"({shown})" if not mode else "")


def _sqlite_mode(url: str) -> str:
    """Return the journal mode of a database that can be written.

    Raises:
        JournalError: It cannot be written.
    """
    import sqlite3
    from contextlib import closing

    from sqlalchemy.engine import make_url

    from quarterdeck.journal.database import sqlite_path
    from quarterdeck.journal.failures import translate

    parsed = make_url(url)
    try:
        with closing(sqlite3.connect(sqlite_path(parsed), timeout=NETWORK_SECONDS, isolation_level=None)) as connection:
            connection.execute("BEGIN IMMEDIATE")  # takes the lock for writing, and writes nothing
            connection.execute("ROLLBACK")
            return str(connection.execute("PRAGMA journal_mode").fetchone()[0])
    except sqlite3.Error as error:
        raise translate(error, parsed) from error


def _models(workspace: Workspace) -> Iterator[Finding]:
    from quarterdeck.errors import ModelError
    from quarterdeck.models.catalog import Catalog
    from quarterdeck.spec.load import load_models

    config = load_models(workspace)
    catalog = Catalog(config)
    try:
        used = catalog.resolve().name
        yield Finding("ok", f"default model: {used} (group or model {config.default})")
    except ModelError as error:
        used = ""
        yield Finding("fail", f"default model: {error}")
    for listing in catalog.describe():
        if listing.model.kind == "embedded":
            yield _weights(listing, needed=listing.model.name == used)
    yield from _keys(catalog.describe())
    yield from _routing(catalog, config)
    yield from _pins(catalog)


def _routing(catalog: Catalog, config: ModelsConfig) -> Iterator[Finding]:
    """Say what `model: auto` would go through; nothing where no ladder is declared."""
    from quarterdeck.errors import ModelError

    if not config.rungs():
        return
    try:
        ladder = catalog.ladder()
    except ModelError as error:
        yield Finding("warn", f"model auto: {error}", "only needed where auto is named")
        return
    yield Finding("ok", f"model auto: {', then '.join(model.name for model in ladder)}")


def _pins(catalog: Catalog) -> Iterator[Finding]:
    from quarterdeck.spec.pins import HOW_TO_PIN

    loose = [listing.model.name for listing in catalog.describe() if not listing.model.pinned]
    if not loose:
        yield Finding("ok", "models pinned: each name always means the same model")
        return
    what = f"models not pinned: {', '.join(loose[:5])}{' ...' if len(loose) > 5 else ''}"
    if catalog.production:
        yield Finding("fail", f"{what}; this is production", HOW_TO_PIN)
    else:
        yield Finding("info", what, f"before production, {HOW_TO_PIN}")


def _weights(listing: ModelListing, *, needed: bool) -> Finding:
    from quarterdeck.cli.text import size
    from quarterdeck.cli.weights import missing

    model = listing.model
    if not missing(model):
        return Finding("ok", f"model {model.name}: weights here ({model.weights})")
    from quarterdeck.models.weights import find

    what = f"model {model.name}: weights missing ({size(find(model.weights).bytes)})"
    return Finding("fail" if needed else "warn", what, f"quarterdeck models pull {model.name}")


def _embedder() -> Iterator[Finding]:
    from quarterdeck.cli.text import size
    from quarterdeck.models.weights import find, installed

    known = find("embedder")
    if installed(known.name) is not None:
        yield Finding("ok", f"memory: weights of the embedder here ({known.name})")
    else:
        what = f"memory: weights of the embedder missing ({size(known.bytes)}); it searches by words alone"
        yield Finding("info", what, "quarterdeck models pull embedder --yes")


def _names(workspace: Workspace) -> Iterator[Finding]:
    """Say whether what is to be redacted can be found; nothing where forms tell it all."""
    from quarterdeck.models.personal import by_reading, missing
    from quarterdeck.spec.load import load_governance

    wanted = load_governance(workspace).redact.pii
    if lacking := missing(wanted):
        what, _, fix = lacking.partition(" Get it with: ")
        yield Finding("fail", f"redact.pii: {what}", fix)
    elif kinds := by_reading(wanted):
        yield Finding("ok", f"redact.pii: the model that finds {' and '.join(kinds)} is here")


def cannot_redact(workspace: Workspace) -> list[str]:
    """Return what this machine lacks to redact as declared, for `validate` to warn of."""
    try:
        return [f"config/governance.yaml: {one.what} {one.fix}" for one in _names(workspace) if one.level == "fail"]
    except QuarterdeckError:  # a wrong file is told by others
        return []


def _sandbox() -> Iterator[Finding]:
    import subprocess

    from quarterdeck.tools.sandbox import INSTALL, bubblewrap

    if not (program := bubblewrap()):
        yield Finding("info", "sandbox: no bubblewrap, so python.run and shell.run are refused", INSTALL)
        return
    try:
        said = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=5, check=True).stdout
        yield Finding("ok", f"sandbox: {said.strip()[:100]} ({program})")
    except (OSError, subprocess.SubprocessError) as error:
        yield Finding("warn", f"sandbox: {program} cannot be run ({type(error).__name__})", INSTALL)


def _keys(listings: list[ModelListing]) -> Iterator[Finding]:
    seen: set[tuple[str, ...]] = set()
    for listing in listings:
        names = listing.model.key_names
        if not names or names in seen:
            continue
        seen.add(names)
        provider, shown = listing.model.provider, " or ".join(names[:2])
        if listing.key == "set":
            yield Finding("ok", f"key for {provider} set")
        else:
            where = ", ".join(listing.groups) or listing.model.name
            yield Finding("warn", f"model {where}: {shown} not set", f"only needed for {provider}/ models")


def _versions() -> Iterator[Finding]:
    from importlib import metadata

    wanted = {}
    for requirement in metadata.requires("quarterdeck") or ():
        name, pinned, version = requirement.partition(";")[0].strip().partition("==")
        if pinned and name in PINNED:
            wanted[name] = version
    for name in PINNED:
        try:
            found = metadata.version(name)
        except metadata.PackageNotFoundError:
            yield Finding("fail", f"{name} is not installed", f"uv pip install {name}=={wanted.get(name, '')}")
            continue
        if found == wanted.get(name, found):
            yield Finding("ok", f"{name} {found}, as tested")
        else:
            yield Finding("warn", f"{name} {found}, tested is {wanted[name]}", f"uv pip install {name}=={wanted[name]}")


def _network(workspace: Workspace) -> Iterator[Finding]:
    """Say whom this machine reaches; a machine that reaches nobody can still run an embedded model."""
    from concurrent.futures import ThreadPoolExecutor

    targets = dict(_targets(workspace))
    if not targets:
        return
    with ThreadPoolExecutor(max_workers=len(targets)) as pool:
        for name, reached in zip(targets, pool.map(_reaches, targets.values()), strict=True):
            if reached:
                yield Finding("ok", f"network: {name} answers")
            else:
                yield Finding("info", f"network: {name} cannot be reached", "only needed to use or fetch from it")


def _targets(workspace: Workspace) -> Iterator[tuple[str, str]]:
    from quarterdeck.spec.load import load_models

    yield "Hugging Face (weights)", os.environ.get("HF_ENDPOINT") or "https://huggingface.co"
    for variable in ("UV_DEFAULT_INDEX", "UV_INDEX_URL", "PIP_INDEX_URL"):
        if url := os.environ.get(variable):
            yield "the package index", url
            break
    for name, entry in list(load_models(workspace).models.items())[:8]:
        if entry.api_base:
            yield f"the endpoint of {name}", entry.api_base


def _reaches(url: str) -> bool:
    """Return whether a connection to the host of a URL can be opened; sends nothing."""
    import socket
    from urllib.parse import urlsplit

    parts = urlsplit(url)
    try:
        address = (parts.hostname or "", parts.port or (80 if parts.scheme == "http" else 443))
        with socket.create_connection(address, timeout=NETWORK_SECONDS):
            return True
    except (OSError, ValueError):
        return False


def _telemetry() -> Iterator[Finding]:
    from quarterdeck import optouts

    optouts.apply()
    on = [name for name, value in optouts.OFF.items() if os.environ.get(name) != value]
    if on:
        yield Finding("warn", f"telemetry: {', '.join(on)} not set", "report this, please")
    else:
        yield Finding("ok", "telemetry of all libraries off")
