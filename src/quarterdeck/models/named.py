"""Finding people and places in text, which no form tells: a small model on this machine reads the sentence."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from quarterdeck.models import weights

if TYPE_CHECKING:
    import numpy as np

    from quarterdeck.models.personal import Finder

ALIAS = "names"
"""What commands call the weights."""
THRESHOLD = 0.2
"""Probability from which a word counts: a word too many costs nothing, for it is put back; one too few has left."""
WINDOW_TOKENS = 128
OVERLAP_TOKENS = 32
"""The model sees a text in windows; in longer ones it finds less."""
PIECE_CHARACTERS = 20_000
OVERLAP_CHARACTERS = 200
"""What is cut into tokens at once: it bounds the memory that a long text takes."""

_LABELS: dict[str, tuple[int, ...]] = {
    "PERSON": (1, 2, 3, 4),  # given names, surnames
    "LOCATION": (23, 24, 25, 26, 27, 28, 29, 30, 31, 32, 33, 34),  # house, street, flat, city, state, postcode
}
_LABEL_COUNT = 35
_KEY = re.compile(r"[a-z0-9_]+(?:[.:/-][a-z0-9_]+)*")
_HALF = re.compile("[\ud800-\udfff]")
"""Half a character, which no tokenizer takes."""
_BETWEEN = re.compile(r"[ \t]{0,2}|[-'\u2019]")
_Found = list[tuple[int, int, str]]


class Names:
    """Reads texts for people and places; loaded when it is first needed.

    A text gives the same answer whatever is read beside it, so that a run that is taken up again redacts alike.

    Args:
        model: The network's file; by default that of the weights `names`.
        tokenizer: The file of its tokenizer.
    """

    def __init__(self, model: Path, tokenizer: Path) -> None:
        self._files = model, tokenizer
        self._loaded: tuple[Any, Any] | None = None
        self._loading = threading.Lock()
        self._last: tuple[str, _Found] = ("", [])

    def finder(self, kind: str) -> Finder:
        """Return a finder of `PERSON` or `LOCATION`; both share one reading of a text."""
        return partial(self._of, kind)

    def read(self, text: str) -> _Found:
        """Return the people and places in a text, in order, none overlapping.

        Takes about a second for 10,000 characters. A single word in lower case, as keys and the names of tools are,
        is not looked at.

        Raises:
            ModelError: `no_weights`: the files of the model cannot be used.
        """
        last, found = self._last
        if text == last:
            return found
        if _KEY.fullmatch(text) or not any(letter.isalpha() for letter in text):
            return []
        words: dict[tuple[int, int], str] = {}
        step = PIECE_CHARACTERS - OVERLAP_CHARACTERS
        for at in range(0, max(1, len(text) - OVERLAP_CHARACTERS), step):
            for start, end, kind in self._words(text[at : at + PIECE_CHARACTERS]):
                words.setdefault((start + at, end + at), kind)
        found = _joined(text, sorted((start, end, kind) for (start, end), kind in words.items()))
        self._last = text, found
        return found

    def _of(self, kind: str, text: str) -> Iterator[tuple[int, int]]:
        return ((start, end) for start, end, found in self.read(text) if found == kind)

    def _words(self, text: str) -> _Found:
        """Return the words of a piece that belong to a person or a place; a word counts whole."""
        tokenizer, session = self._load()
        encoded = tokenizer.encode(_HALF.sub(" ", text), add_special_tokens=False)
        begin, end = tokenizer.token_to_id("[CLS]"), tokenizer.token_to_id("[SEP]")
        ids, offsets, numbers = encoded.ids, encoded.offsets, encoded.word_ids
        words: dict[int, list[Any]] = {}
        for at in range(0, max(1, len(ids) - OVERLAP_TOKENS), WINDOW_TOKENS - OVERLAP_TOKENS):
            window = ids[at : at + WINDOW_TOKENS]
            chances = _chances(session, [begin, *window, end])
            for place, chance in enumerate(chances[1:-1], at):
                known = words.setdefault(numbers[place], [*offsets[place], dict.fromkeys(_LABELS, 0.0)])
                known[0], known[1] = min(known[0], offsets[place][0]), max(known[1], offsets[place][1])
                for kind, labels in _LABELS.items():
                    known[2][kind] = max(known[2][kind], float(chance[list(labels)].sum()))
        return [
            (first, last, kind)
            for first, last, seen in words.values()
            if seen[kind := max(seen, key=lambda one: seen[one])] >= THRESHOLD
        ]

    def _load(self) -> tuple[Any, Any]:
        with self._loading:
            if self._loaded is None:
                from quarterdeck.models import onnx

                self._loaded = onnx.load(*self._files, what="The model of names and places", alias=ALIAS)
            return self._loaded


def installed() -> Names | None:
    """Return a reader with the weights on this machine, or None where they are missing."""
    found = weights.installed(ALIAS)
    return None if found is None else Names(found, weights.path_of(weights.NAMES_TOKENIZER))


def _chances(session: Any, ids: list[int]) -> np.ndarray[Any, Any]:
    """Return the probability of each label for each token."""
    import numpy as np

    from quarterdeck.errors import ModelError

    row = np.array([ids], dtype=np.int64)
    given = {"input_ids": row, "attention_mask": np.ones_like(row), "token_type_ids": np.zeros_like(row)}
    scores = np.asarray(session.run(None, given)[0][0], dtype=np.float64)
    if scores.shape != (len(ids), _LABEL_COUNT):
        again = f"quarterdeck models pull {ALIAS}"
        raise ModelError(f"The model of names and places has other labels; get it again: {again}", "no_weights")
    scores = np.exp(scores - scores.max(axis=-1, keepdims=True))
    made: np.ndarray[Any, Any] = scores / scores.sum(axis=-1, keepdims=True)
    return made


def _joined(text: str, words: _Found) -> _Found:
    """Return words as names: what belongs together is one, and two readings of a place do not overlap."""
    found: _Found = []
    for start, end, kind in words:
        if found:
            first, last, before = found[-1]
            if start < last or (kind == before and _BETWEEN.fullmatch(text[last:start])):
                found[-1] = first, max(last, end), before
                continue
        found.append((start, end, kind))
    return [one for one in found if any(letter.isalnum() for letter in text[one[0] : one[1]])]
