"""Embedders: texts into vectors whose nearness is nearness of meaning."""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import threading
import weakref
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from quarterdeck.errors import ModelError
from quarterdeck.models.port import Message, ModelReply, ModelRequest

if TYPE_CHECKING:
    from collections.abc import Callable

    from quarterdeck.journal.call import CallContext
    from quarterdeck.models.catalog import Catalog, ResolvedModel
    from quarterdeck.models.port import OnText, Provider
    from quarterdeck.models.prices import Price
    from quarterdeck.models.redact import Redactor
    from quarterdeck.models.stages import Stage
    from quarterdeck.spec.models import CacheSpec, RateSpec

EMBEDDED = "embedded"
"""What a profile calls the embedder on this machine."""
MAX_TEXTS = 10_000
"""Texts of one call."""
MAX_CHARACTERS = 8_000
"""Of one text; what stands behind is not looked at."""
MAX_TOKENS = 256
"""Of one text; the model was trained on no more."""
BATCH_TOKENS = 512
BATCH_TEXTS = 64
"""What is computed at once, padding included: it bounds the memory that a call takes."""
REMOTE_TEXTS = 64
"""Texts of one request to a hosted model."""


class Embedder(Protocol):
    """Turns texts into vectors of length 1.

    Vectors are comparable only with those of the same `name`, which is recorded beside each.
    """

    @property
    def name(self) -> str:
        """Of the model, such as `minilm-l6-v2-int8`."""
        ...

    @property
    def dimension(self) -> int:
        """Numbers in a vector; 0 as long as it is not known."""
        ...

    async def embed(self, texts: Sequence[str]) -> list[list[float]]:
        """Return a normalised vector for each text, in their order.

        Raises:
            ModelError: The model cannot be used, or did not answer.
            ValueError: There are more than 10,000 texts.
        """
        ...


def embedder_of(
    name: str,
    catalog: Catalog,
    context: CallContext | None = None,
    *,
    mask: Callable[[str], str] | None = None,
    redactor: Redactor | None = None,
) -> Embedder:
    """Return the embedder that a profile names.

    Args:
        name: `embedded`, or a LiteLLM embedding model such as `openai/text-embedding-3-small`.
        catalog: Knows keys, prices and endpoints of hosted models.
        context: The run on whose budget and in whose journal hosted calls are; None for none.
        mask: Takes secrets out of what is sent to a hosted model.
        redactor: Finds personal data in it.

    Raises:
        ModelError: There is no such model, or its key is not set.
    """
    if name == EMBEDDED:
        return EmbeddedEmbedder()
    return LiteLLMEmbedder(name, catalog, context, mask=mask, redactor=redactor)


class EmbeddedEmbedder:
    """MiniLM (all-MiniLM-L6-v2, 8-bit ONNX, 384 numbers) on this machine; nothing leaves it.

    It loads when it is first used (some 0.2 s) and computes in one thread of its own, one batch after the other.

    Args:
        model: The ONNX file; by default the weights called `embedder`.
        tokenizer: Its `tokenizer.json`; by default the one that came with the weights.
    """

    name = "minilm-l6-v2-int8"
    dimension = 384

    def __init__(self, model: Path | None = None, tokenizer: Path | None = None) -> None:
        self._files = (model, tokenizer)
        self._loaded: tuple[Any, Any] | None = None
        self._loading = threading.Lock()
        self._pool = ThreadPoolExecutor(1, "embedder")
        weakref.finalize(self, self._pool.shutdown, wait=False)

    async def embed(self, texts: Sequence[str]) -> list[list[float]]:
        """Return a normalised vector for each text, in their order.

        Raises:
            ModelError: `no_weights`: they are not on this machine; says how to get them.
            ValueError: There are more than 10,000 texts.
        """
        _check_count(texts)
        if not texts:
            return []
        loop = asyncio.get_running_loop()
        encoded = await loop.run_in_executor(self._pool, self._encode, [text[:MAX_CHARACTERS] for text in texts])
        vectors: list[list[float]] = [[]] * len(texts)
        for batch in _batches([len(ids) for ids in encoded]):  # batch by batch, so that it can be cancelled between
            found = await loop.run_in_executor(self._pool, self._run, [encoded[at] for at in batch])
            for at, vector in zip(batch, found, strict=True):
                vectors[at] = vector
        return vectors

    def _encode(self, texts: list[str]) -> list[list[int]]:
        tokenizer, _ = self._load()
        whole = [text.encode("utf-8", "replace").decode() for text in texts]
        return [encoding.ids for encoding in tokenizer.encode_batch(whole)]

    def _run(self, batch: list[list[int]]) -> list[list[float]]:
        """Return the mean of each text's token vectors, padding left out, scaled to length 1."""
        import numpy as np

        _, session = self._load()
        longest = max(map(len, batch))
        ids = np.zeros((len(batch), longest), np.int64)
        mask = np.zeros_like(ids)
        for row, tokens in enumerate(batch):
            ids[row, : len(tokens)] = tokens
            mask[row, : len(tokens)] = 1
        feed = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
        (hidden,) = session.run(["last_hidden_state"], feed)
        weights = mask[:, :, None].astype(np.float32)
        mean = (hidden * weights).sum(axis=1) / weights.sum(axis=1)
        mean /= np.maximum(np.linalg.norm(mean, axis=1, keepdims=True), 1e-12)
        return [[float(number) for number in vector] for vector in mean.astype(np.float32)]

    def _load(self) -> tuple[Any, Any]:
        with self._loading:
            if self._loaded is None:
                self._loaded = _load(*_files(*self._files))
            return self._loaded


class LiteLLMEmbedder:
    """A hosted embedding model, or any endpoint that LiteLLM can talk to, with the keys of the catalog.

    Within a run each request goes through the model port: within budget and rate, tried again, recorded, replayed.

    Args:
        model: LiteLLM's name, such as `openai/text-embedding-3-small`, or one of config/models.yaml.
        catalog: Knows its key, price and endpoint.
        context: The run's place, such as `memory`; None outside of a run: then nothing is recorded or budgeted.
        mask: Takes secrets out of a text before it is sent.
        redactor: Finds personal data before it is sent.

    Raises:
        ModelError: There is no such model, or its key is not set.
    """

    def __init__(
        self,
        model: str,
        catalog: Catalog,
        context: CallContext | None = None,
        *,
        mask: Callable[[str], str] | None = None,
        redactor: Redactor | None = None,
    ) -> None:
        from quarterdeck.models.stack import build_port

        self._model = catalog.resolve(model)
        self._models = WithoutStandIns(catalog, _Vectors)
        self._context = context
        self._mask = mask
        self._port: Stage = build_port(self._models, mask=mask, redactor=redactor)
        self._dimension = 0

    @property
    def name(self) -> str:
        """The model's whole name."""
        return self._model.name

    @property
    def dimension(self) -> int:
        """Numbers in a vector; 0 before the first text was embedded."""
        return self._dimension

    async def embed(self, texts: Sequence[str]) -> list[list[float]]:
        """Return a normalised vector for each text, in their order.

        Raises:
            ModelError: The model did not answer, or not with vectors.
            LimitReached: The run's budget does not reach; nothing was sent.
            ValueError: There are more than 10,000 texts.
        """
        _check_count(texts)
        vectors: list[list[float]] = []
        for at in range(0, len(texts), REMOTE_TEXTS):
            # an empty text is refused by most providers
            part = tuple(Message("user", text[:MAX_CHARACTERS] or " ") for text in texts[at : at + REMOTE_TEXTS])
            reply = await self._ask(ModelRequest(self.name, part, max_tokens=1, stream=False))
            vectors += _unpacked(reply.text, len(part), self.name)
        if vectors:
            self._dimension = len(vectors[0])
        return vectors

    async def _ask(self, request: ModelRequest) -> ModelReply:
        if self._context is None:
            if self._mask is not None:
                masked = tuple(replace(one, content=self._mask(one.content)) for one in request.messages)
                request = replace(request, messages=masked)
            return await self._models.provider(request.model).answer(request)
        digest = hashlib.sha256("\0".join(message.content for message in request.messages).encode("utf-8", "replace"))
        # the path says what is embedded, not in which order: so recalls that run side by side replay
        return await self._port.complete(request, self._context.at(f"embed-{digest.hexdigest()[:16]}"))


class _Vectors:
    """A provider whose answer to texts is their vectors, packed as text: what the journal can carry."""

    def __init__(self, provider: Provider, model: str) -> None:
        self._provider = provider
        self._model = model

    async def answer(self, request: ModelRequest, on_text: OnText | None = None) -> ModelReply:
        """Embed the messages."""
        embed = getattr(self._provider, "embed", None)
        if embed is None:
            raise ModelError(
                f"{self._model} is no embedding model. Name `embedded` or one such as openai/text-embedding-3-small "
                "in the profile's longterm.embedding.",
                "no_model",
            )
        vectors, usage, price = await embed([message.content for message in request.messages])
        return ModelReply(text=_packed(vectors), usage=usage, cost_usd=price, model=self._model)

    async def close(self) -> None:
        """Nothing to do: whoever made the provider closes it."""


class WithoutStandIns:
    """What the port's stages ask about models that embed or rank: prices and rates of the catalog, and no stand-ins.

    A vector of another model would be compared with what it cannot be compared with.

    Args:
        catalog: Has them.
        asked: Makes of a provider one that takes a request of this kind.
    """

    def __init__(self, catalog: Catalog, asked: Callable[[Provider, str], Provider]) -> None:
        self._catalog = catalog
        self._asked = asked

    def provider(self, model: str) -> Provider:
        """Return who answers."""
        return self._asked(self._catalog.provider(model), model)

    def price_of(self, name: str) -> Price | None:
        """Return the price per token."""
        return self._catalog.price_of(name)

    def rate_of(self, name: str) -> RateSpec | None:
        """Return how fast it may be called."""
        return self._catalog.rate_of(name)

    def chain(self, name: str, group: str) -> tuple[ResolvedModel, ...]:
        """Return the model alone."""
        return self._catalog.chain(name, "")

    def cache_of(self, group: str) -> CacheSpec | None:
        """Return None: vectors and scores are kept elsewhere."""
        return None


def _check_count(texts: Sequence[str]) -> None:
    if len(texts) > MAX_TEXTS:
        raise ValueError(f"{len(texts):,} texts at once, at most {MAX_TEXTS:,}: embed them in parts")


def _batches(lengths: Sequence[int]) -> Iterator[list[int]]:
    """Yield the numbers of texts that are computed together: those of like length, so that little is padding."""
    batch: list[int] = []
    for at in sorted(range(len(lengths)), key=lambda at: (lengths[at], at)):
        if batch and (len(batch) == BATCH_TEXTS or lengths[at] * (len(batch) + 1) > BATCH_TOKENS):
            yield batch
            batch = []
        batch.append(at)
    if batch:
        yield batch


def _files(model: Path | None, tokenizer: Path | None) -> tuple[Path, Path]:
    if model is not None and tokenizer is not None:
        return model, tokenizer
    from quarterdeck.models import weights

    found = weights.installed("embedder")
    if found is None:
        raise ModelError(
            "The weights of the embedder (23 MB) are not on this machine. "
            "Get them with: quarterdeck models pull embedder --yes",
            "no_weights",
        )
    return model or found, tokenizer or weights.path_of(weights.MINILM_TOKENIZER)


def _load(model: Path, tokenizer: Path) -> tuple[Any, Any]:
    """Return tokenizer and session.

    Raises:
        ModelError: `no_weights`: a file cannot be used.
    """
    from quarterdeck.models import onnx

    made, session = onnx.load(model, tokenizer, what="The embedder", alias="embedder")
    made.enable_truncation(MAX_TOKENS)
    return made, session


def _packed(vectors: Sequence[Sequence[float]]) -> str:
    import numpy as np

    return " ".join(base64.b64encode(np.asarray(vector, "<f4").tobytes()).decode() for vector in vectors)


def _unpacked(text: str, count: int, model: str) -> list[list[float]]:
    """Return packed vectors, scaled to length 1.

    Raises:
        ModelError: `malformed`: they are not one a text, not of one length, or hold something that is no number.
    """
    import numpy as np

    malformed = partial(ModelError, f"{model} did not answer with a vector for each text: check it is one that embeds",
                        "malformed")  # fmt: skip
    try:
        rows = [np.frombuffer(base64.b64decode(part, validate=True), "<f4") for part in text.split()]
        matrix = np.stack(rows).astype(np.float64)
    except (ValueError, binascii.Error):
        raise malformed() from None
    if matrix.shape[0] != count or not matrix.shape[1] or not np.isfinite(matrix).all():
        raise malformed()
    matrix /= np.maximum(np.linalg.norm(matrix, axis=1, keepdims=True), 1e-12)
    return [[float(number) for number in row] for row in matrix.astype(np.float32)]
