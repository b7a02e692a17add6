"""A model that keeps failing is left alone, then tried with exactly one call."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.models.stages import Next, Remembered, ask, context_of, failure

from quarterdeck.errors import LimitReached, ModelError, ModelErrorKind
from quarterdeck.journal.call import CallContext
from quarterdeck.models.breaker import Breaker
from quarterdeck.models.circuits import Blocked, CircuitRules, Circuits, Pass, Verdict
from quarterdeck.models.port import ModelReply, ModelRequest

RULES = CircuitRules(consecutive=3, rate=0.5, window=60.0, least=10, cool_off=10.0, longest=35.0, patience=100.0)


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Port:
    """A breaker on a clock of its own, its calls and its journal."""

    def __init__(self, *script: BaseException | None) -> None:
        self.clock = Clock()
        self.circuits = Circuits(RULES, self.clock)
        self.provider = Next(*script)
        self.journal = Remembered()
        self.breaker = Breaker(self.provider, self.circuits)

    async def calls(self, number: int) -> list[str]:
        """Make calls one after the other and return what came of each."""
        return [await self.call() for _ in range(number)]

    async def call(self) -> str:
        try:
            return (await self.breaker.complete(ask("m"), context_of(self.journal))).text
        except ModelError as error:
            return error.kind

    @property
    def state(self) -> str:
        return self.circuits.states()["m"].state


async def test_opens_after_failures_in_a_row_and_sends_nothing_while_open() -> None:
    port = Port(*[failure("server", said="down")] * 3)
    assert await port.calls(3) == ["server"] * 3
    assert port.state == "open"
    with pytest.raises(ModelError, match=r"m keeps failing and is not asked before .* UTC \(in 10 s\).*down") as caught:
        await port.breaker.complete(ask("m"), context_of(port.journal))
    assert (caught.value.kind, caught.value.retry_after) == ("circuit_open", 10.0)
    port.clock.now = 9.9
    assert await port.calls(20) == ["circuit_open"] * 20
    assert len(port.provider.requests) == 3
    assert (await port.breaker.complete(ask("other"), context_of())).text == "ok", "another model is another circuit"


async def test_an_answer_in_between_begins_the_count_anew() -> None:
    port = Port(failure("server"), failure("server"), None, failure("server"), failure("server"), None)
    await port.calls(6)
    assert port.state == "closed"


async def test_opens_on_the_share_of_failures_within_the_window() -> None:
    script = [failure("timeout"), None] * 4
    port = Port(*script, None, failure("timeout"))
    await port.calls(9)
    assert port.state == "closed"
    await port.calls(1)
    assert port.state == "open", "5 of 10 failed"
    late = Port(*script, None, failure("timeout"))
    await late.calls(8)
    late.clock.now = 61.0
    await late.calls(2)
    assert late.state == "closed", "what is older than the window counts no more"


@pytest.mark.parametrize("kind", ["no_key", "refused", "too_long", "malformed", "no_quota", "unknown_price"])
async def test_what_says_nothing_of_health_opens_nothing(kind: ModelErrorKind) -> None:
    port = Port(*[failure(kind)] * 30)
    await port.calls(30)
    assert port.state == "closed"


async def test_a_rate_limit_opens_only_if_it_does_not_say_when_to_come_back() -> None:
    told = Port(*[failure("rate_limited", retry_after=1.0)] * 5)
    await told.calls(5)
    assert told.state == "closed"
    port = Port(*[failure("rate_limited")] * 3)
    await port.calls(3)
    assert port.state == "open"


class Gate:
    """A next stage whose calls wait until they are let through."""

    def __init__(self) -> None:
        self.calls = 0
        self.open = asyncio.Event()

    async def complete(self, request: ModelRequest, context: CallContext) -> ModelReply:
        self.calls += 1
        await self.open.wait()
        return ModelReply("ok")


async def opened() -> Port:
    port = Port(*[failure("server")] * 3)
    await port.calls(3)
    port.clock.now = 10.0
    return port


async def test_exactly_one_probe_goes_out_after_the_cool_off() -> None:
    port, gate = await opened(), Gate()
    breaker = Breaker(gate, port.circuits)
    calls = [asyncio.ensure_future(breaker.complete(ask("m"), context_of(port.journal))) for _ in range(50)]
    done, waiting = await asyncio.wait(calls, timeout=0.02)
    assert (gate.calls, len(waiting), len(done)) == (1, 1, 49)
    assert {getattr(call.exception(), "kind", None) for call in done} == {"circuit_open"}
    assert port.state == "half_open"
    gate.open.set()
    assert (await waiting.pop()).text == "ok"
    assert port.state == "closed"
    assert await port.call() == "ok"


async def test_a_failed_probe_opens_again_and_for_longer() -> None:
    port = Port(*[failure("server")] * 99)
    await port.calls(3)
    waits = []
    for _ in range(4):
        wait = port.circuits.states()["m"].seconds
        waits.append(wait)
        port.clock.now += wait
        assert await port.call() == "server"
        assert port.state == "open"
    assert waits == [10.0, 20.0, 35.0, 35.0]
    assert len(port.provider.requests) == 7


async def test_closing_forgets_the_longer_cool_off() -> None:
    port = Port(*[failure("server")] * 4, None, *[failure("server")] * 3)
    await port.calls(3)
    port.clock.now = 10.0
    assert await port.call() == "server"
    port.clock.now = 30.0
    assert await port.call() == "ok"
    assert await port.calls(3) == ["server"] * 3
    assert port.circuits.states()["m"].seconds == 10.0


@pytest.mark.parametrize("stopped", [LimitReached("spent", "usd"), failure("no_key"), None])
async def test_a_probe_that_says_nothing_leaves_the_way_free_for_the_next(stopped: BaseException | None) -> None:
    port, gate = await opened(), Gate()
    stage = gate if stopped is None else Next(stopped)
    probe = asyncio.ensure_future(Breaker(stage, port.circuits).complete(ask("m"), context_of(port.journal)))
    await asyncio.sleep(0.001)
    if stopped is None:
        probe.cancel()
    await asyncio.wait([probe])
    assert port.state == "half_open"
    assert await port.call() == "ok"
    assert port.state == "closed"


def test_a_probe_that_never_comes_back_counts_as_lost() -> None:
    clock = Clock()
    circuits = Circuits(RULES, clock)
    for _ in range(3):
        granted = circuits.enter("m")
        assert isinstance(granted, Pass)
        circuits.leave("m", granted, "failed")
    clock.now = 10.0
    assert circuits.enter("m") == Pass(clock.now, probe=True)
    clock.now = 109.0
    assert isinstance(circuits.enter("m"), Blocked)
    clock.now = 110.0
    assert circuits.enter("m") == Pass(clock.now, probe=True)


def test_calls_that_fail_side_by_side_are_one_failure_in_a_row() -> None:
    clock = Clock()
    circuits = Circuits(RULES, clock)
    for seconds, state in ((0.0, "closed"), (1.0, "closed"), (2.0, "open")):
        clock.now = seconds
        together = [granted for _ in range(3) if isinstance(granted := circuits.enter("m"), Pass)]
        for granted in together:
            clock.now += 0.1
            circuits.leave("m", granted, "failed")
        assert circuits.states()["m"].state == state


def test_quick_failures_do_not_outvote_the_calls_that_are_still_on_their_way() -> None:
    clock = Clock()
    circuits = Circuits(RULES, clock)
    together = [granted for _ in range(50) if isinstance(granted := circuits.enter("m"), Pass)]
    clock.now = 1.0
    for granted in together[:24]:
        assert circuits.leave("m", granted, "failed") is None
    assert circuits.leave("m", together[24], "failed") == "open", "half of all have failed"


async def test_calls_that_were_on_their_way_when_it_opened_prove_nothing() -> None:
    port, gate = Port(*[failure("server")] * 3), Gate()
    early = asyncio.ensure_future(Breaker(gate, port.circuits).complete(ask("m"), context_of(port.journal)))
    await asyncio.sleep(0)
    await port.calls(3)
    gate.open.set()
    await early
    assert port.state == "open"


async def test_transitions_are_decisions() -> None:
    port = await opened()
    await port.call()
    said = [(one.path, one.chosen, one.what) for one in port.journal.decisions()]
    assert said == [
        ("gather/turn-1/breaker", "open", "circuit of m: open"),
        ("gather/turn-1/breaker", "half_open", "circuit of m: half-open"),
        ("gather/turn-1/breaker", "closed", "circuit of m: closed"),
    ]
    assert "it was server" in port.journal.decisions()[0].why


def test_threads_get_one_probe_between_them() -> None:
    clock = Clock()
    circuits = Circuits(RULES, clock)
    for _ in range(3):
        granted = circuits.enter("m")
        assert isinstance(granted, Pass)
        circuits.leave("m", granted, "failed")
    clock.now = 10.0
    passes: list[Pass] = []
    start = threading.Barrier(8)

    def enter() -> None:
        start.wait()
        for _ in range(50):
            granted = circuits.enter("m")
            if isinstance(granted, Pass):
                passes.append(granted)

    threads = [threading.Thread(target=enter) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert passes == [Pass(10.0, probe=True)]


Steps = st.lists(
    st.tuples(st.floats(0, 30), st.sampled_from(["answered", "failed", "unknown"]), st.booleans()), max_size=80
)


@given(Steps)
def test_in_any_order_at_most_one_probe_is_out_and_open_sends_nothing(
    steps: Sequence[tuple[float, Verdict, bool]],
) -> None:
    clock = Clock()
    circuits = Circuits(RULES, clock)
    out: list[Pass] = []
    for seconds, verdict, leaves in steps:
        clock.now += min(seconds, 1.0)  # never as long as a probe is waited for
        before = circuits.states().get("m")
        granted = circuits.enter("m")
        if isinstance(granted, Pass):
            assert before is None or before.seconds == 0
            assert granted.probe == (before is not None and before.state != "closed")
            out.append(granted)
        if out and (leaves or len(out) > 3):
            circuits.leave("m", out.pop(0), verdict)
        assert sum(one.probe for one in out) <= 1
        assert circuits.states()["m"].seconds <= RULES.longest
