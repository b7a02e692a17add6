"""Signatures and baselines on every database."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlalchemy import delete, insert, update

from quarterdeck.governance.monitor import alerts, baseline
from quarterdeck.governance.proposals import find_proposal, proposals
from quarterdeck.journal.chain import genesis, link
from quarterdeck.journal.events import Decision, Proposed, RunEnded, RunWaiting, ToolCalled
from quarterdeck.journal.signature import Signer, new_key, prove, sign_head
from quarterdeck.journal.store import Store
from quarterdeck.journal.tables import events, runs


def called(number: int, tool: str = "crane.li_t", at: float = 0.0) -> ToolCalled:
    return ToolCalled(
        path=f"do/turn-{number}/tool-1", request_hash="h", tool=tool, arguments={}, status="ok", seconds=0,
        result='"tool":"crane.lift"', at=at,
    )  # fmt: skip


async def test_the_baseline_is_that_of_the_crews_own_earlier_runs(store: Store, begin: Callable[..., Any]) -> None:
    for count in (2, 4):
        async with await begin() as journal:
            for number in range(count):
                await journal.append(called(number))
            await journal.append(called(99, tool="crane.lift"))
    async with await begin() as journal:
        await journal.append(called(1))
        usual = baseline(store, "research", journal.id, "crane.li_t")
        assert 1.5 <= usual <= 3  # a minute may have ended within a run
        assert baseline(store, "research", journal.id, "crane.lift") == 1
        assert baseline(store, "other", journal.id, "crane.li_t") == 0
        await journal.append(Decision(path="monitor/crane.li_t", what="burst of crane.li_t", why="so", chosen="alert"))
        await journal.append(Decision(path="monitors", what="burst of x", why="so"))
    [alert] = alerts(store, 0)
    assert (alert.tool, alert.crew, alert.why) == ("crane.li_t", "research", "so")


async def test_who_has_not_the_key_is_found_out(store: Store, begin: Callable[..., Any]) -> None:
    store.writer.signer = signer = Signer(new_key()[0])
    async with await begin() as journal:
        await journal.append(called(1))
        assert prove(store.run(journal.id), store.events(journal.id), signer.public).state == "unsigned"
        await journal.wait(RunWaiting(code="approval"))
        assert prove(store.run(journal.id), store.events(journal.id), signer.public).state == "signed"
        await journal.append(called(2))
        assert prove(store.run(journal.id), store.events(journal.id), signer.public).state == "partly"
        await sign_head(store, journal.id)
        assert prove(store.run(journal.id), store.events(journal.id), signer.public).state == "signed"
        await journal.end(RunEnded(status="succeeded", code="goal_met"))
    run = journal.id
    proof = prove(store.run(run), store.events(run), signer.public)
    assert (proof.state, proof.seq) == ("signed", 5)
    assert prove(store.run(run), store.events(run), "").state == "unchecked"
    assert prove(store.run(run), store.events(run), new_key()[1]).state == "forged"
    assert store.run(run).summary["code"] == "goal_met"
    await rewrite(store, run)
    assert store.verify(run) is None  # the chain alone is fooled by who computes it anew
    proof = prove(store.run(run), store.events(run), signer.public)
    assert (proof.state, proof.seq) == ("forged", 5)


async def rewrite(store: Store, run: str) -> None:
    """Change one letter of an event, and compute all hashes after it anew, as Quarterdeck's own code does."""
    previous, rows = genesis(run), []
    for row in store.events(run):
        body = row.body.replace("do/turn-1/tool-1", "do/turn-7/tool-1")
        path = row.path.replace("do/turn-1/tool-1", "do/turn-7/tool-1")
        head = link(previous, body)
        rows.append(
            {"run_id": run, "seq": row.seq, "kind": row.kind, "path": path, "at": row.at,
             "request_hash": row.request_hash, "body": body, "previous_hash": previous, "hash": head}
        )  # fmt: skip
        previous = head

    def work(connection: Any) -> None:
        connection.execute(delete(events).where(events.c.run_id == run))
        connection.execute(insert(events), rows)
        connection.execute(update(runs).where(runs.c.id == run).values(head=previous))

    await store.writer.ask(work)


async def test_proposals_are_found_once_though_a_fork_took_them_over(store: Store, begin: Callable[..., Any]) -> None:
    from quarterdeck.journal.run import RunJournal

    made = Proposed(
        path="do/turn-1/tool-1", id="sabcdefgh", needs="shadow", tool="t", arguments={}, arguments_hash="h",
        expires_at=4e9,
    )  # fmt: skip
    async with await begin() as journal:
        await journal.append(made)
        await journal.append(called(1))
        await journal.append(called(2))
        await journal.end(RunEnded(status="succeeded", code="goal_met"))
    async with await RunJournal.fork(store, journal.id, "do/turn-2", {}) as fork:
        await fork.end(RunEnded(status="succeeded", code="goal_met"))
    [one] = proposals(store)
    assert (one.run.id, one.state) == (journal.id, "open")
    assert find_proposal(store, "sabc").run.id == journal.id
