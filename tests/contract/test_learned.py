"""What runs did, and what of a crew's learning is forgotten, on every database, over more than one page of events."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from sqlalchemy import insert, select

from quarterdeck.evaluation.behaviour import behaviour, ended_runs
from quarterdeck.governance.learned import forget
from quarterdeck.journal import replies
from quarterdeck.journal.events import RunEnded, ToolCalled
from quarterdeck.journal.run import RunJournal
from quarterdeck.journal.store import Store
from quarterdeck.journal.tables import trials

CALLS = 130


async def test_behaviour_and_what_is_forgotten(
    store: Store, begin: Callable[..., Any], call: Callable[..., Any]
) -> None:
    proposal: dict[str, Any] = {
        "crew": "research",
        "spec": {"proposal": {"run": "one"}},
        "inputs": {},
        "spec_hash": "s",
    }
    async with await RunJournal.start(store, **proposal, version="1", run_id="prop") as journal:
        await journal.end(RunEnded(status="succeeded", code="goal_met"))
    last: dict[str, Any] = {}
    for run_id in ("one", "two"):
        async with await begin(run_id) as journal:
            for number in range(1, CALLS + 1):
                last = {"messages": [{"role": "user", "content": f"\u20ac {number}", "share": 0.1}]}
                await journal.append(call(f"gather/turn-{number}", request=last))
                path = f"gather/turn-{number}/tool-1"
                used: dict[str, Any] = {
                    "path": path,
                    "tool": "look",
                    "request_hash": "",
                    "arguments": {},
                    "result": 1,
                    "seconds": 0.1,
                }
                await journal.append(ToolCalled(status="ok", version="1", **used))
            await journal.end(RunEnded(status="failed", code="tool"))
    found = behaviour(store, ended_runs(store, "research", 20))
    assert sorted(one.run.id for one in found) == ["one", "two"]
    for one in found:
        assert one.tools == {"look": CALLS} and one.models == {"local": CALLS} and one.end == "failed tool"
        assert one.turns == {"gather": CALLS} and one.used.prompt_tokens == 10 * CALLS

    kept = {"mine": replies.key_of("", last), "a tenant's": replies.key_of("acme", last)}
    for key in kept.values():
        await store.writer.ask(partial(replies.put, key=key, model="local", reply="{}", seconds=60))
    rows = [{"tool": tool, "agreed": 1, "updated_at": 0.0} for tool in ("look@1", "look@2")]
    await store.writer.ask(lambda connection: connection.execute(insert(trials), rows))
    assert await forget(store, "acme", "research", trials=True) == {"replies": 0, "trials": 0}
    assert await forget(store, "", "research", trials=True) == {"replies": 1, "trials": 1}
    assert await store.writer.ask(partial(replies.get, key=kept["a tenant's"])) == ("local", "{}")
    assert [row.tool for row in store.read(select(trials.c.tool))] == ["look@2"]
