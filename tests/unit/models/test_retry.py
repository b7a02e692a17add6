"""Retries: how often, after which wait, in what form, and never past the end of the run."""

from __future__ import annotations

import asyncio
import email.utils
import random
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.models.stages import Next, Remembered, Waits, ask, context_of, failure

from quarterdeck.errors import LimitReached, ModelError, ModelErrorKind
from quarterdeck.journal.events import ModelFailed
from quarterdeck.models.attempt import Attempt
from quarterdeck.models.failures import retry_after_of
from quarterdeck.models.retry import Retry
from quarterdeck.models.stages import Deadline


async def waits_of(*errors: ModelError, seconds: float = 1e6, last_resort: bool = True, **settings: object) -> Waits:
    waits = Waits()
    stage = Retry(Next(*errors), sleep=waits, **settings)  # type: ignore[arg-type]
    await stage.complete(ask(), context_of(seconds=seconds, last_resort=last_resort))
    return waits


@given(seed=st.integers(0, 10**6))
def test_waits_grow_and_are_drawn_with_full_jitter(seed: int) -> None:
    errors = [failure("server")] * 6
    waits = asyncio.run(waits_of(*errors, attempts=7, base=0.5, ceiling=4.0, rng=random.Random(seed)))
    bounds = [0.5, 1.0, 2.0, 4.0, 4.0, 4.0]
    assert all(0 <= wait <= bound for wait, bound in zip(waits.seconds, bounds, strict=True))
    drawn = random.Random(seed)
    assert waits.seconds == [drawn.uniform(0, bound) for bound in bounds], "another seed, another wait"


async def test_attempts_are_bounded_and_the_last_failure_is_raised() -> None:
    provider, waits = Next(failure("server"), failure("timeout"), failure("server", said="third")), Waits()
    with pytest.raises(ModelError, match="third"):
        await Retry(provider, sleep=waits).complete(ask(), context_of())
    assert len(provider.requests) == 3
    assert len(waits.seconds) == 2


async def test_a_retry_hint_in_seconds_is_kept() -> None:
    hint = retry_after_of({"retry-after": "7"})
    waits = await waits_of(failure("rate_limited", retry_after=hint))
    assert 7.0 <= waits.seconds[0] <= 7.5


async def test_a_retry_hint_as_a_date_is_kept() -> None:
    now = time.time()
    hint = retry_after_of({"retry-after": email.utils.formatdate(now + 7, usegmt=True)}, now=now)
    waits = await waits_of(failure("server", retry_after=hint))
    assert 6.0 <= waits.seconds[0] <= 7.5  # a date has whole seconds


async def test_a_long_hint_is_kept_only_where_no_other_model_is_left() -> None:
    assert (await waits_of(failure("rate_limited", retry_after=90.0))).seconds[0] >= 90
    with pytest.raises(ModelError):
        await waits_of(failure("rate_limited", retry_after=90.0), last_resort=False)


async def test_never_waits_past_the_end_of_the_run() -> None:
    provider, waits = Next(failure("rate_limited", retry_after=7.0)), Waits()
    with pytest.raises(ModelError):
        await Retry(provider, sleep=waits).complete(ask(), context_of(seconds=6.9))
    assert (len(provider.requests), waits.seconds) == (1, [])


async def test_a_dropped_connection_is_tried_again_at_once_and_once() -> None:
    assert (await waits_of(failure("unreachable"))).seconds == []
    assert len((await waits_of(failure("unreachable"), failure("unreachable"))).seconds) == 1


async def test_an_unreadable_answer_is_asked_for_in_another_form_once() -> None:
    provider = Next(failure("malformed"))
    await Retry(provider).complete(ask(temperature=1.9), context_of())
    first, second = provider.requests
    assert first.stream and not second.stream
    assert (second.temperature, second.messages) == (2.0, first.messages)
    provider = Next(failure("malformed"), failure("malformed"))
    with pytest.raises(ModelError):
        await Retry(provider, attempts=5).complete(ask(), context_of())
    assert len(provider.requests) == 2


async def test_an_open_circuit_is_waited_for_only_by_who_has_nobody_else_to_ask() -> None:
    waits = await waits_of(failure("circuit_open", retry_after=8.0))
    assert 8.0 <= waits.seconds[0] <= 8.5
    with pytest.raises(ModelError):
        await waits_of(failure("circuit_open", retry_after=8.0), last_resort=False)
    with pytest.raises(ModelError):
        await waits_of(failure("circuit_open", retry_after=120.0))


@pytest.mark.parametrize("kind", ["refused", "too_long", "no_key", "no_quota"])
async def test_what_would_fail_again_is_not_tried_again(kind: ModelErrorKind) -> None:
    provider = Next(failure(kind))
    with pytest.raises(ModelError):
        await Retry(provider).complete(ask(), context_of())
    assert len(provider.requests) == 1


async def test_a_limit_is_not_tried_again() -> None:
    provider = Next(LimitReached("spent", "usd"))
    with pytest.raises(LimitReached):
        await Retry(provider).complete(ask(), context_of())
    assert len(provider.requests) == 1


async def test_each_failed_attempt_is_one_numbered_entry() -> None:
    journal = Remembered()
    stage = Retry(Attempt(Next(failure("server"), failure("timeout", said="x" * 9000))), sleep=Waits())
    await stage.complete(ask("m"), context_of(journal))
    failed = [event for event in journal.events if isinstance(event, ModelFailed)]
    assert [(event.attempt, event.error_kind, event.model) for event in failed] == [
        (1, "server", "m"),
        (2, "timeout", "m"),
    ]
    assert len(journal.events) == 2 and len(failed[1].error) == 2000


async def test_an_attempt_that_is_cut_off_is_an_entry_too() -> None:
    class Silent:
        async def complete(self, *_: object) -> None:
            await asyncio.Event().wait()

    silent: object = Silent()
    journal = Remembered()
    with pytest.raises(LimitReached):
        await Attempt(Deadline(silent)).complete(ask(), context_of(journal, seconds=0.01))  # type: ignore[arg-type]
    call = asyncio.ensure_future(Attempt(silent).complete(ask(), context_of(journal)))  # type: ignore[arg-type]
    await asyncio.sleep(0)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert [(event.attempt, event.error_kind) for event in journal.events if isinstance(event, ModelFailed)] == [
        (1, "cut_off"),
        (1, "cut_off"),
    ]


async def test_a_call_that_takes_too_long_is_cut_and_made_again() -> None:
    class SlowOnce:
        calls = 0

        async def complete(self, *_: object) -> str:
            self.calls += 1
            if self.calls == 1:
                await asyncio.Event().wait()
            return "ok"

    slow: object = SlowOnce()
    journal = Remembered()
    stage = Retry(Attempt(Deadline(slow, seconds=0.01)), sleep=Waits())  # type: ignore[arg-type]
    reply: object = await stage.complete(ask(), context_of(journal))
    assert reply == "ok"
    assert [event.error_kind for event in journal.events if isinstance(event, ModelFailed)] == ["timeout"]


async def test_a_timeout_below_the_deadline_is_not_taken_for_it() -> None:
    with pytest.raises(ModelError, match="socket") as caught:
        await Deadline(Next(TimeoutError("socket"))).complete(ask(), context_of())
    assert caught.value.kind == "timeout"
