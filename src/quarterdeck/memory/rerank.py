"""An optional second look at what a recall found: a cross-encoder reads the query and each memory together."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import math
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from quarterdeck.errors import JournalError, ModelError, QuarterdeckError
from quarterdeck.memory.embedder import WithoutStandIns
from quarterdeck.memory.item import Recalled
from quarterdeck.models.port import Message, ModelReply, ModelRequest

if TYPE_CHECKING:
    from quarterdeck.journal.call import CallContext
    from quarterdeck.memory.item import Scope
    from quarterdeck.models.catalog import Catalog
    from quarterdeck.models.port import OnText, Provider
    from quarterdeck.models.redact import Redactor
    from quarterdeck.models.stages import Stage
    from quarterdeck.spec.workspace import Workspace

CANDIDATES = 30
"""The best of the search, which are read again; more where more are asked for."""
MAX_QUERY = 1_000
MAX_TEXT = 2_000
"""Characters that are read; what stands behind is not looked at."""
SECONDS = 10.0
"""After which the order of the search stands."""
REST = 60.0
"""Seconds for which a reranker that failed is left alone."""
MAX_TOKENS = 512
"""Of a query and a text together, for a model on this machine."""
BATCH = 8
"""Texts that are computed at once there: it bounds the memory that a call takes."""
FILE = ".onnx"
NAME = "cross-encoder"
_log = logging.getLogger(__name__)


class Reranker(Protocol):
    """Says how well each of some texts answers a query."""

    async def scores(self, query: str, texts: Sequence[str]) -> list[float]:
        """Return a number a text, in their order: the higher, the better it answers the query.

        Raises:
            ModelError: The model cannot be used, or did not answer with one number a text.
            LimitReached: The run's budget does not reach; nothing was sent.
        """
        ...


class Searches(Protocol):
    """What finds memories; `LongTerm` does."""

    async def search(self, query: str, scope: Scope, limit: int) -> list[Recalled]:
        """Return what fits a query best, best first."""
        ...


def reranker_of(name: str, catalog: Catalog, context: CallContext | None = None, **kept_back: Any) -> Reranker:
    """Return the reranker that a profile names; whether it can be used shows when it is asked.

    Args:
        name: A LiteLLM reranker such as `cohere/rerank-v3.5`, one of config/models.yaml, or an ONNX file.
        catalog: Knows keys, prices and endpoints of hosted models.
        context: The run on whose budget and in whose journal hosted calls are; None for none.
        kept_back: `mask` and `redactor` of `HostedReranker`.
    """
    return LocalReranker(name) if name.endswith(FILE) else HostedReranker(name, catalog, context, **kept_back)


def searched(search: Searches, name: str, workspace: Workspace) -> Searches:
    """Return a search as who asks outside of a run has it: reranked where a profile says so; failures are logged.

    Args:
        search: Long-term memory.
        name: Of the reranker; empty for none.
        workspace: Where models are declared.
    """
    if not name:
        return search
    from quarterdeck.models.catalog import Catalog
    from quarterdeck.spec.load import load_models

    return Reranked(search, reranker_of(name, Catalog(load_models(workspace))), _log.warning)


class Reranked:
    """A search whose best finds a cross-encoder puts in order. Where it cannot, the order of the search stands.

    Args:
        search: Finds candidates.
        reranker: Reads them again.
        tell: Told why the order of the search stands, the first time that it does.
        clock: Seconds; for tests.
    """

    def __init__(
        self,
        search: Searches,
        reranker: Reranker,
        tell: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._search = search
        self._reranker = reranker
        self._tell = tell
        self._clock = clock
        self._told = False
        self._rests_until = -math.inf

    async def search(self, query: str, scope: Scope, limit: int) -> list[Recalled]:
        """Return what answers a query best, best first; equal ones as the search has them.

        Args:
            query: Any text.
            scope: Whose memories.
            limit: So many at most.

        Raises:
            JournalError: The database cannot be used.
            ModelError: The search could not be made; never that of the reranker.
        """
        found = await self._search.search(query, scope, max(limit, CANDIDATES))
        if len(found) < 2 or limit < 1 or self._clock() < self._rests_until:
            return found[: max(limit, 0)]
        why = ""
        try:
            async with asyncio.timeout(SECONDS):
                texts = [one.item.text[:MAX_TEXT] for one in found]
                found = _ordered(found, await self._reranker.scores(query[:MAX_QUERY], texts))
        except TimeoutError:
            why = f"it did not answer within {SECONDS:g} s"
        except JournalError:
            raise
        except QuarterdeckError as error:
            why = " ".join(str(error).split())
        if why:
            self._rests_until = self._clock() + REST
        if why and not self._told:
            self._told = True
            self._tell(f"Recalled in the order of the search, without the reranker: {why}")
        return found[:limit]


class HostedReranker:
    """A hosted reranker, or any endpoint that LiteLLM can talk to, with the keys of the catalog.

    Within a run each request goes through the model port: within budget and rate, tried again, recorded, replayed.

    Args:
        model: LiteLLM's name, such as `cohere/rerank-v3.5`, or one of config/models.yaml.
        catalog: Knows its key, price and endpoint.
        context: The run's place, such as `memory`; None outside of a run: then nothing is recorded or budgeted.
        mask: Takes secrets out of a text before it is sent.
        redactor: Finds personal data before it is sent.
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
        self._model = model
        self._catalog = catalog
        self._context = context
        self._mask = mask
        self._redactor = redactor
        self._port: Stage | None = None

    async def scores(self, query: str, texts: Sequence[str]) -> list[float]:
        """Return how well each text answers a query. As `Reranker.scores`."""
        said = tuple(Message("user", text or " ") for text in (query, *texts))  # an empty text is refused by most
        request = ModelRequest(self._catalog.resolve(self._model).name, said, max_tokens=1, stream=False)
        reply = await self._ask(request)
        return _unpacked(reply.text, len(texts), request.model)

    async def _ask(self, request: ModelRequest) -> ModelReply:
        models = WithoutStandIns(self._catalog, _Scores)
        if self._context is None:
            if self._mask is not None:
                masked = tuple(replace(one, content=self._mask(one.content)) for one in request.messages)
                request = replace(request, messages=masked)
            return await models.provider(request.model).answer(request)
        if self._port is None:
            from quarterdeck.models.stack import build_port

            self._port = build_port(models, mask=self._mask, redactor=self._redactor)
        digest = hashlib.sha256("\0".join(message.content for message in request.messages).encode("utf-8", "replace"))
        # the path says what is ranked, not when: so recalls that run side by side replay
        return await self._port.complete(request, self._context.at(f"rerank-{digest.hexdigest()[:16]}"))


class LocalReranker:
    """A cross-encoder on this machine, such as MiniLM trained on MS MARCO; nothing leaves it.

    It loads when it is first used, and computes in threads, one batch after the other.

    Args:
        file: Its ONNX file, with its `tokenizer.json` beside it; from the folder of weights unless it is a whole path.
    """

    def __init__(self, file: str) -> None:
        self._file = file
        self._loaded: tuple[Any, Any] | None = None
        self._loading = threading.Lock()

    async def scores(self, query: str, texts: Sequence[str]) -> list[float]:
        """Return how well each text answers a query. As `Reranker.scores`.

        Raises:
            ModelError: `no_weights`: a file is missing or cannot be used.
        """
        scores: list[float] = []
        for at in range(0, len(texts), BATCH):  # batch by batch, so that it can be cancelled between
            scores += await asyncio.to_thread(self._run, query, texts[at : at + BATCH])
        return scores

    def _run(self, query: str, texts: Sequence[str]) -> list[float]:
        import numpy as np

        tokenizer, session = self._load()
        pairs = [(_whole(query), _whole(text)) for text in texts]
        encoded = tokenizer.encode_batch(pairs)
        longest = max(1, *(len(one.ids) for one in encoded))
        named = {"input_ids": "ids", "attention_mask": "attention_mask", "token_type_ids": "type_ids"}
        feed = {one.name: np.zeros((len(pairs), longest), np.int64) for one in session.get_inputs()}
        for name in feed:
            for row, one in enumerate(encoded):
                feed[name][row, : len(one.ids)] = getattr(one, named.get(name, "ids"))
        try:
            (scores,) = session.run(None, feed)[:1]
            (numbers,) = np.asarray(scores, np.float64).reshape(len(texts), -1).T
        except Exception as error:  # the library raises bare exceptions of its own
            raise ModelError(
                f"{self._path} does not give one number for a query and a text ({str(error)[:200]}): name a "
                "cross-encoder in the profile's longterm.rerank.",
                "malformed",
            ) from error
        return _finite([float(number) for number in numbers], len(texts), str(self._path))

    @property
    def _path(self) -> Path:
        from quarterdeck.models import weights

        return weights.folder() / Path(self._file).expanduser()

    def _load(self) -> tuple[Any, Any]:
        from quarterdeck.models import onnx

        with self._loading:
            if self._loaded is None:
                path = self._path
                tokenizer = path.with_name("tokenizer.json")
                try:
                    made, session = onnx.load(path, tokenizer, what="The reranker", alias="")
                except ModelError as error:
                    raise ModelError(
                        f"The reranker {path} cannot be loaded ({str(error.__cause__)[:200]}). Put its ONNX file and "
                        "its tokenizer.json there, or take `rerank` out of the profile.",
                        "no_weights",
                    ) from error
                made.enable_truncation(MAX_TOKENS)
                self._loaded = made, session
            return self._loaded


class _Scores:
    """A provider whose answer to a query and texts is their scores, packed as text: what the journal can carry."""

    def __init__(self, provider: Provider, model: str) -> None:
        self._provider = provider
        self._model = model

    async def answer(self, request: ModelRequest, on_text: OnText | None = None) -> ModelReply:
        """Rank the messages behind the first by how well they answer it."""
        rerank = getattr(self._provider, "rerank", None)
        if rerank is None:
            raise ModelError(
                f"{self._model} is no reranker. Name one such as cohere/rerank-v3.5 in the profile's longterm.rerank.",
                "no_model",
            )
        query, *texts = [message.content for message in request.messages]
        scores, usage, price = await rerank(query, texts)
        return ModelReply(text=json.dumps(scores), usage=usage, cost_usd=price, model=self._model)

    async def close(self) -> None:
        """Nothing to do: whoever made the provider closes it."""


def _ordered(found: Sequence[Recalled], scores: Sequence[float]) -> list[Recalled]:
    """Return memories by what a cross-encoder says of them; sorting keeps the order of equal ones."""
    shares = list(scores)
    if any(not 0 <= score <= 1 for score in scores):  # not made to a share yet, as a network by itself gives them
        shares = [1 / (1 + math.exp(-max(-500.0, min(500.0, score)))) for score in scores]
    ranked = [(_scored(one, share), score) for one, share, score in zip(found, shares, scores, strict=True)]
    return [one for one, _ in sorted(ranked, key=lambda pair: (-pair[0].score, -pair[1]))]


def _scored(one: Recalled, score: float) -> Recalled:
    if "repeated" in one.parts:  # its text stands above it already, and would stand beside it again
        score /= 2
    score = round(score, 6)
    return Recalled(one.item, score, f"{NAME} {score:.2f}, {one.why}", {**one.parts, NAME: score})


def _unpacked(text: str, count: int, model: str) -> list[float]:
    """Return packed scores.

    Raises:
        ModelError: `malformed`: they are not one a text, or no numbers.
    """
    try:
        scores = [float(one) for one in json.loads(text)]
    except (ValueError, TypeError):
        scores = []
    return _finite(scores, count, model)


def _finite(scores: list[float], count: int, model: str) -> list[float]:
    if len(scores) != count or not all(map(math.isfinite, scores)):
        raise ModelError(f"{model} did not answer with a score for each text: check it is one that ranks", "malformed")
    return scores


def _whole(text: str) -> str:
    return text.encode("utf-8", "replace").decode()  # half a character from elsewhere would be refused
