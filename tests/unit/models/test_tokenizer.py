"""A tokenizer that is built from a model's own vocabulary."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.unit.models import made_gguf as made

from quarterdeck.models.gguf import read_vocabulary
from quarterdeck.models.tokenizer import counter


@pytest.fixture
def made_file(tmp_path: Path) -> Path:
    return made.write(tmp_path / "m.gguf")


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("", 0),
        ("hello", 1),
        (" hello", 1),
        ("hello hello", 2),
        ("hellohello", 2),
        ("hel", 2),  # he, l
        ("123", 3),  # a digit each, whatever could be merged
        ("\u5317", 3),  # bytes
        ("\ud800", 1),  # half a character, written as a question mark
        ("<|im_end|>", 1),
        ("<tool>hello</tool>", 2 + len("</tool>")),
        ("x\n\n\n", 4),
    ],
)
def test_tokens_are_those_of_the_vocabulary(made_file: Path, text: str, count: int) -> None:
    assert counter(read_vocabulary(made_file))(text) == count


@pytest.mark.parametrize(
    ("other", "says"),
    [
        ({"model": "llama"}, "counts the tokens of llama"),
        ({"pre": "gpt-4o"}, "with the rule gpt-4o"),
        ({"tokens": ("a", "b"), "token_type": (1, 1), "merges": ()}, "no token for 254 of 256 bytes"),
        ({"merges": ("h nowhere",)}, "does not hold together"),
        ({"merges": ("h",)}, "does not hold together"),
        ({"merges": ("x y",)}, "does not hold together"),
    ],
)
def test_a_vocabulary_that_cannot_be_counted_with_is_refused(tmp_path: Path, other: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        counter(read_vocabulary(made.write(tmp_path / "m.gguf", **other)))


def test_a_text_of_a_megabyte_is_counted(made_file: Path) -> None:
    count = counter(read_vocabulary(made_file))
    assert count("hello" * 200_000) == 200_000
    assert count(" " * 1_000_000) == 1_000_000
