"""People and places in text: what the small model finds, and that nothing slips between its windows."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from tests.unit.models.named_sentences import HELD_OUT, MARKED, marked, plain
from tests.unit.models.stages import Next, ask, chain_of, context_of, model_of

from quarterdeck.errors import ModelError
from quarterdeck.models import named
from quarterdeck.models.named import Names, _joined
from quarterdeck.models.personal import find, finders
from quarterdeck.models.port import ModelReply
from quarterdeck.models.redact import Redact, Redactor
from quarterdeck.spec.governance import RedactSpec

BOTH = ("person", "location")
FILLER = "The report says that the boxes were checked twice and that the figures are right. "


@pytest.fixture(scope="module")
def names() -> Names:
    found = named.installed()
    assert found is not None, "run: quarterdeck models pull names --yes"
    return found


def score(names: Names, sentences: str) -> tuple[dict[str, float], float]:
    """Return which share of the marked names is found whole, by kind, and which share of what is found is marked."""
    planted = {"PERSON": 0, "LOCATION": 0}
    whole = dict(planted)
    right = found = 0
    for text, spans in marked(sentences):
        seen = names.read(text)
        for start, end, kind in spans:
            planted[kind] += 1
            whole[kind] += any(first <= start and end <= last for first, last, _ in seen)
        found += len(seen)
        right += sum(any(first < end and start < last for start, end, _ in spans) for first, last, _ in seen)
    return {kind: whole[kind] / planted[kind] for kind in planted}, right / found


@pytest.mark.real
@pytest.mark.parametrize("sentences", [MARKED, HELD_OUT], ids=["chosen by", "held out"])
def test_names_and_places_are_found(names: Names, sentences: str) -> None:
    recall, precision = score(names, sentences)
    assert recall["PERSON"] >= 0.95 and recall["LOCATION"] >= 0.95, recall
    assert precision >= 0.95


@pytest.mark.real
def test_what_stands_in_prompts_is_mostly_left(names: Names) -> None:
    assert sum(bool(names.read(text)) for text in plain()) <= 3


@pytest.mark.real
def test_no_name_slips_between_windows_or_pieces(names: Names, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(named, "PIECE_CHARACTERS", 1_500)
    text, places = "", []
    for number in range(40):
        text += FILLER + "x" * number + " "
        places.append(len(text))
        text += "Priya Natarajan moved to Boston. "
    found = names.read(text)
    for start in places:
        assert any(first <= start and start + len("Priya Natarajan") <= last for first, last, _ in found), start
    assert all(one[1] <= other[0] for one, other in pairwise(found))


@pytest.mark.real
def test_a_text_gives_the_same_answer_whatever_is_read_beside_it(names: Names) -> None:
    texts = [text for text, _ in marked(MARKED)]
    alone = [Names(*names._files).read(text) for text in texts[:3]]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(names.read, texts * 3))
    assert together[:3] == alone and together[: len(texts)] == together[len(texts) : 2 * len(texts)]


@pytest.mark.real
@pytest.mark.timeout(60)
@pytest.mark.parametrize("text", ["a" * 30_000, "\u4eba" * 3_000, "\ud800 Anna", "\n" * 5_000, "\u1100" * 3_000, ""])
def test_any_text_is_read(names: Names, text: str) -> None:
    assert all(0 <= start < end <= len(text) for start, end, _ in names.read(text))


@pytest.mark.real
async def test_the_provider_gets_no_name_and_the_run_gets_it_back(names: Names) -> None:
    stage = Next(ModelReply("<PERSON_1> of <LOCATION_1>: wrote to <EMAIL_1>, not to <PERSON_2>."))
    redactor = Redactor(RedactSpec(pii=("email", *BOTH)), chain_of(model_of("openai/gpt")))
    words = "Dr. Priya Natarajan moved to Boston. Write to priya@x.example. Tell Carlos Mendoza, not Priya Natarajan."
    reply = await Redact(stage, redactor).complete(ask(words=words), context_of())
    assert stage.requests[0].messages[0].content == (
        "Dr. <PERSON_1> moved to <LOCATION_1>. Write to <EMAIL_1>. Tell <PERSON_2>, not <PERSON_1>."
    )
    assert reply.text == "Priya Natarajan of Boston: wrote to priya@x.example, not to Carlos Mendoza."


@pytest.mark.real
def test_only_the_kinds_that_were_asked_for() -> None:
    text = "Dr. Priya Natarajan moved to Boston."
    assert [kind for *_, kind in find(text, finders(("person",)))] == ["PERSON"]
    assert [kind for *_, kind in find(text, finders(("location",)))] == ["LOCATION"]


def test_keys_and_names_of_tools_are_not_looked_at(tmp_path: Path) -> None:
    nothing = Names(tmp_path / "none.onnx", tmp_path / "none.json")  # cannot even be loaded
    assert [nothing.read(text) for text in ("files.read", "city", "web_search", "a:b-c", "12 + 30", "", "\n")] == [
        []
    ] * 7


def test_files_that_are_no_model_are_named(tmp_path: Path) -> None:
    for name in ("model.onnx", "tokenizer.json"):
        (tmp_path / name).write_bytes(b"no model")
    with pytest.raises(ModelError, match=r"cannot be loaded.*Delete model\.onnx.*models pull names") as failed:
        Names(tmp_path / "model.onnx", tmp_path / "tokenizer.json").read("Anna Schmidt")
    assert failed.value.kind == "no_weights"


def test_words_that_belong_together_are_one_name() -> None:
    text = "Jean-Pierre O'Neil, Ann Lee\nBob"
    words = [(0, 4), (5, 11), (12, 13), (14, 18), (20, 23), (24, 27), (28, 31)]
    joined = _joined(text, [(start, end, "PERSON") for start, end in words])
    assert [text[start:end] for start, end, _ in joined] == ["Jean-Pierre O'Neil", "Ann Lee", "Bob"]
    assert _joined("ab cd", [(0, 2, "PERSON"), (3, 5, "LOCATION")]) == [(0, 2, "PERSON"), (3, 5, "LOCATION")]
    assert _joined("abcd", [(0, 3, "PERSON"), (2, 4, "LOCATION")]) == [(0, 4, "PERSON")]
    assert _joined("a _ b", [(2, 3, "PERSON")]) == []


async def test_other_runs_go_on_while_a_text_is_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    free = threading.Event()

    def read(self: Names, text: str) -> list[Any]:
        assert free.wait(20), "the event loop stood still"
        return []

    monkeypatch.setattr(Names, "read", read)
    monkeypatch.setattr(named, "installed", lambda: Names(tmp_path, tmp_path))
    redactor = Redactor(RedactSpec(pii=BOTH), chain_of(model_of("openai/gpt")))
    reading = asyncio.ensure_future(redactor.spans("Anna"))
    await asyncio.sleep(0)
    asyncio.get_running_loop().call_later(0.05, free.set)
    assert await reading == []
