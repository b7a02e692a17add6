"""Execution, effects, breaker, verification, projection, previews, composites and circles, through the whole gate."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest
from tests.unit.governance.trial_gate import trial

from quarterdeck.errors import ToolError, Waiting
from quarterdeck.governance.monitor import alerts
from quarterdeck.governance.result import EMPTY, ToolResult
from quarterdeck.journal.answer import answer
from quarterdeck.journal.events import ApprovalAnswered, RunWaiting
from quarterdeck.journal.store import Store
from quarterdeck.models.circuits import CircuitRules, Circuits
from quarterdeck.tools.loading import load_module
from quarterdeck.tools.manifest import tool
from quarterdeck.tools.signature import tool_from_function
from quarterdeck.tools.tool import ToolContext

READ: dict[str, Any] = {"effect": "read", "owner": "tests", "sinks": {}}
WRITE: dict[str, Any] = {"effect": "write", "owner": "tests", "sinks": {}}


@pytest.mark.parametrize(
    ("value", "text"), [(None, EMPTY), ("", EMPTY), ([], f"[] ({EMPTY})"), ({}, f"{{}} ({EMPTY})")]
)
async def test_an_empty_result_is_a_state_of_its_own(tmp_path: Path, value: Any, text: str) -> None:
    @tool(**READ)
    def look() -> Any:
        """Look."""
        return value

    async with trial(tmp_path, {"desk.look": look}) as run:
        result = await run.call("desk.look")
        assert (result.status, result.error_class, result.value, result.text()) == ("ok", "empty", value, text)
        assert run.events("tool.called")[0].error_class == "empty"


@pytest.mark.parametrize(
    ("error", "effect", "retries", "calls", "status"),
    [
        (ToolError("no such order"), "read", {"tool": 0}, 1, "tool"),
        (ToolError("busy", error_class="unavailable"), "read", {"unavailable": 2}, 3, "unavailable"),
        (ToolError("busy", error_class="unavailable", unsent=True), "write", {"unavailable": 2}, 3, "unavailable"),
        (ConnectionRefusedError("nobody there"), "write", {"unavailable": 2}, 3, "unavailable"),
        (ConnectionResetError("gone"), "read", {"unavailable": 2}, 3, "unavailable"),
        (ToolError("broken JSON", error_class="lost"), "read", {"unavailable": 2}, 1, "lost"),
        (ToolError("later", error_class="rate_limited", retry_after=0), "write", {"rate_limited": 2}, 1,
         "rate_limited"),
        (ToolError("slowly", error_class="rate_limited", retry_after=0.01), "read", {"rate_limited": 1}, 2,
         "rate_limited"),
        (ToolError("later", error_class="rate_limited", retry_after=999), "read", {"rate_limited": 5}, 1,
         "rate_limited"),
        (ToolError("never begun", error_class="timeout", unsent=True), "write", {"timeout": 1}, 2, "timeout"),
        (ValueError("bad luck"), "read", {"timeout": 3}, 1, "bug"),
    ],
)  # fmt: skip
async def test_each_class_of_error_is_tried_again_only_as_declared_and_safe(
    tmp_path: Path, error: Exception, effect: str, retries: dict[str, int], calls: int, status: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr("quarterdeck.governance.executed.BASE_SECONDS", 0.001)
    made: list[int] = []

    @tool(effect=effect, owner="tests", sinks={}, retries=retries)
    def act() -> None:
        """Act."""
        made.append(1)
        raise error

    async with trial(tmp_path, {"desk.act": act}) as run:
        result = await run.call("desk.act")
        assert (result.status, result.error_class, len(made)) == ("error", status, calls)
        await run.journal.append(run.events("run.started")[0])  # whatever was noted is committed with it
        assert len([one for one in run.events("decision") if "/attempt-" in one.path]) == calls - 1


@pytest.mark.parametrize(
    "error",
    [ToolError("busy", error_class="unavailable"), ToolError("broken JSON", error_class="lost"),
     ToolError("late", error_class="timeout"), ToolError("died", error_class="killed"), ConnectionResetError("gone"),
     BrokenPipeError("gone"), TimeoutError("late")],
)  # fmt: skip
async def test_what_was_sent_and_lost_is_put_before_a_person(tmp_path: Path, error: Exception) -> None:
    """Whatever `retries` says: these once were errors, after which a model made the call again, with nobody asked."""
    made: list[int] = []

    @tool(**WRITE, retries={"unavailable": 2, "lost": 2, "timeout": 2, "killed": 2}, substitute="desk.spare")
    async def act() -> None:
        """Act."""
        made.append(1)
        raise error

    @tool(**WRITE)
    def spare() -> None:
        """Act elsewhere."""
        made.append(2)

    async with trial(tmp_path, {"desk.act": act, "desk.spare": spare}) as run:
        with pytest.raises(Waiting) as waiting:
            await run.call("desk.act")
        assert (waiting.value.code, made) == ("unknown_effect", [1])
        assert [one.reason for one in run.events("approval.asked")] == ["unknown_effect"]


async def test_what_was_never_sent_is_done_by_a_substitute(tmp_path: Path) -> None:
    @tool(**WRITE, substitute="desk.spare")
    async def act() -> None:
        """Act."""
        raise ConnectionRefusedError("nobody there")

    @tool(**WRITE)
    def spare() -> str:
        """Act elsewhere."""
        return "done"

    async with trial(tmp_path, {"desk.act": act, "desk.spare": spare}) as run:
        assert (await run.call("desk.act")).value == "done"


async def test_an_intent_stands_before_what_must_not_happen_twice_and_nowhere_else(tmp_path: Path) -> None:
    seen: list[bool] = []

    @tool(**WRITE)
    def once(context: ToolContext) -> str:
        """Act."""
        with Store.open(f"sqlite:///{tmp_path}/journal.db", read_only=True) as store:
            seen.append(any(row.kind == "effect.started" for row in store.events(context.run_id)))
        return context.idempotency_key

    @tool(**WRITE, idempotent=True)
    def again() -> str:
        """Act."""
        return "done"

    async with trial(tmp_path, {"desk.once": once, "desk.again": again}) as run:
        await run.call("desk.again")
        assert not run.events("effect.started")
        result = await run.call("desk.once")
        assert seen == [True] and result.value == f"{run.journal.id}:task/turn-2/tool-1"
        assert [one.path for one in run.events("effect.started")] == ["task/turn-2/tool-1"]


@pytest.mark.parametrize(
    ("choices", "calls", "status"), [(["happened"], 1, "ok"), (["skip"], 1, "unknown"), (["again"], 2, "ok")]
)
async def test_a_call_that_was_lost_is_put_before_a_person(
    tmp_path: Path, choices: list[str], calls: int, status: str
) -> None:
    made: list[int] = []

    @tool(**WRITE, timeout=0.05)
    async def act() -> str:
        """Act."""
        made.append(1)
        await asyncio.sleep(0 if len(made) > 1 else 60)
        return "done"

    async with trial(tmp_path, {"desk.act": act}) as run:
        run_id = run.journal.id
        with pytest.raises(Waiting) as waiting:
            await run.call("desk.act")
        assert waiting.value.code == "unknown_effect"
    for choice in choices:
        async with trial(tmp_path, {"desk.act": act}, resume=run_id) as run:
            with pytest.raises(Waiting):
                await run.call("desk.act")
            assert len(made) == 1
            (asked,) = run.events("approval.asked")
            assert asked.reason == "unknown_effect" and asked.options == ("happened", "again", "skip")
            await run.journal.wait(RunWaiting(code="unknown_effect"))
        with Store.open(f"sqlite:///{tmp_path}/journal.db") as store:
            said = ApprovalAnswered(path=asked.path, id=asked.id, answer="approved", choice=choice,
                                    arguments_hash=asked.arguments_hash)  # fmt: skip
            await answer(store, run_id, said)
    async with trial(tmp_path, {"desk.act": act}, resume=run_id) as run:
        result = await run.call("desk.act")
        assert (result.status, len(made)) == (status, calls)


async def test_a_reading_call_that_times_out_is_only_an_error(tmp_path: Path) -> None:
    @tool(**READ, timeout=0.02)
    async def look() -> None:
        """Look."""
        await asyncio.sleep(60)

    async with trial(tmp_path, {"desk.look": look}) as run:
        result = await run.call("desk.look")
        assert (result.status, result.error_class) == ("error", "timeout")


async def test_a_tool_that_keeps_failing_is_left_alone_and_probed_once(tmp_path: Path) -> None:
    made: list[int] = []
    now = [0.0]

    @tool(**READ, probe={"n": 0})
    def ask(n: int) -> int:
        """Ask.

        Args:
            n: A number.
        """
        made.append(n)
        if now[0] < 100:
            raise ToolError("down", error_class="unavailable")
        return n

    rules = CircuitRules(consecutive=3, cool_off=10.0)
    async with trial(tmp_path, {"desk.ask": ask}, circuits=Circuits(rules, lambda: now[0])) as run:
        for n in range(1, 8):
            now[0] += 0.01
            result = await run.call("desk.ask", n=n)
        assert made == [1, 2, 3]  # none while it is open
        assert result.error_class == "unavailable" and "keeps failing" in result.value
        now[0] = 50.0
        assert "keeps failing" in (await run.call("desk.ask", n=9)).value
        assert made == [1, 2, 3, 0]  # one safe call, with the declared arguments
        now[0] = 200.0
        assert (await run.call("desk.ask", n=10)).value == 10
        assert made == [1, 2, 3, 0, 0, 10]
        assert [one.chosen for one in run.events("decision") if "/breaker" in one.path][:3] == [
            "open", "half-open", "open",
        ]  # fmt: skip


async def test_a_substitute_is_called_once_and_recorded(tmp_path: Path) -> None:
    calls: list[str] = []

    @tool(**READ, substitute="desk.spare")
    def ask(n: int) -> int:
        """Ask.

        Args:
            n: A number.
        """
        calls.append("ask")
        raise ToolError("down", error_class="unavailable")

    @tool(**READ)
    def spare(n: int) -> int:
        """Ask elsewhere.

        Args:
            n: A number.
        """
        calls.append("spare")
        return n + 1

    async with trial(tmp_path, {"desk.ask": ask, "desk.spare": spare}, granted=frozenset({"desk.ask"})) as run:
        result = await run.call("desk.ask", n=1)
        assert (result.status, result.value, calls) == ("ok", 2, ["ask", "spare"])
        assert [(one.path, one.tool) for one in run.events("tool.called")] == [
            ("task/turn-1/tool-1/substitute", "desk.spare"), ("task/turn-1/tool-1", "desk.ask"),
        ]  # fmt: skip
        assert [one.chosen for one in run.events("decision") if one.path.endswith("/substitute")] == ["desk.spare"]
        assert (await run.call("desk.spare", n=1)).error_class == "not_granted"  # only in the place of the other


async def test_a_change_that_is_not_seen_is_unverified(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[dict[str, Any]] = []
    world: dict[str, int] = {}

    def seen(arguments: dict[str, Any], result: Any, context: ToolContext) -> bool:
        looks.append({"arguments": arguments, "result": result, "key": context.idempotency_key})
        return len(looks) > 1 and world.get("n") == arguments["n"]

    @tool(**WRITE, verify=seen)
    def put(n: int) -> dict[str, int]:
        """Put.

        Args:
            n: A number.
        """
        world["n"] = n if n < 5 else 0
        return {"put": n}

    monkeypatch.setattr("quarterdeck.governance.verified.asyncio.sleep", _no_wait)
    async with trial(tmp_path, {"desk.put": put}) as run:
        result = await run.call("desk.put", n=1)
        assert (result.status, len(looks)) == ("ok", 2)  # the second look confirms
        assert looks[0]["arguments"] == {"n": 1} and looks[0]["result"] == {"put": 1}
        result = await run.call("desk.put", n=7)
        assert (result.status, result.error_class, len(looks)) == ("unverified", "unverified", 6)
        assert "looking 4 times did not show" in result.text() and '"put": 7' in result.text()
        assert run.events("tool.called")[-1].status == "unverified"


async def _no_wait(seconds: float) -> None:
    return None


async def test_a_projection_and_a_cap_keep_the_window_small_and_lose_nothing(tmp_path: Path) -> None:
    reply = {"items": [{"name": f"n{n}", "id": n, "body": "word " * 40} for n in range(500)], "page": 1}

    @tool(**READ, projection=("items.name", "page"))
    def few() -> Any:
        """Ask."""
        return reply

    @tool(**READ)
    def all_() -> Any:
        """Ask."""
        return reply

    @tool(**READ, projection=lambda value: value["nothing"])
    def broken() -> Any:
        """Ask."""
        return {"a": 1}

    read = load_module(Path(__file__).parents[3] / "tools" / "artifacts.py", Path()).read
    tools = {"desk.few": few, "desk.all": all_, "desk.broken": broken, "artifacts.read": read}
    async with trial(tmp_path, tools) as run:
        small, large = await run.call("desk.few"), await run.call("desk.all")
        assert small.value == {"items": [{"name": f"n{n}"} for n in range(500)], "page": 1}
        tokens = {"whole": len(str(reply)) // 4, "projected": len(small.text()) // 4, "cut": len(large.text()) // 4}
        assert tokens["projected"] < tokens["whole"] / 10 and tokens["cut"] < 5000 < tokens["whole"]
        name = large.value["[note]"].split("artifact ")[1].split()[0]
        text, start = "", 0
        while True:
            part = (await run.call("artifacts.read", name=name, start=start, length=10_000)).value
            text += part["text"]
            if "next" not in part:
                break
            start = part["next"]
        assert orjson.loads(text) == reply
        assert (await run.call("desk.broken")).value == {"a": 1}
        for bad in ("../journal.db", "0123456789ab.txt", "/etc/passwd"):
            assert (await run.call("artifacts.read", name=bad)).status == "error"
    assert tool_from_function(read, "artifacts.read").manifest.effect == "read"


async def test_the_whole_result_is_kept_for_an_undo(tmp_path: Path) -> None:
    @tool(**WRITE, projection=("id",), undo=lambda arguments, result, context: None)
    def put() -> Any:
        """Put."""
        return {"id": 1, "before": "x" * 100}

    async with trial(tmp_path, {"desk.put": put}) as run:
        assert (await run.call("desk.put")).value == {"id": 1}
        assert run.events("tool.called")[0].receipt == {"id": 1, "before": "x" * 100}


async def test_what_destroys_something_is_previewed_first_whatever_the_model_says(tmp_path: Path) -> None:
    rows = {1, 2}

    @tool(**WRITE, dry_run="preview")
    def delete(row: int, preview: bool = True) -> str:
        """Delete a row.

        Args:
            row: Which.
            preview: Only say what would go.
        """
        if not preview:
            rows.discard(row)
        return f"row {row}"

    async with trial(tmp_path, {"desk.delete": delete}) as run:
        first = await run.call("desk.delete", row=1, preview=False)
        assert rows == {1, 2} and "A preview: nothing was changed" in first.text()
        assert [one.effect for one in run.events("tool.called")] == ["read"]
        assert (await run.call("desk.delete", row=2, preview=False)).status == "ok" and rows == {1, 2}
        assert (await run.call("desk.delete", row=1, preview=False)).value == "row 1"
        assert rows == {2}
        await run.call("desk.delete", row=1, preview=False)  # what was confirmed holds once
        assert "A preview" in str(run.events("tool.called")[-1].result) or rows == {2}


@pytest.mark.parametrize("fails", [False, True])
async def test_of_two_real_calls_side_by_side_one_is_made(tmp_path: Path, fails: bool) -> None:
    wiped: list[str] = []

    @tool(**WRITE, dry_run="preview")
    async def wipe(what: str, preview: bool = True) -> str:
        """Wipe.

        Args:
            what: What.
            preview: Only say what would go.
        """
        await asyncio.sleep(0)
        if not preview:
            wiped.append(what)
            if fails:
                raise ToolError("it is locked")
        return "would go" if preview else "gone"

    async with trial(tmp_path, {"desk.wipe": wipe}) as run:
        await run.call("desk.wipe", what="all")
        results = await asyncio.gather(*(run.call("desk.wipe", what="all", preview=False) for _ in range(2)))
        assert wiped == ["all"]
        assert sorted(one.text().startswith("would go\n[A preview") for one in results) == [False, True]


async def test_a_real_call_that_waits_stays_the_real_call_in_every_process(tmp_path: Path) -> None:
    burnt: list[str] = []

    @tool(effect="irreversible", owner="tests", sinks={}, dry_run="preview")
    def burn(what: str, preview: bool = True) -> str:
        """Burn.

        Args:
            what: What.
            preview: Only say what would go.
        """
        burnt.extend([] if preview else [what])
        return "would burn" if preview else "burnt"

    async with trial(tmp_path, {"desk.burn": burn}) as run:
        await run.call("desk.burn", what="x")
        for _ in range(2):  # what was shown is not used up by waiting
            with pytest.raises(Waiting):
                await run.call("desk.burn", at="turn-9/tool-1", what="x", preview=False)
        run_id = run.journal.id
    async with trial(tmp_path, {"desk.burn": burn}, resume=run_id) as run:  # nothing was shown in this process
        with pytest.raises(Waiting):
            await run.call("desk.burn", at="turn-9/tool-1", what="x", preview=False)
        assert "A preview" in (await run.call("desk.burn", at="turn-9/tool-2", what="y", preview=False)).text()
        (asked,) = run.events("approval.asked")
        assert asked.arguments == {"what": "x", "preview": False} and burnt == []


async def test_a_composite_is_one_call_with_its_inner_calls_governed_and_in_the_trace(tmp_path: Path) -> None:
    done: list[str] = []

    @tool(**READ)
    def find(name: str) -> str:
        """Find.

        Args:
            name: Whom.
        """
        done.append("find")
        return f"id of {name}"

    @tool(effect="irreversible", owner="tests", sinks={})
    def fire(who: str) -> str:
        """Fire.

        Args:
            who: Whom.
        """
        done.append("fire")
        return "fired"

    @tool(**WRITE, calls=("crm.find", "crm.fire"))
    async def both(context: ToolContext, name: str, deep: bool = False) -> Any:
        """Do both.

        Args:
            context: The run.
            name: Whom.
            deep: More.
        """
        one, two = await asyncio.gather(
            context.call("crm.find", {"name": name}), context.call("crm.find", {"name": "x"})
        )
        if deep:
            await context.call("crm.fire", {"who": one})
        try:
            await context.call("crm.other", {})
        except ToolError as error:
            return [one, two, str(error)]

    tools: dict[str, Callable[..., Any]] = {"crm.find": find, "crm.fire": fire, "crm.both": both, "crm.other": find}
    async with trial(tmp_path, tools, granted=frozenset({"crm.both"})) as run:
        result = await run.call("crm.both", name="Ann")
        assert result.value[:2] == ["id of Ann", "id of x"] and "may not use" in result.value[2]
        assert [(one.path.rpartition("tool-1")[2], one.status) for one in run.events("tool.called")] == [
            ("/inner-1", "ok"), ("/inner-2", "ok"), ("/inner-3", "denied"), ("", "ok"),
        ]  # fmt: skip
        assert (await run.call("crm.find", name="Ann")).error_class == "not_granted"
        with pytest.raises(Waiting):  # what is irreversible needs a person, also within another tool
            await run.call("crm.both", name="Bob", deep=True)
        assert "fire" not in done
        run_id = run.journal.id
    done.clear()
    async with trial(tmp_path, tools, granted=frozenset({"crm.both"}), resume=run_id) as run:
        with pytest.raises(Waiting):
            await run.call("crm.both", at="turn-3/tool-1", name="Bob", deep=True)
        assert done == []  # the inner calls that were made come from the journal


async def look_up(run: Any, *words: str) -> list[ToolResult]:
    return [await run.call("desk.look", word=word) for word in words]


@pytest.mark.parametrize(
    ("words", "denied"),
    [
        (("a", "a", "a"), [False, False, True]),
        (("a", "b", "a", "b"), [False, False, False, True]),
        (("the order 7", "Order  the 7", "7, the ORDER!"), [False, False, True]),
        (("page 1", "page 2", "page 3", "page 4"), [False] * 4),
        (("a", "b", "c", "a"), [False] * 4),
    ],
)
async def test_circles_are_denied_and_what_was_tried_is_told(
    tmp_path: Path, words: tuple[str, ...], denied: list[bool]
) -> None:
    @tool(**READ)
    def look(word: str) -> str:
        """Look.

        Args:
            word: What for.
        """
        return "found"

    async with trial(tmp_path, {"desk.look": look}) as run:
        results = await look_up(run, *words)
        assert [result.error_class == "repeated" for result in results] == denied
        if any(denied):
            assert f'Tried so far: desk.look("word":"{words[0]}") -> ok' in results[-1].text()
            await look_up(run, words[-1])


async def test_after_equal_failures_what_failed_is_not_tried_again_and_it_escalates(tmp_path: Path) -> None:
    @tool(**READ)
    def look(word: str) -> str:
        """Look.

        Args:
            word: What for.
        """
        raise ToolError(f"nothing like it among {len(word)} rows")

    async with trial(tmp_path, {"desk.look": look}) as run:
        results = await look_up(run, "aa", "bb", "cc", "dd", "bb", "ee", "AA")
        assert [result.error_class for result in results] == ["tool"] * 4 + ["repeated", "tool", "repeated"]
        assert "4 calls have failed for the same reason" in results[4].text()
        assert "must differ from all of these" in results[4].text()
        assert [one.chosen for one in run.events("decision")] == ["escalate"]
        (raised,) = alerts(run.store, 0)
        assert raised.tool == "goes round in circles" and raised.why.startswith("desk.look: ")


async def test_a_deprecated_tool_warns_once_with_its_date(tmp_path: Path) -> None:
    @tool(**READ, deprecated="2026-12-01, use desk.look@2")
    def look(n: int) -> int:
        """Look.

        Args:
            n: A number.
        """
        return n

    async with trial(tmp_path, {"desk.look@1": look}) as run:
        await run.call("desk.look@1", n=1)
        await run.call("desk.look@1", n=2)
        (warning,) = run.events("decision")
        assert (warning.what, warning.why) == ("desk.look@1 is deprecated", "2026-12-01, use desk.look@2")


async def test_a_call_is_not_made_again_past_the_run_s_deadline(tmp_path: Path) -> None:
    @tool(**READ, retries={"unavailable": 10})
    def look() -> None:
        """Look."""
        raise ToolError("busy", error_class="unavailable", retry_after=5)

    began = time.monotonic()
    async with trial(tmp_path, {"desk.look": look}, seconds=1) as run:
        assert (await run.call("desk.look")).error_class == "unavailable"
    assert time.monotonic() - began < 3
