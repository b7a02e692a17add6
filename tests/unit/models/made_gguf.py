"""Headers of GGUF files, as small as they can be."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

from tokenizers import pre_tokenizers

TEXT, LIST, INT, FLAG = 8, 9, 5, 7
ALPHABET = sorted(pre_tokenizers.ByteLevel.alphabet())
MERGES = ("h e", "l l", "he ll", "hell o", "Ġ hello")
TOKENS = (*ALPHABET, "he", "ll", "hell", "hello", "Ġhello", "<|im_end|>", "<tool>")
KINDS = (*(1 for _ in TOKENS[:-2]), 3, 4)


def text(value: str | bytes) -> bytes:
    raw = value.encode() if isinstance(value, str) else value
    return struct.pack("<Q", len(raw)) + raw


def texts(values: tuple[str, ...]) -> bytes:
    return struct.pack("<IQ", TEXT, len(values)) + b"".join(map(text, values))


def numbers(values: tuple[int, ...]) -> bytes:
    return struct.pack(f"<IQ{len(values)}i", INT, len(values), *values)


def fields(**other: Any) -> dict[str, tuple[int, bytes]]:
    """Return the fields of a vocabulary, with others in place of some."""
    given = {"model": "gpt2", "pre": "qwen2", "tokens": TOKENS, "token_type": KINDS, "merges": MERGES, **other}
    return {
        "general.name": (TEXT, text("made")),
        "tokenizer.ggml.add_bos_token": (FLAG, b"\0"),
        "tokenizer.ggml.model": (TEXT, text(given["model"])),
        "tokenizer.ggml.pre": (TEXT, text(given["pre"])),
        "tokenizer.ggml.tokens": (LIST, texts(given["tokens"])),
        "tokenizer.ggml.token_type": (LIST, numbers(given["token_type"])),
        "tokenizer.ggml.merges": (LIST, texts(given["merges"])),
    }


def header(found: dict[str, tuple[int, bytes]], *, version: int = 3) -> bytes:
    begin = b"GGUF" + struct.pack("<IQQ", version, 0, len(found))
    return begin + b"".join(text(name) + struct.pack("<I", kind) + value for name, (kind, value) in found.items())


def write(path: Path, **other: Any) -> Path:
    """Write a file that has a vocabulary and no weights."""
    path.write_bytes(header(fields(**other)))
    return path
