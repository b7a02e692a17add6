"""What stands around every model call. Each stage is small, knows only the next, and can be tested alone."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Protocol

from quarterdeck.errors import LimitReached, ModelError
from quarterdeck.journal.events import ModelCalled, TextArrived
from quarterdeck.journal.fingerprint import fingerprint
from quarterdeck.models.port import ModelReply
from quarterdeck.models.wire import reply_from_event, reply_to_json, request_to_json, storable

if TYPE_CHECKING:
    from quarterdeck.journal.call import CallContext
    from quarterdeck.models.port import ModelRequest, Provider


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
                cached_tokens=reply.usage.cached_tokens,
                source=reply.source,
                degraded=reply.degraded,
                **_used_of(request),
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


def _used_of(request: ModelRequest) -> dict[str, Any]:
    tokens, context = request.window
    return {"window_tokens": tokens, "window_share": round(tokens / context, 4)} if context else {}


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
            async with asyncio.timeout_at(min(ends, context.deadline)) as limit:
                return await self._proceed.complete(request, context)
        except TimeoutError as error:
            if not limit.expired():
                raise ModelError(f"{request.model} did not answer in time: {error}", "timeout") from error
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
        if not (context.journal.streaming and request.stream):
            return await provider.answer(request)

        def on_text(text: str) -> None:
            context.journal.publish(TextArrived(path=context.path, task=context.task, agent=context.agent, text=text))

        return await provider.answer(request, on_text)
