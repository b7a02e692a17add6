"""A pytest plugin: no test calls a real model unless it is marked `live`.

Put `pytest_plugins = ["quarterdeck.testing.plugin"]` into the topmost conftest.py.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from quarterdeck.testing.live import block_live_calls


def pytest_configure(config: pytest.Config) -> None:
    """Make the marker known."""
    config.addinivalue_line("markers", "live: may call real models, at your cost")


@pytest.fixture(autouse=True)
def _live_calls_are_blocked(request: pytest.FixtureRequest) -> Iterator[None]:
    with block_live_calls(request.node.get_closest_marker("live") is None):
        yield
