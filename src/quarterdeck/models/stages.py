"""What stands around every model call. Each stage is small, knows only the next, and can be tested alone."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from decimal import Decimal
from typing import TYPE_CHECKING, Protocol, cast

from quarterdeck.errors import LimitReached, ModelError
from quarterdeck.journal.events import ModelCalled, ModelFailed, TextArrived
from quarterdeck.journal.fingerprint import fingerprint
from quarterdeck.models.port import ModelReply
from quarterdeck.models.wire import reply_from_event, reply_to_json, request_to_json, storable

if TYPE_CHECKING:
    from quarterdeck.journal.call import CallContext
    from quarterdeck.models.port import ModelRequest, Provider
    from quarterdeck.models.prices import Price

PASSING = frozenset({"rate_limited", "server", "timeout", "unreachable"})
"""The kinds of failure that may pass when the same call is made again."""


class Stage(Protocol):
    """One stage of the port, or the port itself."""

    async def complete(self, request: ModelRequest, context: CallContext) -> ModelReply:
        """Answer the request."""
        ...


class Replay:
    """Returns the recorded reply of a call that an earlier process has made; else records the new one.

    Recording happens here, before the reply is handed on: a result that is used is in the journal.
    """

    def __init__(self, proceed: Stage) -> None:
        self._proceed = proceed

    async def complete(self, request: ModelRequest, context: CallContext) -> ModelReply:
        """Replay or proceed, then journal."""
        body = request_to_json(request)
        request_hash = fingerprint(body)
        recorded = context.journal.recorded_model(context.path, request_hash, body)
        if recorded is not None:
            return reply_from_event(recorded)
        started = time.monotonic()
        reply = await self._ask(request, context)
        await context.journal.append(
            ModelCalled(
                path=context.path,
                task=context.task,
                agent=context.agent,
                request_hash=request_hash,
                request=body,
                reply=reply_to_json(reply),
                model=reply.model or request.model,
                prompt_tokens=reply.usage.prompt_tokens,
                completion_tokens=reply.usage.completion_tokens,
                cost_usd=None if reply.cost_usd is None else str(reply.cost_usd),
                seconds=round(time.monotonic() - started, 4),
            )
        )
        return reply

    async def _ask(self, request: ModelRequest, context: CallContext) -> ModelReply:
        try:
            return storable(await self._proceed.complete(request, context))
        except ModelError as error:
            if error.kind != "malformed":
                raise
            # The agent's next turn rests on this failure, so it is recorded as an answer: a replay must find it.
            return ModelReply(text="", cost_usd=Decimal(0), model=request.model, finish="length")


class Budget:
    """Reserves the highest possible price of a call before it is sent, and settles it afterwards.

    Args:
        proceed: The next stage.
        price_of: The price of a model per token, or None when it is not known.
    """

    def __init__(self, proceed: Stage, price_of: Callable[[str], Price | None]) -> None:
        self._proceed = proceed
        self._price_of = price_of

    async def complete(self, request: ModelRequest, context: CallContext) -> ModelReply:
        """Reserve, proceed, settle."""
        allowance = context.allowance
        price = self._price_of(request.model)
        if price is None and allowance.limits.usd is not None:
            raise ModelError(
                f"The price of {request.model} is not known, and this run has a budget of ${allowance.limits.usd}. "
                f"Give it a price (or `price: free`) in config/models.yaml, or remove limits.usd.",
                "unknown_price",
            )
        prompt = prompt_tokens_at_most(request)
        usd = None if price is None else prompt * price.input + request.max_tokens * price.output
        allowance.reserve(prompt + request.max_tokens, usd)
        used, cost = 0, cast("Decimal | None", Decimal(0))
        try:
            reply = await self._proceed.complete(request, context)
            used = reply.usage.prompt_tokens + reply.usage.completion_tokens
            cost = reply.cost_usd
            return reply
        finally:
            allowance.settle(prompt + request.max_tokens, usd, used, cost)


class Retry:
    """Makes a call again that failed in a way that may pass; journals each failed attempt.

    Args:
        proceed: The next stage.
        attempts: Physical attempts at most.
        base: Seconds of the first wait at most; doubled each time, with full jitter.
        ceiling: Seconds of any wait at most, unless the provider asked for more.
    """

    def __init__(self, proceed: Stage, attempts: int = 3, base: float = 0.5, ceiling: float = 20.0) -> None:
        self._proceed = proceed
        self._attempts = attempts
        self._base = base
        self._ceiling = ceiling

    async def complete(self, request: ModelRequest, context: CallContext) -> ModelReply:
        """Proceed, at most `attempts` times, never past the run's deadline."""
        for attempt in range(1, self._attempts + 1):
            started = time.monotonic()
            try:
                return await self._proceed.complete(request, context)
            except ModelError as error:
                await context.journal.append(
                    ModelFailed(
                        path=context.path,
                        task=context.task,
                        agent=context.agent,
                        request_hash="",
                        model=request.model,
                        error=str(error)[:2000],
                        error_kind=error.kind,
                        attempt=attempt,
                        seconds=round(time.monotonic() - started, 4),
                    )
                )
                if error.kind not in PASSING or attempt == self._attempts:
                    raise
                wait = max(
                    random.uniform(0, min(self._ceiling, self._base * 2 ** (attempt - 1))), error.retry_after or 0
                )
                if asyncio.get_running_loop().time() + wait >= context.deadline:
                    raise
            await asyncio.sleep(wait)
        raise AssertionError("unreachable: the last attempt returns or raises")


class Deadline:
    """Cuts a call at the run's deadline or at its own time limit, whichever is first, by cancelling it.

    Args:
        proceed: The next stage.
        seconds: What one call may take.
    """

    def __init__(self, proceed: Stage, seconds: float = 300.0) -> None:
        self._proceed = proceed
        self._seconds = seconds

    async def complete(self, request: ModelRequest, context: CallContext) -> ModelReply:
        """Proceed under a timeout."""
        loop = asyncio.get_running_loop()
        ends = loop.time() + self._seconds
        try:
            async with asyncio.timeout_at(min(ends, context.deadline)):
                return await self._proceed.complete(request, context)
        except TimeoutError:
            if context.deadline <= ends:
                raise LimitReached("The run's time is up (limits.seconds).", "seconds") from None
            raise ModelError(f"{request.model} did not answer within {self._seconds:g} s.", "timeout") from None


class Answer:
    """The end of the port: hands the request to the provider of its model.

    Args:
        provider_of: Finds the provider of a resolved model.
    """

    def __init__(self, provider_of: Callable[[str], Provider]) -> None:
        self._provider_of = provider_of

    async def complete(self, request: ModelRequest, context: CallContext) -> ModelReply:
        """Ask the provider once; stream text to whoever listens to the run."""
        provider = self._provider_of(request.model)
        if not context.journal.streaming:
            return await provider.answer(request)

        def on_text(text: str) -> None:
            context.journal.publish(TextArrived(path=context.path, task=context.task, agent=context.agent, text=text))

        return await provider.answer(request, on_text)


def prompt_tokens_at_most(request: ModelRequest) -> int:
    """Return an upper estimate of the prompt's tokens: real text has three to five bytes a token, this counts two."""
    size = sum(
        len(message.content.encode()) + sum(len(call.raw) + len(str(call.arguments)) for call in message.tool_calls)
        for message in request.messages
    )
    size += sum(len(tool.description) + len(str(tool.parameters)) for tool in request.tools)
    size += len(str(request.schema)) if request.schema else 0
    return size // 2 + 8 * len(request.messages) + 16
