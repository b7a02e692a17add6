"""An embedder for tests: deterministic, without weights, and near where words are shared."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Sequence


class HashEmbedder:
    """Counts the words of a text in buckets by their hash: texts that share words are near, and nothing else is.

    Args:
        dimension: Numbers in a vector.
        name: What is recorded beside its vectors.

    Attributes:
        texts: Every text that it was asked for, in order.
    """

    def __init__(self, dimension: int = 256, name: str = "hash") -> None:
        self.dimension = dimension
        self.name = name
        self.texts: list[str] = []

    async def embed(self, texts: Sequence[str]) -> list[list[float]]:
        """Return a vector of length 1 for each text."""
        self.texts += texts
        return [self._vector(text) for text in texts]

    def _vector(self, text: str) -> list[float]:
        vector = [0.0] * self.dimension
        for word in re.findall(r"\w+", text.lower()) or [""]:
            digest = hashlib.blake2b(word.encode("utf-8", "replace"), digest_size=8).digest()
            vector[int.from_bytes(digest, "big") % self.dimension] += 1.0
        length = math.sqrt(sum(number * number for number in vector))
        return [number / length for number in vector]
