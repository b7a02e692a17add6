"""What models that do not chat say through LiteLLM: vectors of texts, and how well texts answer a query."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from quarterdeck.models.litellm_messages import usage_in
from quarterdeck.models.port import Usage

if TYPE_CHECKING:
    from types import ModuleType


async def vectors_of(
    litellm: ModuleType, place: dict[str, Any], texts: Sequence[str]
) -> tuple[list[list[float]], Usage]:
    """Return a vector a text in their order, and the tokens used.

    Args:
        litellm: The library.
        place: The model, its key and endpoint.
        texts: What to embed; none is empty.

    Raises:
        ValueError: The answer is no embedding; KeyError and TypeError too.
    """
    response = await litellm.aembedding(input=list(texts), encoding_format="float", **place)
    rows = sorted(response.data, key=lambda row: row["index"])
    vectors = [[float(number) for number in row["embedding"]] for row in rows]
    return vectors, usage_in(getattr(response, "usage", None))


async def scores_of(
    litellm: ModuleType, place: dict[str, Any], query: str, texts: Sequence[str]
) -> tuple[list[float], Usage, int]:
    """Return how well each text answers a query, in their order, the tokens used, and as how many requests it counts.

    Args:
        litellm: The library.
        place: The model, its key and endpoint.
        query: What is asked.
        texts: What may answer it; none is empty.

    Raises:
        ValueError: The answer is not one score a text; KeyError and TypeError too.
    """
    response = await litellm.arerank(
        query=query, documents=list(texts), top_n=len(texts), return_documents=False, **place
    )
    scores = {int(row["index"]): float(row["relevance_score"]) for row in response.results}
    if sorted(scores) != list(range(len(texts))):
        raise ValueError("not one score a text")
    meta = response.meta or {}
    billed, counted = meta.get("billed_units") or {}, meta.get("tokens") or {}
    tokens = int(counted.get("input_tokens") or billed.get("total_tokens") or 0)
    # a provider that charges by request counts a long one as several
    requests = max(1, int(billed.get("search_units") or 1))
    return [scores[at] for at in range(len(texts))], Usage(prompt_tokens=tokens), requests
