"""The guard that keeps tests from calling real models by accident."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from quarterdeck.models.live import SWITCH


@contextmanager
def block_live_calls(blocked: bool = True) -> Iterator[None]:
    """Make every provider of a real model refuse within the block, in this process and those that it starts.

    Args:
        blocked: False allows live calls within the block, for instance inside a test that is otherwise guarded.
    """
    before = os.environ.get(SWITCH)
    os.environ[SWITCH] = "0" if blocked else "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[SWITCH]
        else:
            os.environ[SWITCH] = before
