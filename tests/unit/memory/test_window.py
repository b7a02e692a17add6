"""The window: what a prompt carries stays within its bounds, in order, and calls keep their results."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from quarterdeck.memory.window import BYTES_A_TOKEN, OMITTED, SUMMARY, Window, size
from quarterdeck.models.port import Message, ToolRequest

OPENING = (Message("system", "s" * 60), Message("user", "u" * 60))
STEPS = st.lists(st.tuples(st.sampled_from(["calls", "answer", "note"]), st.integers(0, 900)), max_size=60)


def filled(steps: list[tuple[str, int]], tokens: int, full: int | None) -> Window:
    window = Window(OPENING, tokens, full)
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


def size_of(messages: tuple[Message, ...]) -> int:
    return sum(map(size, messages))


@given(STEPS, st.integers(400, 4000))
def test_it_is_bounded_and_never_parts_a_call_from_its_results(steps: list[tuple[str, int]], tokens: int) -> None:
    window = filled(steps, tokens, tokens * 8 // 10)
    messages = window.messages()
    assert messages[:2] == OPENING
    rest = [message for message in messages[2:] if message.content != OMITTED]
    last = 1100  # the last step is whole, however long it is
    assert size_of(tuple(rest)) <= tokens * BYTES_A_TOKEN + last
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
def test_what_it_says_it_uses_is_what_it_carries(steps: list[tuple[str, int]]) -> None:
    window = filled(steps, 10**6, None)
    assert window.used == -(-size_of(window.messages()) // BYTES_A_TOKEN)
    assert window.least <= window.used


def test_500_steps_and_their_summaries() -> None:
    window = Window(OPENING, 3500, 3200)
    summaries = 0
    for number in range(500):
        window.add_calls("", [ToolRequest(str(number), "t", {}, "{}")], [f"{number} " * 100])
        if window.middle():
            summaries += 1
            window.condense("Long ago." * 100)
        assert size_of(window.messages()) <= 3500 * BYTES_A_TOKEN
    assert 10 < summaries < 250
    assert window.messages()[-1].content.startswith("499 ")


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
