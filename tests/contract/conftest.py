"""Every database that can hold the journal; the contract runs against each."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from quarterdeck.journal.events import ModelCalled
from quarterdeck.journal.run import RunJournal
from quarterdeck.journal.store import Store

BINARIES = Path("/usr/lib/postgresql/15/bin")


@pytest.fixture(scope="session")
def server() -> Iterator[str]:
    """Start a PostgreSQL server of our own on a unix socket; yield the URL of its first database."""
    if not (BINARIES / "postgres").exists():
        if os.environ.get("CI"):
            pytest.fail(f"CI runs the contract on PostgreSQL too, but {BINARIES} is missing: install postgresql-15")
        pytest.skip("PostgreSQL 15 is not installed")
    user: dict[str, Any] = {"user": "postgres", "group": "postgres", "extra_groups": []} if os.getuid() == 0 else {}
    folder = Path(tempfile.mkdtemp(prefix="qd-pg-"))  # short: a socket's path has at most 107 characters
    if user:
        shutil.chown(folder, "postgres", "postgres")
    initdb: list[str | Path] = [BINARIES / "initdb", "-D", folder / "data", "-A", "trust", "-U", "postgres"]
    initdb += ["-E", "UTF8", "--no-sync"]
    subprocess.run(initdb, check=True, stdout=subprocess.DEVNULL, cwd=folder, **user)
    command: list[str | Path] = [BINARIES / "postgres", "-D", folder / "data", "-k", folder]
    command += ["-c", "listen_addresses=", "-c", "fsync=off"]
    with open(folder / "log", "wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder, **user)
    try:
        ready: list[str | Path] = [BINARIES / "pg_isready", "-q", "-h", folder]
        end = time.monotonic() + 30
        while subprocess.run(ready, check=False).returncode != 0:
            if process.poll() is not None or time.monotonic() > end:
                pytest.fail(f"PostgreSQL did not start: {(folder / 'log').read_text()[-2000:]}")
            time.sleep(0.05)
        yield f"postgresql://postgres@/postgres?host={folder}"
    finally:
        process.terminate()
        process.wait(30)
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def postgresql_url(server: str) -> Iterator[str]:
    import psycopg

    name = f"t{time.monotonic_ns()}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}".encode())
    yield server.replace("/postgres?", f"/{name}?")
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'runs' / 'journal.db'}"


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.real)])
def url(request: pytest.FixtureRequest) -> str:
    found: str = request.getfixturevalue(f"{request.param}_url")
    return found


@pytest.fixture
def store(url: str) -> Iterator[Store]:
    with Store.open(url) as store:
        yield store


@pytest.fixture
def begin(store: Store) -> Callable[..., Any]:
    async def begin(run_id: str | None = None, **inputs: Any) -> RunJournal:
        return await RunJournal.start(
            store, crew="research", spec={"crew": "research"}, inputs=inputs, spec_hash="s", version="1", run_id=run_id
        )

    return begin


@pytest.fixture
def call() -> Callable[..., ModelCalled]:
    def call(path: str = "gather/turn-1", request_hash: str = "h1", **other: Any) -> ModelCalled:
        values: dict[str, Any] = {
            "request": {"messages": [{"role": "user", "content": "What, \u0000 and \u20ac?"}]},
            "reply": {"text": "That."},
            "model": "local",
            "prompt_tokens": 10,
            "completion_tokens": 5,
            "cost_usd": "0.001",
            "seconds": 0.5,
        }
        return ModelCalled(path=path, task=path.split("/")[0], request_hash=request_hash, **{**values, **other})

    return call
