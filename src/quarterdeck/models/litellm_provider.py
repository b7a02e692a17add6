"""Hosted models, and any endpoint that LiteLLM can talk to. The one file that imports litellm."""

from __future__ import annotations

import asyncio
import logging
import os
import warnings
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar
from weakref import WeakKeyDictionary, WeakSet

from quarterdeck import vendors
from quarterdeck.errors import ModelError
from quarterdeck.models.failures import Target, explain
from quarterdeck.models.keys import key_names, no_key, set_key
from quarterdeck.models.litellm_messages import (
    ToolNames,
    mark_prefixes,
    marks_prefixes,
    messages_out,
    schema_out,
    tool_calls_in,
    tools_out,
    usage_in,
)
from quarterdeck.models.litellm_unpriced import unpriced
from quarterdeck.models.litellm_vectors import scores_of, vectors_of
from quarterdeck.models.live import check_live
from quarterdeck.models.port import ModelReply, Usage
from quarterdeck.models.prices import Price, cost

if TYPE_CHECKING:
    from collections.abc import Iterator
    from decimal import Decimal
    from types import ModuleType

    from quarterdeck.models.port import ModelRequest, OnText

MAX_REPLY_CHARS = 4_000_000
STREAMED = {"stream": True, "stream_options": {"include_usage": True}}
T = TypeVar("T")
_VENDOR = r"litellm(\.|$)"
_SCHEMA_BESIDE_TOOLS = frozenset({"openai", "azure"})  # elsewhere LiteLLM turns a schema into a forced tool call

_users: WeakKeyDictionary[asyncio.AbstractEventLoop, WeakSet[LiteLLMProvider]] = WeakKeyDictionary()
# LiteLLM keeps its HTTP clients in one cache a process, by event loop: whoever leaves a loop last closes its clients.


class LiteLLMProvider:
    """Answers with one model through `litellm.acompletion`: one attempt a call, no retries inside.

    Args:
        model: LiteLLM's name, such as `openai/gpt-4o-mini-2024-07-18`.
        name: What the user calls it; the model by default.
        price: Per token; None when it is not known.
        supports_schema: Whether answers can be constrained by a JSON Schema.
        api_base: An endpoint other than the provider's own.
        api_key_env: The variable that holds the key; by default the provider's usual one, and none for an `api_base`
            of one's own: a key is never sent to an endpoint that it was not declared for.
        environ: Where keys are looked up, at each call.
        first_token_seconds: Silence before the first piece of a streamed answer that ends the call.
        idle_seconds: Silence between two pieces of it that ends the call.
    """

    def __init__(
        self,
        model: str,
        *,
        name: str = "",
        price: Price | None = None,
        supports_schema: bool = False,
        api_base: str = "",
        api_key_env: str = "",
        environ: Mapping[str, str] = os.environ,
        first_token_seconds: float = 60.0,
        idle_seconds: float = 30.0,
    ) -> None:
        self.model = model
        self.price = price
        self.supports_schema = supports_schema
        self._provider = model.partition("/")[0]
        self._key_names = (api_key_env,) if api_key_env else () if api_base else key_names(self._provider)
        self._name = name or model
        self._api_base = api_base
        self._environ = environ
        self._first_token_seconds = first_token_seconds
        self._idle_seconds = idle_seconds
        self._vendor: ModuleType | None = None

    async def answer(self, request: ModelRequest, on_text: OnText | None = None) -> ModelReply:
        """Ask the model once.

        Args:
            request: What to ask; its `model` is taken to be this one.
            on_text: Takes text as it arrives; without it the answer is not streamed, which is cheaper.

        Raises:
            ModelError: The call failed; `kind` says how.
        """
        check_live(self._name)
        key, secret = self._key()
        litellm = self._vendor = self._vendor or _litellm()
        _silence_warnings()
        _join(self)
        names = ToolNames(tool.name for tool in request.tools)
        arguments = self._arguments(request, names, secret)
        chunks: list[Any] = []
        try:
            with _quiet(litellm) as alone:
                if alone:
                    arguments = unpriced(litellm, arguments | ({} if on_text is None else STREAMED))
                if on_text is None:
                    response = await litellm.acompletion(**arguments)
                else:
                    response = await self._stream(litellm, arguments | STREAMED, on_text, chunks)
        except ModelError:
            raise
        except Exception as error:
            target = Target(self._name, self._provider, self._api_base, key)
            failure = explain(error, target, secret)
            failure.billed = failure.billed or bool(chunks)
            raise failure from error
        return self._reply(response, names)

    async def embed(self, texts: Sequence[str]) -> tuple[list[list[float]], Usage, Decimal | None]:
        """Ask an embedding model once.

        Args:
            texts: What to embed; none is empty.

        Returns:
            A vector a text in their order, the tokens used, and what it cost in USD; None when that is not known.

        Raises:
            ModelError: The call failed; `kind` says how.
        """
        vectors, usage = await self._once(partial(vectors_of, texts=texts), "embedding")
        return vectors, usage, cost(self.price, usage)

    async def rerank(self, query: str, texts: Sequence[str]) -> tuple[list[float], Usage, Decimal | None]:
        """Ask a reranker once; returns how well each text answers the query, in their order, else as `embed`."""
        scores, usage, requests = await self._once(partial(scores_of, query=query, texts=texts), "ranking of texts")
        return scores, usage, cost(self.price, usage, requests)

    async def _once(self, ask: Callable[[ModuleType, dict[str, Any]], Awaitable[T]], what: str) -> T:
        """Ask a model that does not chat, and say of what went wrong what it was."""
        check_live(self._name)
        key, secret = self._key()
        litellm = self._vendor = self._vendor or _litellm()
        _silence_warnings()
        _join(self)
        try:
            with _quiet(litellm):
                return await ask(litellm, {"model": self.model, **self._place(secret)})
        except (KeyError, TypeError, ValueError) as error:
            raise ModelError(f"{self._name} answered with something that is no {what}.", "malformed") from error
        except Exception as error:
            raise explain(error, Target(self._name, self._provider, self._api_base, key), secret) from error

    async def close(self) -> None:
        """Leave this event loop; the last provider to leave closes the connections that LiteLLM holds in it."""
        await _leave(self)

    def _key(self) -> tuple[str, str]:
        if not self._key_names:
            return "", ""
        name = set_key(self._key_names, self._environ)
        if name is None:
            raise ModelError(no_key(self._provider, self._key_names), "no_key")
        return name, self._environ[name].strip()

    def _arguments(self, request: ModelRequest, names: ToolNames, secret: str) -> dict[str, Any]:
        arguments: dict[str, Any] = {
            "model": self.model,
            "messages": messages_out(request.messages, names),
            "max_tokens": request.max_tokens,
            "temperature": request.temperature,
            **self._place(secret),
        }
        if marks_prefixes(self.model):
            mark_prefixes(arguments["messages"], goes_on=bool(request.tools) or len(request.messages) > 2)
        if request.tools:
            arguments["tools"] = tools_out(request.tools, names)
        if request.schema is not None and self.supports_schema:
            if not request.tools or self._provider in _SCHEMA_BESIDE_TOOLS:
                arguments["response_format"] = schema_out(request)
        return arguments

    def _place(self, secret: str) -> dict[str, Any]:
        """Return where to ask, with which key, and that nothing is tried again below us."""
        place: dict[str, Any] = {
            "num_retries": 0,
            "max_retries": 0,
            "drop_params": True,  # some models take no temperature: better without it than not at all
        }
        if self._api_base:
            place |= {"api_base": self._api_base, "api_key": "none"}
        return place | ({"api_key": secret} if secret else {})

    async def _stream(self, litellm: ModuleType, arguments: dict[str, Any], on_text: OnText, chunks: list[Any]) -> Any:
        size = 0
        patience = self._first_token_seconds
        opening = litellm.acompletion(**arguments)
        stream = await self._unless_silent(opening, patience)
        try:
            pieces = aiter(stream)
            while (chunk := await self._unless_silent(anext(pieces, None), patience)) is not None:
                chunks.append(chunk)
                text = (chunk.choices[0].delta.content or "") if chunk.choices else ""
                size += len(text)
                if _says_something(chunk):
                    patience = self._idle_seconds
                if size > MAX_REPLY_CHARS:
                    raise ModelError(f"{self._name} does not stop writing: cut off at {MAX_REPLY_CHARS} characters.",
                                     "malformed")  # fmt: skip
                if text:
                    on_text(text)
        finally:
            await _close_stream(stream)
        if not _finished(stream):
            raise ModelError(f"{self._name} broke off in the middle of its answer: try again.", "server",
                             billed=bool(chunks))  # fmt: skip
        whole = litellm.stream_chunk_builder(chunks)
        if whole is None:
            raise ModelError(f"{self._name} ended its answer before it began: try again.", "server")
        if not _counted(stream):
            whole.usage = None  # LiteLLM has filled in a guess of its own
        return whole

    async def _unless_silent(self, arrival: Awaitable[Any], seconds: float) -> Any:
        """Return what arrives; what has arrived before is dropped with the call when nothing does for too long."""
        try:
            async with asyncio.timeout(seconds) as limit:
                return await arrival
        except TimeoutError:
            if not limit.expired():
                raise
            raise ModelError(f"{self._name} sent nothing for {seconds:g} s while it streamed.", "timeout") from None

    def _reply(self, response: Any, names: ToolNames) -> ModelReply:
        if not getattr(response, "choices", None):
            raise ModelError(f"{self._name} answered with something that is no chat completion: check api_base.",
                             "malformed")  # fmt: skip
        choice = response.choices[0]
        message = choice.message
        text = message.content if isinstance(message.content, str) else ""
        proposed = ((call.id or "", call.function) for call in message.tool_calls or ())
        calls = tool_calls_in(((id, one.name or "", one.arguments or "") for id, one in proposed), names)
        refusal = (getattr(message, "provider_specific_fields", None) or {}).get("refusal")
        if choice.finish_reason == "content_filter" or (refusal and not text and not calls):
            raise ModelError(f"{self._name} refused to answer: {str(refusal or 'its content filter cut in')[:300]}",
                             "refused", billed=True)  # fmt: skip
        if len(text) > MAX_REPLY_CHARS:
            raise ModelError(f"{self._name} answered with more than {MAX_REPLY_CHARS} characters.", "malformed")
        usage: Usage = usage_in(getattr(response, "usage", None))
        return ModelReply(
            text=text,
            tool_calls=calls,
            usage=usage,
            cost_usd=cost(self.price, usage),
            model=self._name,
            finish="length" if choice.finish_reason == "length" else "tool_calls" if calls else "stop",
        )


def warm() -> None:
    """Import litellm ahead of the first call, for instance in a thread while something else loads."""
    _litellm()


def _litellm() -> ModuleType:
    """Return litellm, imported without its warnings, network look-ups, banners and log lines."""
    with vendors.importing():
        import litellm

        if not litellm.suppress_debug_info:  # the mark that this is the first time
            litellm.ModelResponse(stream=False)  # pydantic builds these classes, with warnings, at their first use
            litellm.ModelResponseStream()
    if not litellm.suppress_debug_info:
        litellm.suppress_debug_info = True
        litellm.telemetry = False
        litellm.DEFAULT_MAX_RETRIES = 0  # its embedding takes the 0 it is given for nothing given
        if "LITELLM_LOG" not in os.environ:
            for name in ("LiteLLM", "LiteLLM Router", "LiteLLM Proxy"):
                logging.getLogger(name).setLevel(logging.CRITICAL)
    module: ModuleType = litellm
    return module


def _silence_warnings() -> None:
    """Keep what litellm's own modules warn of from the user.

    Looked at on every call: whoever resets the filters, as pytest does, would meet a deprecation in each streamed
    chunk, and `catch_warnings` cannot be held across an `await`.
    """
    if not any(one[3] is not None and getattr(one[3], "pattern", one[3]) == _VENDOR for one in warnings.filters):
        warnings.filterwarnings("ignore", module=_VENDOR)


@contextmanager
def _quiet(litellm: ModuleType) -> Iterator[bool]:
    """Spare LiteLLM's success log, a tenth of its CPU and a task that outlives the call; not if it has listeners.

    Yields whether nobody listens to LiteLLM.
    """
    if _has_listeners(litellm):
        yield False
        return
    from litellm._internal_context import is_internal_call

    token = is_internal_call.set(True)
    try:
        yield True
    finally:
        is_internal_call.reset(token)


def _has_listeners(litellm: ModuleType) -> bool:
    """Return whether the program wants to hear of calls; Gemini's module enters a cache that is not there."""
    listeners = (*litellm.callbacks, *litellm.success_callback, *litellm._async_success_callback)
    return litellm.cache is not None or any(one != "cache" for one in listeners)


def _says_something(chunk: Any) -> bool:
    """Return whether the model has begun to answer; some servers open the stream long before it does."""
    delta = chunk.choices[0].delta if chunk.choices else None
    return bool(delta is not None and (delta.content or delta.tool_calls or getattr(delta, "reasoning_content", None)))


def _finished(stream: Any) -> bool:
    """Return whether the provider has said why its answer ends; LiteLLM makes up a reason where it has not."""
    reasons = ("received_finish_reason", "intermittent_finish_reason")
    return not hasattr(stream, reasons[0]) or any(getattr(stream, name, None) for name in reasons)


def _counted(stream: Any) -> bool:
    """Return whether the provider itself has said how many tokens a stream took."""
    received = getattr(stream, "chunks", None)
    return received is None or any(getattr(chunk, "usage", None) for chunk in received)


async def _close_stream(stream: Any) -> None:
    """Close the connection below a stream that is not read to its end; LiteLLM leaves that to the garbage collector."""
    for part in (stream, getattr(stream, "completion_stream", None)):
        close = getattr(part, "aclose", None) or getattr(part, "close", None)
        if close is None:
            continue
        try:
            closing = close()
            if asyncio.iscoroutine(closing):
                await closing
        except Exception as error:
            logging.getLogger(__name__).debug("closing a stream: %s", error)


def _join(provider: LiteLLMProvider) -> None:
    _users.setdefault(asyncio.get_running_loop(), WeakSet()).add(provider)


async def _leave(provider: LiteLLMProvider) -> None:
    loop = asyncio.get_running_loop()
    users = _users.get(loop)
    if users is None or provider not in users:
        return
    users.discard(provider)
    if users:
        return
    await _close_clients(_litellm(), loop)


async def _close_clients(litellm: ModuleType, loop: asyncio.AbstractEventLoop) -> None:
    """Close what LiteLLM keeps open in this event loop: cached clients by loop, and one client for all the rest."""
    cache = litellm.in_memory_llm_clients_cache
    for key in [key for key in cache.cache_dict if key.endswith(f"-{id(loop)}")]:
        cache.ttl_dict.pop(key, None)
        await _close(cache.cache_dict.pop(key))
    shared = vars(litellm).get("module_level_aclient")  # made at its first use; asking litellm for it would make it
    session = getattr(getattr(getattr(shared, "client", None), "_transport", None), "client", None)
    if session is not None and getattr(session, "_loop", None) is loop:
        await _close(session)  # the client above it opens another one when it needs it
    for _ in range(3):  # transports, and the finalizers of LiteLLM's handlers, need the loop's next turns
        await asyncio.sleep(0)


async def _close(client: Any) -> None:
    close = getattr(client, "close", None) or getattr(client, "aclose", None)
    closing = close() if close is not None else None
    if asyncio.iscoroutine(closing):
        await closing
