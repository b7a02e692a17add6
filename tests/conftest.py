"""What every test may use: a model on loopback, and a guard against live ones."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import pytest_socket

from quarterdeck.testing import OpenAIServer, block_live_calls

pytest_plugins = ["quarterdeck.testing.plugin"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let tests with a real counterpart call the models that are on this machine."""
    for item in items:
        if item.get_closest_marker("real") is not None:
            item.add_marker("live")


@pytest.fixture
def loopback(socket_enabled: None) -> Iterator[None]:
    """Open sockets to this machine, and to no other."""
    pytest_socket.socket_allow_hosts(["127.0.0.1", "::1", "localhost"], allow_unix_socket=True)
    yield


@pytest.fixture
def loopback_model(loopback: None) -> Iterator[OpenAIServer]:
    """Serve an OpenAI-compatible model on loopback; `script` it, look at its `bodies` and `counts`."""
    with block_live_calls(False), OpenAIServer() as server:
        yield server
