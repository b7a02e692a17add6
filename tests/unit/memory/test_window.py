"""The window: what a prompt carries stays within its bounds, in order, and calls keep their results."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.memory.real_tokens import PROSE, cut, real, real_of

from quarterdeck.memory.tokens import tokenizer_of
from quarterdeck.memory.window import FRAME, OMITTED, SUMMARY, Window
from quarterdeck.models.port import Message, ToolRequest

OPENING = (Message("system", "s" * 60), Message("user", "u" * 60))
STEPS = st.lists(st.tuples(st.sampled_from(["calls", "answer", "note"]), st.integers(0, 900)), max_size=60)
MODEL = "openai/gpt-4o-mini-2024-07-18"
RANDOM = Random(3)
NUMBERS = "\n".join(",".join(f"{RANDOM.uniform(-1000, 1000):.6f}" for _ in range(8)) for _ in range(400))
TEXTS = {
    "prose": PROSE,
    "numbers": NUMBERS,
    "digits": ",".join(NUMBERS[1000:5000]),
    "codes": RANDOM.randbytes(8000).hex(),
    "rare script": "".join(chr(RANDOM.randrange(0x3400, 0x4DB0)) for _ in range(4000)),
    "lines": "a\n" * 4000,
}


def filled(steps: list[tuple[str, int]], tokens: int, full: int | None) -> Window:
    window = Window(OPENING, tokens, full, letters)
    for number, (kind, length) in enumerate(steps):
        if kind == "calls":
            calls = [ToolRequest(f"{number}-{one}", "t", {}, "{}") for one in range(2)]
            window.add_calls("", calls, ["r" * length, "r"])
        elif kind == "answer":
            window.add_answer("a" * length, "Again.")
        else:
            window.add_note(f"{number}")
        if window.middle():
            window.condense("So far." + "y" * (window.room // 8))
            assert window.middle() == (), "one summary is enough until more has come"
    return window


def letters(message: Message) -> int:
    """Count as a model would whose tokens are single characters."""
    return len(message.content) + sum(len(call.name + call.raw) for call in message.tool_calls)


def size_of(messages: tuple[Message, ...]) -> int:
    return sum(letters(one) + FRAME * (1 + len(one.tool_calls)) for one in messages)


@given(STEPS, st.integers(400, 4000))
def test_it_is_bounded_and_never_parts_a_call_from_its_results(steps: list[tuple[str, int]], tokens: int) -> None:
    window = filled(steps, tokens, tokens * 8 // 10)
    messages = window.messages()
    assert messages[:2] == OPENING
    # opening, summary, and last step are whole, however long they are
    most = max(tokens, size_of(OPENING) + 950 + len(SUMMARY + OMITTED) + 20 + tokens // 8)
    assert size_of(messages) <= most and window.carried <= most
    called = [call.id for message in messages for call in message.tool_calls]
    assert called == [message.tool_call_id for message in messages if message.role == "tool"]
    assert sum(message.content.startswith(SUMMARY) for message in messages) <= 1


@given(STEPS)
def test_a_prompt_begins_with_the_one_before_until_it_is_full(steps: list[tuple[str, int]]) -> None:
    window = Window(OPENING, 10**6, 8 * 10**5)
    before = window.messages()
    for kind, length in steps:
        window.add_note(kind * length)
        after = window.messages()
        assert after[: len(before)] == before
        before = after


@given(STEPS)
def test_what_it_says_it_carries_is_what_it_carries(steps: list[tuple[str, int]]) -> None:
    window = filled(steps, 2000, 1600)
    if window.used >= 1600:  # then all of it was counted
        assert window.carried == size_of(window.messages())
    assert window.least <= window.used


@pytest.mark.parametrize("kind", TEXTS)
@pytest.mark.parametrize("known", [True, False])
def test_it_says_full_at_four_fifths_whatever_the_text_is(kind: str, known: bool) -> None:
    window = Window(OPENING, 10_000, 8_000, tokenizer_of(MODEL) if known else None)
    shares = []
    for number in range(200):
        if window.middle():
            break
        shares.append(real_of(window.messages()) / 10_000)
        window.add_calls("", [ToolRequest(str(number), "t", {}, "{}")], [cut(TEXTS[kind][number:], 400)])
    full = real_of(window.messages()) / 10_000
    assert shares[-1] < (0.8 if known else 0.89), "never a prompt above, where it is known"
    assert full > (0.78 if known else 0.25), "and not long before"


@pytest.mark.parametrize("kind", TEXTS)
def test_500_steps_are_bounded_in_real_tokens(kind: str) -> None:
    window = Window(OPENING, 3500, 3200, tokenizer_of(MODEL))
    summaries = 0
    for number in range(500):
        window.add_calls("", [ToolRequest(str(number), "t", {}, "{}")], [f"{number} {TEXTS[kind][:300]}"])
        if window.middle():
            summaries += 1
            window.condense(cut(PROSE, 300))
        assert real_of(window.messages()) < 3200 * 1.01
    assert 5 < summaries < 250
    assert window.messages()[-1].content.startswith("499 ")


@pytest.mark.parametrize("kind", TEXTS)
def test_500_steps_that_are_left_out_stay_below_full(kind: str) -> None:
    window = Window(OPENING, 3500, 3200, tokenizer_of(MODEL))
    said = []
    for number in range(500):
        window.add_calls("", [ToolRequest(str(number), "t", {}, "{}")], [f"{number} {TEXTS[kind][:300]}"])
        window.leave_out()
        messages = window.messages()
        said.append(real_of(messages))
        assert sum(message.content == OMITTED for message in messages) <= 1
        called = [call.id for message in messages for call in message.tool_calls]
        assert called == [message.tool_call_id for message in messages if message.role == "tool"]
    assert max(said) < 3200 and sum(after < before for before, after in pairwise(said)) < 200
    assert messages[2].content == OMITTED and messages[-1].content.startswith("499 ")


def test_what_is_left_out_keeps_the_summary_before_it() -> None:
    window = Window(OPENING, 2000, 1600)
    for reply in ("condense", "leave out", "leave out"):
        while not window.middle():
            window.add_note("wind " * 40)
        window.condense("So far.") if reply == "condense" else window.leave_out()
    assert [one.content for one in window.messages()[2:4]] == [f"{SUMMARY}\nSo far.", OMITTED]
    before = window.messages()
    window.leave_out()
    assert window.messages() == before, "what is not full stays as it is"


def worn(count: Callable[[Window], int]) -> Window:
    window = Window(OPENING, 10_000, 8_000)
    for _ in range(20):
        window.add_note(cut(PROSE, 100))
        window.learn(count(window))
    return window


def test_a_provider_that_counts_more_is_believed() -> None:
    window = worn(lambda one: 2 * real_of(one.messages()))
    assert window.carried == 2 * real_of(window.messages()), "where the estimate had less"
    before = window.used
    window.add_note(cut(PROSE, 100))
    assert 100 < window.used - before < 220, "what came since is estimated"
    while not window.middle():
        window.add_note(cut(PROSE, 100))
        window.learn(2 * real_of(window.messages()))
    assert 2 * real_of(window.messages()) < 1.05 * 8_000
    window.condense("So far.")
    assert window.used < 6_000 and window.middle() == ()


@pytest.mark.parametrize("said", [0, -50, 10])
def test_a_provider_that_counts_less_changes_nothing(said: int) -> None:
    assert worn(lambda one: said).used == worn(lambda one: 0).used


def test_a_provider_cannot_count_more_than_there_are_bytes() -> None:
    window = worn(lambda one: 10**9)
    assert window.used < 20 * (len(cut(PROSE, 100)) + 100) + 500


def test_another_model_begins_with_an_estimate_of_its_own() -> None:
    window = worn(lambda one: 3 * real_of(one.messages()))
    more = window.used
    window.reopen(OPENING, 10_000, 8_000)
    assert window.used < more / 1.4


def test_a_text_is_counted_as_the_model_does() -> None:
    assert Window((), 100, None, tokenizer_of(MODEL)).tokens_of(NUMBERS[:9000]) == real(NUMBERS[:9000])
    assert Window((), 100).tokens_of(NUMBERS[:9000]) >= 0.9 * real(NUMBERS[:9000])


def test_the_last_thing_said() -> None:
    window = Window(OPENING, 1000)
    assert window.last_said() == ""
    window.add_answer("Forty.", "No.")
    window.add_calls("", [ToolRequest("1", "t", {}, "{}")], ["r"])
    assert window.last_said() == "Forty."


def test_a_full_window_without_room_is_only_cut() -> None:
    window = Window((Message("user", "u" * 2900),), 1000, 990)
    for _ in range(20):
        window.add_note("n" * 50)
    assert window.middle() == ()
    window.leave_out()
    assert window.messages()[-1].content == "n" * 50
