"""The stage `Approved`: asks once, lets pass exactly what was approved, once, and nothing after it has expired."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quarterdeck.errors import JournalError, Waiting
from quarterdeck.governance.approvals import arguments_hash
from quarterdeck.governance.approved import Approved
from quarterdeck.governance.call import ToolCall
from quarterdeck.governance.queue import answer, find, questions
from quarterdeck.governance.result import ToolResult
from quarterdeck.governance.stages import record
from quarterdeck.journal.allowance import Allowance
from quarterdeck.journal.call import CallContext
from quarterdeck.journal.events import ApprovalAnswered, ApprovalAsked, EffectStarted, RunWaiting, ToolCalled
from quarterdeck.journal.fingerprint import fingerprint
from quarterdeck.journal.ledger import Ledger
from quarterdeck.journal.run import RunJournal
from quarterdeck.journal.store import Store
from quarterdeck.spec.crew import Limits
from quarterdeck.tools.manifest import Manifest
from quarterdeck.tools.signature import tool_from_function

PATH = "refund/turn-1/tool-1"
ARGUMENTS = {"order": "1182", "eur": 140.0}
HOUR = 3600.0


def refund(order: str, eur: float) -> str:
    """Give money back to whoever ordered.

    Args:
        order: The order.
        eur: How much.
    """
    return "done"


REFUND = replace(
    tool_from_function(refund, "payments.refund"),
    manifest=Manifest(effect="irreversible", owner="payments", sinks={"order": "other", "eur": "amount"}),
)


class Desk:
    """One run, taken up again as often as a test likes, with the stage under test before a tool that counts."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.done: list[dict[str, Any]] = []
        self.now = 1000.0
        self.run_id = ""
        self.settings: dict[str, Any] = {}

    async def begin(self) -> None:
        journal = await RunJournal.start(self.store, crew="refunds", spec={}, inputs={}, spec_hash="", version="0")
        self.run_id = journal.id
        await journal.close()

    def call(self, arguments: dict[str, Any] | None = None, **fields: Any) -> ToolCall:
        given = dict(ARGUMENTS if arguments is None else arguments)
        settings = {"tool": REFUND, "effect": "irreversible", "tier": "approve", "needs_approval": "it is irreversible"}
        request_hash = fingerprint({"tool": "payments.refund", "arguments": given, "raw": ""})
        return ToolCall("payments.refund", given, "", request_hash, **{**settings, **fields})

    async def go(self, call: ToolCall | None = None, path: str = PATH, *, record_result: bool = True) -> ToolResult:
        """Take the run up, put a call through the stage, and let the run go."""
        call = call or self.call()

        async def proceed(call: ToolCall, context: CallContext) -> ToolResult:
            before = context.journal.recorded_tool(context.path, call.request_hash)
            if before is not None:
                return ToolResult(before.status, before.result, before.error_class)
            self.done.append(dict(call.arguments or {}))
            result = ToolResult("ok", "done")
            if record_result:
                await record(call, context, result, 0.0)
            return result

        async with await RunJournal.resume(self.store, self.run_id) as journal:
            context = CallContext(
                journal, Allowance(Limits(), journal.totals, Ledger(journal, Limits())), path, "refund", "resolver", 1e9
            )
            stage = Approved(
                lambda _: frozenset({"payments.refund", "crm.note"}), clock=lambda: self.now, **self.settings
            )
            try:
                return await stage(call, context, proceed)
            except Waiting as waiting:
                await journal.wait(RunWaiting(code=waiting.code, evidence=str(waiting)))
                raise

    async def asks(self, call: ToolCall | None = None, path: str = PATH) -> None:
        with pytest.raises(Waiting) as waiting:
            await self.go(call, path)
        assert waiting.value.code == "approval" and "quarterdeck approvals show a" in str(waiting.value)

    async def says(self, said: Literal["approved", "rejected", "edited"] = "approved", **more: Any) -> bool:
        return await answer(self.store, questions(self.store)[-1], said, by="ann", **more)

    def events(self, kind: type[Any]) -> list[Any]:
        return [row.event for row in self.store.events(self.run_id) if isinstance(row.event, kind)]


@pytest.fixture(autouse=True)
def _one_clock(monkeypatch: pytest.MonkeyPatch, desk: Desk) -> None:
    """Let the person's clock be that of the stage."""
    monkeypatch.setattr("quarterdeck.governance.queue.time.time", lambda: desk.now)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(f"sqlite:///{tmp_path}/journal.db") as store:
        yield store


@pytest.fixture
async def desk(store: Store) -> AsyncIterator[Desk]:
    desk = Desk(store)
    await desk.begin()
    yield desk


async def test_a_call_that_needs_nobody_passes(desk: Desk) -> None:
    result = await desk.go(desk.call(needs_approval="", tier="autonomous"))
    assert result.status == "ok" and not desk.events(ApprovalAsked)


async def test_it_asks_once_with_all_that_a_person_has_to_know(desk: Desk) -> None:
    why = "Customer reports a double charge. Confidence: 0.65"
    call: dict[str, Any] = {"why": why, "origins": {"eur": "ledger.lookup", "order": "user (not trusted)"}}
    await desk.asks(desk.call(**call))
    await desk.asks(desk.call(**call))  # taken up without an answer: it waits on, and asks nothing new
    (asked,) = desk.events(ApprovalAsked)
    assert (asked.path, asked.tool, asked.arguments) == (PATH, "payments.refund", ARGUMENTS)
    assert asked.arguments_hash == arguments_hash("payments.refund", ARGUMENTS)
    assert (asked.effect, asked.tier, asked.reason, asked.why) == ("irreversible", "approve", "tier", why)
    assert asked.uncertainty == 0.35 and asked.origins == call["origins"]
    assert asked.options == ("other arguments", "use crm.note", "do nothing")
    assert "once with exactly these arguments" in asked.next and "1970-01-02 00:16 UTC" in asked.next
    assert asked.expires_at == desk.now + 24 * HOUR and asked.id[0] == "a" and len(asked.id) == 6
    assert desk.done == [] and desk.store.run(desk.run_id).status == "waiting"


async def test_approved_it_is_done_once(desk: Desk) -> None:
    await desk.asks()
    assert await desk.says(reason="checked the ledger")
    assert (await desk.go()).status == "ok"
    desk.now += 90 * HOUR  # what was used in time stays so, however often the run is replayed
    assert (await desk.go()).status == "ok"
    assert desk.done == [ARGUMENTS]
    (done,) = desk.events(ToolCalled)
    assert done.approval == desk.events(ApprovalAsked)[0].id


async def test_rejected_it_is_not_done_and_the_agent_is_told_why(desk: Desk) -> None:
    await desk.asks()
    await desk.says("rejected", reason="the second capture is a deposit")
    for _ in range(2):
        result = await desk.go()
        assert (result.status, result.error_class) == ("denied", "rejected")
        assert "the second capture is a deposit" in result.value
    assert desk.done == []


async def test_edited_it_is_done_as_edited(desk: Desk) -> None:
    await desk.asks()
    await desk.says("edited", arguments={"order": "1182", "eur": 70.0})
    call = desk.call(origins={"eur": "tool:web.fetch", "order": "user"})
    assert (await desk.go(call)).status == "ok"
    assert (await desk.go()).status == "ok"
    assert desk.done == [{"order": "1182", "eur": 70.0}]
    assert call.origins == {"eur": "person", "order": "user"}
    (done,) = desk.events(ToolCalled)
    assert done.arguments["eur"] == 70.0


@pytest.mark.parametrize(
    "wrong", [{"order": "1182"}, {"order": "1182", "eur": "x"}, {"order": "1182", "eur": 1, "z": 1}]
)
async def test_an_edit_that_does_not_fit_the_tool_is_not_done(desk: Desk, wrong: dict[str, Any]) -> None:
    await desk.asks()
    await desk.says("edited", arguments=wrong)
    assert ((await desk.go()).error_class, desk.done) == ("arguments", [])


async def test_an_edit_that_the_policy_forbids_is_not_done(desk: Desk) -> None:
    async def forbids(call: ToolCall, context: CallContext) -> ToolResult | None:
        too_much = (call.arguments or {})["eur"] > 1000
        return ToolResult("denied", "never more than 1000", "forbidden") if too_much else None

    desk.settings["reconsider"] = forbids
    await desk.asks()
    await desk.says("edited", arguments={"order": "1182", "eur": 5000.0})
    assert ((await desk.go()).error_class, desk.done) == ("forbidden", [])


@pytest.mark.parametrize("preview", [True, False])
@pytest.mark.parametrize("other", [None, 0, 1, "yes", ...])
async def test_an_edit_does_not_make_a_preview_the_real_call(desk: Desk, preview: bool, other: Any) -> None:
    desk.settings["reconsider"] = None
    before = {"order": "1182", "eur": 140.0, "preview": preview}
    previewed = replace(REFUND, manifest=replace(REFUND.manifest, dry_run="preview"))
    call = desk.call(before, tool=previewed, preview=preview)
    await desk.asks(call)
    changed = {} if other is ... else {"preview": not preview if other is None else other}
    await desk.says("edited", arguments={"order": "1182", "eur": 140.0, **changed})
    result = await desk.go(desk.call(before, tool=previewed, preview=preview))
    assert (result.status, result.error_class, desk.done) == ("denied", "arguments", [])
    assert "preview cannot be edited" in result.value


async def test_what_is_forbidden_cannot_even_be_asked_for(desk: Desk) -> None:
    result = await desk.go(desk.call(tier="forbidden"))
    assert (result.status, result.error_class) == ("denied", "forbidden")
    assert not desk.events(ApprovalAsked)


async def test_an_approval_expires_whether_it_was_given_or_not(desk: Desk) -> None:
    await desk.asks()
    desk.now += 25 * HOUR
    with pytest.raises(JournalError, match="has expired"):
        await desk.says()
    await desk.asks()  # asked anew, as an escalation of its own
    assert await desk.says()
    desk.now += 25 * HOUR  # given in time, but not used in time
    await desk.asks()
    first, second, third = desk.events(ApprovalAsked)
    assert [first.reason, second.reason, third.reason] == ["tier", "timeout", "timeout"]
    assert len({first.id, second.id, third.id}) == 3 and desk.done == []
    assert find(desk.store, first.id).state == "expired" and find(desk.store, third.id).state == "open"


async def test_an_answer_is_given_once(desk: Desk) -> None:
    await desk.asks()
    item = questions(desk.store)[0]
    await answer(desk.store, item, "rejected", reason="no", by="ann")
    with pytest.raises(JournalError, match=f"{item.asked.id} was rejected already by ann"):
        await answer(desk.store, item, "approved")
    assert len(desk.events(ApprovalAnswered)) == 1 and questions(desk.store) == []


async def test_a_begun_effect_keeps_its_approval_after_it_has_expired(desk: Desk) -> None:
    """Whether it happened is the next stage's question; a second approval would make it happen twice."""
    await desk.asks()
    await desk.says()
    async with await RunJournal.take(desk.store, desk.run_id) as journal:
        await journal.append(EffectStarted(path=PATH, tool="payments.refund", arguments=ARGUMENTS, request_hash="h"))
    desk.now += 90 * HOUR
    assert (await desk.go(record_result=False)).status == "ok"


OTHERS: list[dict[str, Any]] = [
    {"order": "1183", "eur": 140.0},
    {"order": "1182", "eur": 140.01},
    {"order": "1182", "eur": 140},
    {"order": "1182", "eur": -140.0},
    {"order": "1182", "eur": 1400.0},
    {"order": "1182 ", "eur": 140.0},
    {"order": " 1182", "eur": 140.0},
    {"order": "1182\u200b", "eur": 140.0},
    {"order": "\uff11182", "eur": 140.0},
    {"order": "1182\n", "eur": 140.0},
    {"order": 1182, "eur": 140.0},
    {"order": "1182", "eur": "140.0"},
    {"order": "1182", "eur": True},
    {"order": "1182", "eur": None},
    {"order": "1182"},
    {"order": ["1182"], "eur": 140.0},
    {"order": "1182", "eur": 140.0, "to": ""},
    {"Order": "1182", "eur": 140.0},
]


@pytest.mark.parametrize("other", OTHERS, ids=repr)
async def test_an_approval_holds_for_no_other_arguments(desk: Desk, other: dict[str, Any]) -> None:
    await desk.asks()
    await desk.says()
    await desk.asks(desk.call(other))
    assert desk.done == []


async def test_the_order_of_the_arguments_is_no_difference(desk: Desk) -> None:
    await desk.asks()
    await desk.says()
    assert (await desk.go(desk.call(dict(reversed(ARGUMENTS.items()))))).status == "ok"
    assert desk.done == [ARGUMENTS]


async def test_an_approval_holds_for_no_other_path_tool_run_or_fork(desk: Desk) -> None:
    await desk.asks()
    await desk.says()
    await desk.asks(path="refund/turn-2/tool-1")
    other = desk.call()
    other.name = "payments.refund@2"
    await desk.asks(other)
    first = desk.run_id
    await desk.begin()
    await desk.asks()
    async with await RunJournal.fork(desk.store, first, "refund/turn-2", {}) as fork:
        desk.run_id = fork.id
        assert not [row for row in desk.store.events(fork.id) if row.kind.startswith("approval.")]
    await desk.asks()
    assert desk.done == []


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan, object()], ids=["inf", "-inf", "nan", "object"])
async def test_what_no_person_can_be_shown_exactly_is_not_asked(desk: Desk, value: Any) -> None:
    """JSON writes infinity as null: approved would be null, done would be infinity."""
    call = desk.call()
    call.arguments = {"order": "1182", "eur": value}
    result = await desk.go(call)
    assert (result.status, result.error_class, desk.done) == ("denied", "arguments", [])
    assert not desk.events(ApprovalAsked)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def _typed(value: Any) -> Any:
    """Return a value so that 1, 1.0 and True differ."""
    if isinstance(value, dict):
        return {name: _typed(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_typed(one) for one in value]
    return type(value).__name__, repr(value)


@given(st.dictionaries(st.text(), VALUES, max_size=4), st.dictionaries(st.text(), VALUES, max_size=4))
def test_two_different_arguments_never_have_one_hash(first: dict[str, Any], second: dict[str, Any]) -> None:
    same = arguments_hash("t", first) == arguments_hash("t", second)
    assert same == (_typed(first) == _typed(second))


async def test_a_doubtful_call_goes_to_a_person_though_the_policy_lets_it_pass(desk: Desk) -> None:
    free: dict[str, Any] = {"needs_approval": "", "tier": "autonomous", "effect": "external"}
    desk.settings["least_confidence"] = 0.6
    await desk.asks(desk.call(why='I think so. {"confidence": 0.4}', **free))
    (asked,) = desk.events(ApprovalAsked)
    assert (asked.reason, asked.uncertainty) == ("confidence", 0.6) and "0.4 is below 0.6" in asked.needs
    assert (await desk.go(desk.call(why="confidence: 90 %", **free), "other/1")).status == "ok"
    assert (await desk.go(desk.call(why="confidence 0.1", **{**free, "effect": "read"}), "other/2")).status == "ok"


@pytest.mark.parametrize("order", ["unknown", " N/A ", "<unknown>", "", "tbd"])
async def test_an_effect_whose_target_is_not_known_goes_to_a_person(desk: Desk, order: str) -> None:
    free: dict[str, Any] = {"needs_approval": "", "tier": "autonomous", "effect": "external"}
    await desk.asks(desk.call({"order": order, "eur": 1.0}, **free))
    (asked,) = desk.events(ApprovalAsked)
    assert asked.reason == "incomplete" and f"order is {order!r}" in asked.needs
