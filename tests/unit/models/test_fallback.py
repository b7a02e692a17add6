"""When a model does not answer, the next one does, and everybody can see that."""

from __future__ import annotations

import pytest
from tests.unit.models.stages import Next, Remembered, Waits, ask, chain_of, context_of, failure, model_of

from quarterdeck.errors import LimitReached, ModelError
from quarterdeck.journal.events import Decision, ModelFailed
from quarterdeck.models.attempt import Attempt
from quarterdeck.models.fallback import Fallback
from quarterdeck.models.retry import Retry

FIRST, SECOND, THIRD = (model_of(name) for name in ("first", "second", "third"))
SCHEMA = {"type": "object", "properties": {"depth": {"type": "number"}}}


async def test_the_model_asked_for_answers_and_nothing_is_degraded() -> None:
    journal = Remembered()
    reply = await Fallback(Next(), chain_of(FIRST, SECOND)).complete(ask(), context_of(journal))
    assert (reply.model, reply.degraded, journal.events) == ("first", False, [])


async def test_the_chain_is_asked_in_order_and_the_answer_is_flagged() -> None:
    provider, journal = Next(first=[failure("no_key")], second=[failure("server", said="boom")]), Remembered()
    reply = await Fallback(provider, chain_of(FIRST, SECOND, THIRD)).complete(ask(), context_of(journal))
    assert [request.model for request in provider.requests] == ["first", "second", "third"]
    assert (reply.model, reply.degraded) == ("third", True)
    (decision,) = journal.decisions()
    assert decision.path == "gather/turn-1/fallback"
    assert (decision.chosen, decision.alternatives) == ("third", ("first", "second"))
    assert "first: it was no_key" in decision.why and "second: boom" in decision.why


async def test_only_the_last_of_the_chain_is_the_last_resort() -> None:
    provider = Next(first=[failure("server")], second=[failure("server")], third=[])
    await Fallback(provider, chain_of(FIRST, SECOND, THIRD)).complete(ask(), context_of())
    assert [context.last_resort for context in provider.contexts] == [False, False, True]


async def test_the_group_of_the_call_chooses_the_chain() -> None:
    asked: list[tuple[str, str]] = []

    def chain(name: str, group: str) -> tuple[object, ...]:
        asked.append((name, group))
        return (FIRST,)

    await Fallback(Next(), chain).complete(ask(), context_of(group="cheap"))  # type: ignore[arg-type]
    assert asked == [("first", "cheap")]


async def test_the_schema_is_dropped_where_a_model_cannot_be_held_to_it() -> None:
    provider = Next(first=[failure("server")], second=[failure("server")])
    chain = chain_of(FIRST, model_of("second", schema=False), THIRD)
    await Fallback(provider, chain).complete(ask(schema=SCHEMA), context_of())
    assert [request.schema for request in provider.requests] == [SCHEMA, None, SCHEMA]


async def test_models_that_read_too_little_are_passed_over() -> None:
    provider = Next(first=[failure("too_long", said="Too long.")], large=[])
    chain = chain_of(FIRST, model_of("small", 2000), model_of("large", 200_000))
    reply = await Fallback(provider, chain).complete(ask(words="word " * 4000), context_of())
    assert reply.model == "large"
    assert [request.model for request in provider.requests] == ["first", "large"]
    provider = Next(first=[failure("too_long", said="Too long.")])
    with pytest.raises(ModelError, match=r"Too long\. .*small: reads too little") as caught:
        await Fallback(provider, chain_of(FIRST, model_of("small", 2000))).complete(
            ask(words="word " * 4000), context_of()
        )
    assert caught.value.kind == "too_long"


@pytest.mark.parametrize("limit", ["usd", "tokens", "model_calls", "seconds"])
async def test_a_limit_ends_the_chain(limit: str) -> None:
    provider = Next(first=[failure("server")], second=[LimitReached("enough", limit)])  # type: ignore[arg-type]
    with pytest.raises(LimitReached):
        await Fallback(provider, chain_of(FIRST, SECOND, THIRD)).complete(ask(), context_of())
    assert len(provider.requests) == 2


async def test_a_refusal_is_not_asked_around() -> None:
    provider = Next(first=[failure("server", said="down")], second=[failure("refused", said="No.")])
    with pytest.raises(ModelError, match=r"No\. .*first: down") as caught:
        await Fallback(provider, chain_of(FIRST, SECOND, THIRD)).complete(ask(), context_of())
    assert caught.value.kind == "refused"
    assert len(provider.requests) == 2


async def test_a_stand_in_without_a_price_is_passed_over_but_not_the_model_asked_for() -> None:
    provider = Next(first=[failure("server")], second=[failure("unknown_price")])
    assert (await Fallback(provider, chain_of(FIRST, SECOND, THIRD)).complete(ask(), context_of())).model == "third"
    provider = Next(first=[failure("unknown_price")])
    with pytest.raises(ModelError):
        await Fallback(provider, chain_of(FIRST, SECOND)).complete(ask(), context_of())
    assert len(provider.requests) == 1


async def test_when_all_fail_the_telling_error_names_each_model() -> None:
    provider = Next(
        first=[failure("circuit_open", retry_after=30.0, said="first rests")],
        second=[failure("server", said="second is down")],
        third=[failure("no_key", said="third has no key")],
    )
    with pytest.raises(ModelError) as caught:
        await Fallback(provider, chain_of(FIRST, SECOND, THIRD)).complete(ask(), context_of())
    error = caught.value
    assert (error.kind, error.retry_after) == ("server", 30.0)
    assert str(error).startswith("second is down")
    assert "first: first rests" in str(error) and "third: third has no key" in str(error)


async def test_one_failure_without_a_chain_stays_as_it_is() -> None:
    said = failure("server")
    with pytest.raises(ModelError) as caught:
        await Fallback(Next(said), chain_of(FIRST)).complete(ask(), context_of())
    assert caught.value is said


async def test_attempts_are_numbered_over_the_whole_chain() -> None:
    journal = Remembered()
    provider = Next(first=[failure("server")] * 3, second=[failure("unreachable")])
    port = Fallback(Retry(Attempt(provider), sleep=Waits()), chain_of(FIRST, SECOND))
    reply = await port.complete(ask(), context_of(journal))
    failed = [(event.model, event.attempt) for event in journal.events if isinstance(event, ModelFailed)]
    assert failed == [("first", 1), ("first", 2), ("first", 3), ("second", 4)]
    assert reply.model == "second"


async def test_a_decision_that_is_recorded_is_not_recorded_again() -> None:
    decided = Decision(path="gather/turn-1/fallback", what="", why="", chosen="second")
    for recorded, count in ((decided, 0), (decided.model_copy(update={"chosen": "third"}), 1)):
        journal = Remembered([recorded])
        port = Fallback(Next(first=[failure("server")], second=[]), chain_of(FIRST, SECOND))
        await port.complete(ask(), context_of(journal))
        assert len(journal.decisions()) == count
