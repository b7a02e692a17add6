"""GGUF: what the file of an embedded model says of its vocabulary. Only the header is read, and no size is trusted."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

MAX_HEADER = 64 << 20
"""Bytes of a header that are read."""
MAX_ITEMS = 1_000_000
"""Of a list, and fields of a header."""
_VERSIONS = (2, 3)
_NUMBERS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_LISTS = ("tokens", "token_type", "merges")
_TEXT = 8
_LIST = 9


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """How a model makes tokens of a text, as its file says.

    Attributes:
        kind: Of tokenizer, such as `gpt2` for byte pairs.
        split: The name of the rule by which a text is split into words first, such as `qwen2`.
        tokens: All of them; the place of each is its number.
        kinds: One for each token: 1 for a normal one, 3 for one that controls, 4 for one that is always kept whole.
        merges: Two tokens with a space between that become one, the first ones first.
    """

    kind: str
    split: str
    tokens: tuple[str, ...]
    kinds: tuple[int, ...]
    merges: tuple[str, ...]


def read_vocabulary(path: Path) -> Vocabulary:
    """Return what a GGUF file says of its vocabulary.

    Raises:
        OSError: The file cannot be read.
        ValueError: It is no GGUF file, was cut off, says of itself what cannot be, or has no vocabulary.
    """
    with path.open("rb") as file:
        fields = _Header(file).fields()
    kind, split, *lists = (fields.get(f"tokenizer.ggml.{name}") for name in ("model", "pre", *_LISTS))
    tokens, kinds, merges = (found if isinstance(found, tuple) else () for found in lists)
    if not isinstance(kind, bytes) or not isinstance(split, bytes) or not tokens or len(kinds) != len(tokens):
        raise ValueError(f"{path} does not say how its model makes tokens of a text.")
    if not all(isinstance(text, bytes) for text in (*tokens, *merges)):
        raise ValueError(f"{path} has tokens that are no texts.")
    return Vocabulary(
        kind.decode(),
        split.decode(),
        tuple(token.decode() for token in tokens),
        kinds,
        tuple(merge.decode() for merge in merges),
    )


class _Header:
    """Reads the fields in front of a model's weights, one after the other."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._read = 0

    def fields(self) -> dict[str, Any]:
        """Return all fields by their names; texts as bytes, lists as tuples."""
        if self._take(4) != b"GGUF" or self._number("I") not in _VERSIONS:
            raise ValueError("It is no GGUF file of version 2 or 3.")
        self._number("Q")  # how many tensors there are
        return {self._text().decode(): self._value(self._number("I")) for _ in range(self._count())}

    def _value(self, kind: int) -> Any:
        if kind in _NUMBERS:
            return self._number(_NUMBERS[kind])
        if kind == _TEXT:
            return self._text()
        if kind != _LIST:
            raise ValueError(f"Byte {self._read} of the header speaks of a value of the unknown kind {kind}.")
        of, count = self._number("I"), self._count()
        if of == _TEXT:
            return tuple(self._text() for _ in range(count))
        if of not in _NUMBERS:
            raise ValueError(f"Byte {self._read} of the header speaks of a list of the unknown kind {of}.")
        form = f"<{count}{_NUMBERS[of]}"
        return struct.unpack(form, self._take(struct.calcsize(form)))

    def _text(self) -> bytes:
        return self._take(self._number("Q"))

    def _count(self) -> int:
        count: int = self._number("Q")
        if count > MAX_ITEMS:
            raise ValueError(f"Byte {self._read} of the header speaks of {count} items, more than {MAX_ITEMS}.")
        return count

    def _number(self, form: str) -> Any:
        return struct.unpack(f"<{form}", self._take(struct.calcsize(f"<{form}")))[0]

    def _take(self, size: int) -> bytes:
        self._read += size
        if self._read > MAX_HEADER:
            raise ValueError(f"The header is larger than {MAX_HEADER >> 20} MB.")
        taken = self._file.read(size)
        if len(taken) < size:
            raise ValueError(f"The file ends before byte {self._read} of its header.")
        return taken
