"""Who hears of a run, and whether models are asked to stream for them."""

from __future__ import annotations

from quarterdeck.journal.events import Event, TextArrived
from quarterdeck.journal.listeners import Listeners


class Reader:
    """Hears events; reads text as it arrives, or not."""

    def __init__(self, reads_text: bool) -> None:
        self.reads_text = reads_text
        self.heard: list[Event] = []

    def __call__(self, event: Event) -> None:
        self.heard.append(event)


def test_text_is_streamed_only_where_somebody_reads_it() -> None:
    listeners = Listeners()
    assert not listeners.read_text
    listeners.add(Reader(reads_text=False))
    assert not listeners.read_text
    stop = listeners.add(Reader(reads_text=True))
    assert listeners.read_text
    stop()
    assert not listeners.read_text


def test_a_plain_function_reads_text() -> None:
    listeners = Listeners()
    listeners.add(lambda event: None)
    assert listeners.read_text


def test_who_raises_is_not_called_again_and_the_others_are() -> None:
    listeners, steady = Listeners(), Reader(reads_text=True)
    calls: list[Event] = []

    def fails(event: Event) -> None:
        calls.append(event)
        raise ValueError("broken")

    listeners.add(fails)
    listeners.add(steady)
    listeners.tell(TextArrived(text="a"))
    listeners.tell(TextArrived(text="b"))
    assert len(calls) == 1 and len(steady.heard) == 2
