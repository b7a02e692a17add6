"""Trials of new tools on every database: each agreement counts once, whoever is faster."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from quarterdeck.errors import QuarterdeckError
from quarterdeck.governance import trials
from quarterdeck.journal.events import ToolCalled
from quarterdeck.journal.store import Store


def tried(number: int, status: str = "shadowed", **more: Any) -> ToolCalled:
    given = {"tool": "crane.li_t", "version": "2", "arguments": {"n": number}, **more}
    return ToolCalled(
        path=f"do/turn-{number}/tool-1", request_hash="h", status=status, result="", seconds=0, **given
    )  # fmt: skip


async def test_only_its_own_calls_count_and_each_once(store: Store, begin: Callable[..., Any]) -> None:
    async with await begin() as journal:
        for number, status in enumerate(["shadowed", "denied", "ok", "error"], 1):
            await journal.append(tried(number, status))
        await journal.append(tried(5, version="1"))
        await journal.append(tried(6, tool="crane.lift"))  # the _ of a name is no wildcard
        await journal.append(tried(7, tool="crane.li_t_up"))
        await journal.append(tried(8, tool="crane.li_t@2"))
    calls = trials.calls_of(store, "crane.li_t", "2")
    assert [call.arguments["n"] for call in calls] == [1, 3, 8]
    for seen in range(3):
        both = await asyncio.gather(
            *(trials.agree(store, "crane.li_t", "2", seen) for _ in range(2)), return_exceptions=True
        )
        assert sorted(map(str, map(type, both))) == sorted(map(str, (int, QuarterdeckError)))
    with pytest.raises(QuarterdeckError, match="nobody has agreed to"):
        await trials.agree(store, "crane.li_t", "2", 3)
    keys = ["crane.li_t@2", "crane.li_t@1", "crane.lift@1"]
    assert trials.agreed(store, keys) == dict(zip(keys, (3, 0, 0), strict=True))
