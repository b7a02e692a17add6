"""The header of a GGUF file: read as it is, and refused where it is broken; never a crash, never without bounds."""

from __future__ import annotations

import random
import struct
from pathlib import Path

import pytest
from tests.unit.models import made_gguf as made

from quarterdeck.models import gguf
from quarterdeck.models.gguf import read_vocabulary


def test_a_vocabulary_is_read(tmp_path: Path) -> None:
    found = read_vocabulary(made.write(tmp_path / "m.gguf"))
    assert (found.kind, found.split) == ("gpt2", "qwen2")
    assert (found.tokens, found.kinds, found.merges) == (made.TOKENS, made.KINDS, made.MERGES)


def test_what_stands_behind_the_header_is_not_read(tmp_path: Path) -> None:
    file = made.write(tmp_path / "m.gguf")
    with file.open("ab") as opened:
        opened.truncate(1 << 40)  # sparse: it takes no room
    assert read_vocabulary(file).tokens == made.TOKENS


def test_a_file_that_was_cut_off_anywhere_is_refused(tmp_path: Path) -> None:
    whole, file = made.header(made.fields()), tmp_path / "m.gguf"
    for end in range(0, len(whole), 7):
        file.write_bytes(whole[:end])
        with pytest.raises(ValueError, match="ends before byte"):
            read_vocabulary(file)


def test_a_file_with_any_other_bytes_is_read_or_refused(tmp_path: Path) -> None:
    whole, file, chance = made.header(made.fields()), tmp_path / "m.gguf", random.Random(5)
    refused = 0
    for _ in range(600):
        broken = bytearray(whole)
        for _ in range(chance.randint(1, 6)):
            broken[chance.randrange(len(broken))] = chance.randrange(256)
        file.write_bytes(broken)
        try:
            read_vocabulary(file)
        except ValueError:
            refused += 1
    assert refused > 300


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        (b"", "ends before"),
        (b"PK\3\4" + bytes(40), "no GGUF"),
        (made.header(made.fields(), version=1), "no GGUF"),
        (b"GGUF" + struct.pack(">IQQ", 3, 0, 1), "no GGUF"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 1 << 60), "items, more than"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + struct.pack("<Q", 1 << 63), "larger than 64 MB"),
        (made.header({"a": (made.LIST, struct.pack("<IQ", made.TEXT, 1 << 40))}), "items, more than"),
        (made.header({"a": (made.LIST, struct.pack("<IQ", made.INT, 1 << 40))}), "items, more than"),
        (made.header({"a": (made.LIST, struct.pack("<IQ", made.LIST, 1))}), "list of the unknown kind 9"),
        (made.header({"a": (77, b"")}), "unknown kind 77"),
        (made.header({"a": (made.TEXT, made.text("b"))}), "does not say how"),
        (
            made.header({**made.fields(), "tokenizer.ggml.tokens": (made.LIST, made.numbers((1, 2)))}),
            "does not say how",
        ),
        (made.header({**made.fields(), "tokenizer.ggml.merges": (made.LIST, made.numbers((1, 2)))}), "are no texts"),
        (made.header({**made.fields(), "tokenizer.ggml.model": (made.INT, bytes(4))}), "does not say how"),
        (made.header({**made.fields(), "tokenizer.ggml.pre": (made.TEXT, made.text(b"\xff"))}), "decode"),
        (made.header(made.fields(token_type=(1, 1))), "does not say how"),
    ],
)
def test_what_cannot_be_is_refused(tmp_path: Path, raw: bytes, says: str) -> None:
    (tmp_path / "m.gguf").write_bytes(raw)
    with pytest.raises(ValueError, match=says):
        read_vocabulary(tmp_path / "m.gguf")


def test_a_header_has_an_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gguf, "MAX_HEADER", 1000)
    with pytest.raises(ValueError, match="larger than"):
        read_vocabulary(made.write(tmp_path / "m.gguf"))
    with pytest.raises(OSError, match="No such file"):
        read_vocabulary(tmp_path / "none.gguf")
