"""Counting tokens as a model does, where its tokenizer is on this machine. The only file that imports tiktoken."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import cache
from hashlib import sha1
from importlib.util import find_spec
from pathlib import Path

from quarterdeck.memory.window import Tokenizer

_ENCODINGS = {
    "o200k_base": ("gpt-5", "gpt-4.5", "gpt-4.1", "gpt-4o", "chatgpt-4o", "o1", "o3", "o4"),
    "cl100k_base": ("gpt-4", "gpt-3.5"),
}
"""The beginnings of the names of the models that count so; the first that fits is right."""
_PLACE = "https://openaipublic.blob.core.windows.net/encodings/{}.tiktoken"
_CACHE = "TIKTOKEN_CACHE_DIR"
_PIECE = 20_000
"""Characters that are counted at once: the time that a tokenizer takes may grow with the square of a piece."""


def tokenizer_of(model: str) -> Tokenizer | None:
    """Return what counts the tokens of a model; None where that is not known, or its tokenizer is not here.

    Nothing is loaded before it is called for the first time, and nothing is ever fetched.

    Args:
        model: The resolved name, such as `openai/gpt-4o-mini-2024-07-18`.
    """
    provider, _, name = model.rpartition("/")
    if provider not in ("openai", "azure"):
        return None
    for encoding, beginnings in _ENCODINGS.items():
        if name.startswith(beginnings):
            return _counter(encoding) if _is_here(encoding) else None
    return None


@cache
def _counter(encoding: str) -> Tokenizer:
    def count(text: str) -> int:
        encoder = _encoder(encoding)
        return sum(len(encoder(text[start : start + _PIECE])) for start in range(0, len(text), _PIECE))

    return count


@cache
def _is_here(encoding: str) -> bool:
    return (_folder() / sha1(_PLACE.format(encoding).encode(), usedforsecurity=False).hexdigest()).is_file()


@cache
def _folder() -> Path:
    """Return where tokenizers are kept; LiteLLM brings those of OpenAI along."""
    if given := os.environ.get(_CACHE):
        return Path(given)
    found = find_spec("litellm")
    places = list(found.submodule_search_locations or ()) if found else []
    return Path(places[0] if places else "") / "litellm_core_utils" / "tokenizers"


@cache
def _encoder(encoding: str) -> Callable[[str], list[int]]:
    os.environ.setdefault(_CACHE, str(_folder()))  # as litellm does too; without it tiktoken would fetch the file
    import tiktoken

    return tiktoken.get_encoding(encoding).encode_ordinary
