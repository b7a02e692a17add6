"""Tokens counted by tiktoken itself, so that nothing under test measures itself."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from quarterdeck.models.port import Message, ToolOffer

ENCODINGS = ("o200k_base", "cl100k_base")
PROSE = (
    "The harbour master keeps a book in which each ship is entered on the day of its arrival, with its port of origin, "
    "its cargo and the name of its owner. Nobody may leave before the entry has been read aloud and signed by two "
    "witnesses, one of whom must be able to write. When the weather is bad, the signing takes place on board; a candle "
    "is lit, and the captain is asked whether he has anything to add. He seldom has.\n"
) * 8
FRAME = 4
"""Tokens that OpenAI takes for a message beside what it says."""


@cache
def encoding_of(name: str) -> Any:
    litellm = find_spec("litellm")
    assert litellm is not None and litellm.origin
    folder = Path(litellm.origin).parent / "litellm_core_utils" / "tokenizers"
    os.environ.setdefault("TIKTOKEN_CACHE_DIR", str(folder))  # nothing is fetched
    import tiktoken

    return tiktoken.get_encoding(name)


def real(text: str, encoding: str = "o200k_base") -> int:
    return len(encoding_of(encoding).encode_ordinary(text))


def cut(text: str, tokens: int, encoding: str = "o200k_base") -> str:
    """Return the beginning of a text, repeated as often as is needed for so many tokens."""
    made = encoding_of(encoding)
    found = made.encode_ordinary(text * (1 + tokens // max(1, real(text, encoding) - 1)))
    return str(made.decode(found[:tokens]))


def real_of(messages: Iterable[Message], tools: Sequence[ToolOffer] = ()) -> int:
    """Return the tokens of a prompt for OpenAI's models."""
    said = sum(FRAME + real(one.content) + sum(real(c.name) + real(c.raw) for c in one.tool_calls) for one in messages)
    return said + sum(real(f"{tool.name} {tool.description} {tool.parameters}") for tool in tools)
