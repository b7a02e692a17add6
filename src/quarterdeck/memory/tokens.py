"""Counting tokens as a model does, where its tokenizer is on this machine. The only file that imports tiktoken."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import cache
from hashlib import sha1
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from quarterdeck.errors import ModelError
from quarterdeck.memory.estimate import estimate

if TYPE_CHECKING:
    from quarterdeck.memory.window import Tokenizer
    from quarterdeck.models.port import Message

_ENCODINGS = {
    "o200k_base": ("gpt-5", "gpt-4.5", "gpt-4.1", "gpt-4o", "chatgpt-4o", "o1", "o3", "o4"),
    "cl100k_base": ("gpt-4", "gpt-3.5"),
}
"""The beginnings of the names of the models that count so; the first that fits is right."""
_PLACE = "https://openaipublic.blob.core.windows.net/encodings/{}.tiktoken"
_CACHE = "TIKTOKEN_CACHE_DIR"
_PIECE = 20_000
"""Characters that are counted at once: the time that a tokenizer takes may grow with the square of a piece."""


def tokenizer_of(model: str, weights: str = "") -> Tokenizer | None:
    """Return what counts the tokens of a model; None where that is not known, or its tokenizer is not here.

    Nothing is loaded before it is called for the first time, and nothing is ever fetched.

    Args:
        model: The resolved name, such as `openai/gpt-4o-mini-2024-07-18`.
        weights: Of an embedded model: a name or a path; empty for any other.
    """
    if weights:
        return _embedded(weights)
    provider, _, name = model.rpartition("/")
    if provider not in ("openai", "azure"):
        return None
    for encoding, beginnings in _ENCODINGS.items():
        if name.startswith(beginnings):
            return _counter(encoding) if _is_here(encoding) else None
    return None


@cache
def _counter(encoding: str) -> Tokenizer:
    def count(message: Message) -> int:
        encoder = _encoder(encoding)
        texts = (message.content, _calls(message))
        pieces = (text[at : at + _PIECE] for text in texts for at in range(0, len(text), _PIECE))
        return sum(len(encoder(piece)) for piece in pieces)

    return count


def _calls(message: Message) -> str:
    return "".join(f"{call.name}{call.raw or call.arguments}" for call in message.tool_calls)


@cache
def _embedded(weights: str) -> Tokenizer:
    def count(message: Message) -> int:
        tokens = _vocabulary(weights)
        if tokens is None:
            return estimate(message.content) + estimate(_calls(message))
        from quarterdeck.models.embedded_prompt import write_message

        return tokens(f"\n{write_message(message)['content']}") - 1  # the line's end before it may become one with it

    return count


@cache
def _vocabulary(weights: str) -> Callable[[str], int] | None:
    """Return what counts as the weights' own tokenizer does; None where their file does not say how."""
    from quarterdeck.models.catalog import weights_file
    from quarterdeck.models.gguf import read_vocabulary
    from quarterdeck.models.tokenizer import counter

    try:
        file = weights_file(weights)
        return None if file is None else counter(read_vocabulary(file))
    except (ModelError, OSError, ValueError):
        return None


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
