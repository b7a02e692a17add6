"""Never a cent over budget: the price of a call is set aside before it is sent."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import TYPE_CHECKING, cast

from quarterdeck.errors import ModelError

if TYPE_CHECKING:
    from quarterdeck.journal.call import CallContext
    from quarterdeck.models.port import ModelReply, ModelRequest
    from quarterdeck.models.prices import Price
    from quarterdeck.models.stages import Stage


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


def prompt_tokens_at_most(request: ModelRequest) -> int:
    """Return an upper estimate of the prompt's tokens: real text has three to five bytes a token, this counts two."""
    size = sum(
        len(message.content.encode()) + sum(len(call.raw) + len(str(call.arguments)) for call in message.tool_calls)
        for message in request.messages
    )
    size += sum(len(tool.description) + len(str(tool.parameters)) for tool in request.tools)
    size += len(str(request.schema)) if request.schema else 0
    return size // 2 + 8 * len(request.messages) + 16
