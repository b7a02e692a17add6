"""Tokenizers: texts into tokens, as one model makes them. The one file that imports the library `tokenizers`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from quarterdeck import vendors

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from quarterdeck.models.gguf import Vocabulary

_BYTE_PAIRS = "gpt2"
_WORDS = {
    "qwen2": r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
}
"""What is one word in a text, by the name of the rule; a token is never part of two."""
_KEPT_WHOLE = (3, 4)


def from_file(path: Path) -> Tokenizer:
    """Return the tokenizer of a `tokenizer.json`; the library raises exceptions of its own."""
    with vendors.importing():
        from tokenizers import Tokenizer

    return Tokenizer.from_file(str(path))


def counter(vocabulary: Vocabulary) -> Callable[[str], int]:
    """Return what counts the tokens that a model with this vocabulary makes of a text.

    Raises:
        ValueError: It is no vocabulary of byte pairs, its rule for words is not known, or it does not hold together.
    """
    words = _WORDS.get(vocabulary.split)
    if vocabulary.kind != _BYTE_PAIRS or words is None:
        raise ValueError(f"Nothing here counts the tokens of {vocabulary.kind} with the rule {vocabulary.split}.")
    with vendors.importing():
        from tokenizers import AddedToken, Regex, Tokenizer, models, pre_tokenizers

    if missing := set(pre_tokenizers.ByteLevel.alphabet()).difference(vocabulary.tokens):
        raise ValueError(f"The vocabulary has no token for {len(missing)} of 256 bytes: a text would lose them.")
    numbers = {token: number for number, token in enumerate(vocabulary.tokens)}
    merges = [(left, right) for left, _, right in (merge.partition(" ") for merge in vocabulary.merges)]
    try:
        made = Tokenizer(models.BPE(numbers, merges))
    except Exception as error:  # the library raises bare exceptions of its own
        raise ValueError(f"The vocabulary does not hold together: {str(error)[:200]}") from error
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(words), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    whole = zip(vocabulary.tokens, vocabulary.kinds, strict=True)
    made.add_tokens([AddedToken(token, normalized=False) for token, kind in whole if kind in _KEPT_WHOLE])

    def count(text: str) -> int:
        readable = text.encode("utf-8", "replace").decode()  # half a character from elsewhere would be refused
        return len(made.encode(readable, add_special_tokens=False).ids)

    return count
