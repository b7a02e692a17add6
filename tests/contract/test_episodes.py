"""Episodes keep one contract on each database: exact scopes, newest first, once a task, gone when they expire."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

from quarterdeck.journal.store import Store
from quarterdeck.memory.episodes import BY_MEANING, KEPT, MAX_LINE, MAX_TEXT, Episode, Kept, find, ranked, write
from quarterdeck.memory.item import Scope
from quarterdeck.testing import HashEmbedder

SCOPE = Scope("acme", "research")
NAMES = ["", "a", "A", "ab", "a%", "a_", "%", "_", "*", "a/b", "a:b", "é", "e\u0301"]


def episode(run: str = "r1", **more: Any) -> Episode:
    return Episode(**{"run_id": run, "scope": SCOPE, "goal": "Wind in 2023", "status": "failed", **more})


async def record(store: Store, *many: Episode, mask: Callable[[str], str] | None = None) -> None:
    for one in many:
        await store.writer.ask(partial(write, episode=one, mask=mask))


async def test_an_episode_comes_back_as_it_was(store: Store) -> None:
    whole = episode(
        task="gather.2", agent="clerk", code="limit_turns", plan=("a: do", "b: then"), outcome="Nothing.",
        verdict="no answer", lessons=("quote refused",), failures=("web.fetch(x) -> 404",), cost_usd="0.0125",
        seconds=1.5, sensitive=True, created_at=100.0,
    )  # fmt: skip
    await record(store, whole, whole)
    assert find(store, SCOPE) == [whole], "recorded twice it is there once"


async def test_no_scope_reads_what_another_one_left(store: Store) -> None:
    scopes = {Scope(*(names + ("",) * 4)[:4]) for one in NAMES for names in ((one,), ("", one), ("", "", one))}
    scopes |= {Scope("", "", "", one) for one in NAMES}
    await record(store, *(episode(f"r{number}", scope=scope) for number, scope in enumerate(scopes)))
    for scope in scopes:
        assert [one.scope for one in find(store, scope)] == [scope]


async def test_structured_questions(store: Store) -> None:
    await record(
        store,
        episode("r1", created_at=1.0),
        episode("r1", task="gather", created_at=2.0),
        episode("r2", status="succeeded", created_at=3.0),
        episode("r3", created_at=4.0, expires_at=time.time() - 1),
        episode("r4", created_at=5.0, expires_at=time.time() + 60),
    )
    assert [one.run_id for one in find(store, SCOPE, task="")] == ["r4", "r2", "r1"]
    assert [one.created_at for one in find(store, SCOPE, task="gather")] == [2.0]
    assert [one.run_id for one in find(store, SCOPE, status="succeeded")] == ["r2"]
    assert [one.run_id for one in find(store, SCOPE, since=3.0)] == ["r4", "r2"]
    assert [one.run_id for one in find(store, SCOPE, before_run="r4", limit=1)] == ["r2"]


async def test_texts_are_bounded_masked_and_on_one_line(store: Store) -> None:
    long = episode(goal="g\n" * 9000, outcome="o\0" * 9000, failures=tuple(f"{n} tok3n {'x' * 900}" for n in range(60)))
    await record(store, long, mask=lambda text: text.replace("tok3n", "[secret]"))
    (found,) = find(store, SCOPE)
    assert len(found.goal) <= MAX_TEXT and len(found.outcome) <= MAX_TEXT and "\n" not in found.goal
    assert len(found.failures) == 20 and all(len(line) <= MAX_LINE for line in found.failures)
    assert found.failures[-1].startswith("59 [secret]")


async def test_the_nearest_goal_comes_first() -> None:
    goals = ["Ships of the harbour", "Wind farm output", "Dredging"]
    many = [episode(f"r{number}", goal=goal) for number, goal in enumerate(goals)]
    by_words = await ranked(many, "the output of wind farms")
    assert [one.goal for _, one in by_words] == ["Wind farm output"], "the others are not like it at all"

    class Meaning:
        async def embed(self, texts: Any) -> list[list[float]]:
            return [[1.0, 0.0] if text in ("breeze", "Wind farm output") else [0.0, 1.0] for text in texts]

    by_meaning = await ranked(many, "breeze", Meaning())
    assert by_meaning == [(1.0, many[1])]
    assert await ranked([], "breeze", Meaning()) == []
    assert replace(many[0], task="a").id != many[0].id


async def test_goals_are_embedded_once_and_only_the_newest() -> None:
    embedder = HashEmbedder()
    kept = Kept(embedder)
    many = [episode(f"r{number}", goal=f"goal {number % 100}") for number in range(200)]
    first = await ranked(many, "again goal 7", kept)
    assert first[0][1] == many[7] and len(embedder.texts) == 1 + BY_MEANING
    assert await ranked(many, "again goal 7", kept) == first and len(embedder.texts) == 1 + BY_MEANING
    for start in range(0, 2 * KEPT, 100):
        await kept.embed([f"text {number}" for number in range(start, start + 100)])
    assert len(kept._vectors) == KEPT
    assert await kept.embed(["a b", "b a", "a b"]) == [*(await HashEmbedder().embed(["a b", "b a", "a b"]))]
