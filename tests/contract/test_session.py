"""The session cache keeps one contract, in process and in a Redis server of our own."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quarterdeck.engine.longterm import usable
from quarterdeck.errors import InputError
from quarterdeck.memory.redis_session import RedisSession, check_url
from quarterdeck.memory.session import LocalSession, Session
from quarterdeck.spec.memory import MemoryProfile, SessionSpec

Make = Callable[..., Session]


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    program = shutil.which("redis-server")
    if program is None:
        if os.environ.get("CI"):
            pytest.fail("CI runs the contract on Redis too, but redis-server is missing: install it")
        pytest.skip("redis-server is not installed")
    folder = tmp_path_factory.mktemp("redis")
    place = Path("/tmp") / f"qd-redis-{os.getpid()}-{time.monotonic_ns()}.sock"  # a socket's path must be short
    command = [program, "--port", "0", "--unixsocket", str(place), "--save", "", "--dir", str(folder)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        end = time.monotonic() + 20
        while not _answers(place):
            if process.poll() is not None or time.monotonic() > end:
                pytest.fail("redis-server did not start")
            time.sleep(0.02)
        yield f"unix://{place}"
    finally:
        process.terminate()
        process.wait(20)
        place.unlink(missing_ok=True)


def _answers(place: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(place))
        except OSError:
            return False
        return True


@pytest.fixture(params=["local", pytest.param("redis", marks=pytest.mark.real)])
async def make(request: pytest.FixtureRequest) -> AsyncIterator[Make]:
    made: list[Session] = []
    url = request.getfixturevalue("redis_url") if request.param == "redis" else ""
    name = f"{request.node.name}-{time.monotonic_ns()}"

    def new(seconds: float = 60.0, max_bytes: int = 10_000, tenant: str = "t", run: str = "r") -> Session:
        if url:
            made.append(RedisSession(url, tenant, f"{name}/{run}", seconds, max_bytes))
        else:
            made.append(LocalSession(seconds, max_bytes))
        return made[-1]

    yield new
    for session in made:
        await session.clear()
        await session.close()


async def test_what_is_put_is_there_and_nothing_else(make: Make) -> None:
    session = make()
    assert await session.get("a") is None
    value = {"found": ["é", 1, None, {"deep": [True]}]}
    assert await session.put("a", value)
    got = await session.get("a")
    assert got == value
    got["found"].clear()
    assert await session.get("a") == value, "what one agent does to it no other one sees"
    assert await session.get("A") is None and await session.get("a ") is None
    assert await session.put("a", 2) and await session.get("a") == 2
    assert await session.clear() == 1
    assert await session.get("a") is None


async def test_a_value_expires(make: Make) -> None:
    session = make(seconds=60)
    await session.put("short", 1, 0.02)
    await session.put("long", 2)
    await asyncio.sleep(0.05)
    assert await session.get("short") is None
    assert await session.get("long") == 2


async def test_the_least_recently_used_values_make_room(make: Make) -> None:
    session = make(max_bytes=1000)
    for name in "abc":
        assert await session.put(name, "x" * 297)  # 300 bytes each
    assert await session.get("a")
    assert await session.put("d", "x" * 297)
    assert [await session.get(name) is not None for name in "abcd"] == [True, False, True, True]
    assert not await session.put("e", "x" * 1001), "larger than the whole cache"
    assert await session.get("a"), "and nothing had to go for it"


async def test_replacing_a_value_frees_its_place(make: Make) -> None:
    session = make(max_bytes=1000)
    for _ in range(20):
        assert await session.put("a", "x" * 500)
    assert await session.put("b", "x" * 400)
    assert await session.get("a") and await session.get("b")


async def test_it_stays_bounded(make: Make) -> None:
    session = make(max_bytes=5000)
    for number in range(200):
        await session.put(f"{number:03}", "x" * 95)  # 100 bytes each
    there = [number for number in range(200) if await session.get(f"{number:03}") is not None]
    assert there == list(range(150, 200))


async def test_what_is_no_json_or_has_too_long_a_key_is_refused(make: Make) -> None:
    session = make()
    with pytest.raises(ValueError, match="no JSON-able data"):
        await session.put("a", {1, 2})
    with pytest.raises(ValueError, match="at most 1,000 characters"):
        await session.put("k" * 1001, 1)


async def test_no_run_reads_what_another_one_keeps(make: Make) -> None:
    names = ["a", "b", "a:b", "", "*", "a*", "ab", "a\\b", "a/b"]
    sessions = {(tenant, run): make(tenant=tenant, run=run) for tenant in names for run in names}
    for scope, session in sessions.items():
        await session.put("key", list(scope))
    for scope, session in sessions.items():
        assert await session.get("key") == list(scope)


@pytest.mark.real
async def test_two_processes_share_a_run_in_redis(redis_url: str) -> None:
    one, two = (RedisSession(redis_url, "t", "shared", 60, 1000) for _ in range(2))
    await one.put("a", [1])
    assert await two.get("a") == [1]
    await two.clear()
    assert await one.get("a") is None
    await one.close()
    await two.close()


async def test_a_redis_that_is_not_there_is_an_empty_cache(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    session = RedisSession(f"unix://{tmp_path}/none.sock", "t", "r", 60, 1000)
    assert not await session.put("a", 1)
    assert await session.get("a") is None
    assert await session.clear() == 0
    await session.close()
    assert len(caplog.records) == 1 and "goes on without it" in caplog.text


async def test_a_redis_that_hangs_is_left_alone_for_a_while_and_then_for_good(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("quarterdeck.memory.redis_session.TIMEOUT_SECONDS", 0.01)
    moment = 100.0
    place = Path("/tmp") / f"qd-hung-{os.getpid()}-{time.monotonic_ns()}.sock"
    accepted: list[asyncio.StreamWriter] = []

    async def hang(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        accepted.append(writer)

    server = await asyncio.start_unix_server(hang, place)
    session = RedisSession(f"unix://{place}", "t", "r", 60, 1000, clock=lambda: moment)
    try:
        for rest in (5, 10, 20, 40, 80):
            asked = len(accepted)
            assert await session.get("a") is None
            assert len(accepted) > asked, "it was asked"
            asked = len(accepted)
            for _ in range(20):
                assert await session.get("a") is None and not await session.put("a", 1)
            moment += rest - 0.1
            assert await session.get("a") is None and len(accepted) == asked, "and then left alone"
            moment += 0.2
        moment += 1e6
        assert not await session.put("a", 1) and len(accepted) == asked, "a run does without it in the end"
    finally:
        await session.close()
        for writer in accepted:
            writer.close()
        server.close()
        place.unlink(missing_ok=True)


@pytest.mark.real
async def test_a_redis_that_answers_again_is_used_again(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    moment = 100.0
    session = RedisSession(redis_url, "t", f"again-{time.monotonic_ns()}", 60, 1000, clock=lambda: moment)
    assert await session.put("a", 1)
    right = session._keys
    session._keys = ["one"]  # refused by the server
    assert await session.get("a") is None
    session._keys = right
    assert await session.get("a") is None, "still left alone"
    moment += 5.1
    assert await session.get("a") == 1
    assert await session.clear() == 1
    await session.close()


@pytest.mark.parametrize("url", ["http://x:swordfish@y", "x", "redis://h:port/0"])
def test_a_wrong_url_is_told_in_one_line(url: str) -> None:
    for make in (check_url, lambda url: RedisSession(url, "t", "r", 60, 1000)):
        with pytest.raises(InputError, match="QUARTERDECK_REDIS_URL is no URL of a Redis") as raised:
            make(url)
        assert "\n" not in str(raised.value) and "swordfish" not in str(raised.value)


def test_a_wrong_url_is_found_before_a_run_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    with_cache, without = MemoryProfile(session=SessionSpec()), MemoryProfile()
    monkeypatch.setenv("QUARTERDECK_REDIS_URL", "http://x:swordfish@y")
    assert usable(without) is without
    with pytest.raises(InputError, match="no URL of a Redis"):
        usable(with_cache)
    monkeypatch.setenv("QUARTERDECK_REDIS_URL", "redis://localhost:6379/0")
    assert usable(with_cache) is with_cache


@given(st.lists(st.tuples(st.text(max_size=5), st.integers(0, 60)), max_size=60))
def test_it_never_holds_more_than_its_bound(puts: list[tuple[str, int]]) -> None:
    async def fill() -> None:
        session = LocalSession(60, 100)
        for key, length in puts:
            await session.put(key, "x" * length)
            assert session._bytes == sum(kept.size for kept in session._kept.values()) <= 100

    asyncio.run(fill())
