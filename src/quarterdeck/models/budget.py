"""Never a cent over budget: the highest price of a call is set aside before it is sent."""

from __future__ import annotations

import json
from collections.abc import Callable
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from quarterdeck.errors import ModelError
from quarterdeck.journal.ledger import NOTHING, Amount, nano

if TYPE_CHECKING:
    from quarterdeck.journal.call import CallContext
    from quarterdeck.models.port import Message, ModelReply, ModelRequest
    from quarterdeck.models.prices import Price
    from quarterdeck.models.stages import Stage

MAYBE_BILLED = frozenset({"timeout", "malformed"})
"""The kinds of failure after which the provider may charge for the call; any other says so by its `billed`."""

# What chat templates add; the largest known: some providers put some 600 tokens of instructions before tools.
TOKENS_A_PROMPT = 64
TOKENS_A_MESSAGE = 16
TOKENS_A_TOOL = 32
TOKENS_OF_TOOL_USE = 704
TOKENS_A_REQUEST = 10_000
"""Who charges by request counts a long one as several; of fewer tokens than these none makes one."""


class Budget:
    """Sets the highest possible price of a call aside before it is sent, and settles it afterwards.

    A call that succeeds settles at what the provider reports; one whose cost is not reported, that timed out, broke
    off, was cancelled or gave no usable answer at the whole amount, for it may have been billed; any other failure at
    nothing.

    Args:
        proceed: The next stage.
        price_of: The price of a model per token, or None when it is not known.
    """

    def __init__(self, proceed: Stage, price_of: Callable[[str], Price | None]) -> None:
        self._proceed = proceed
        self._price_of = price_of

    async def complete(self, request: ModelRequest, context: CallContext) -> ModelReply:
        """Reserve, proceed, settle.

        Raises:
            LimitReached: The call could pass a budget; it was not sent.
            ModelError: The model's price is not known, and a budget in USD holds for the run.
        """
        allowance = context.allowance
        amount, last_answer = NOTHING, NOTHING
        if not allowance.ledger.empty:
            amount, last_answer = self._at_most(request, context)
        hold = await allowance.reserve(context.path, amount, last_answer)
        used = hold.amount  # cancelled, or failed in a way that nobody foresaw: it may have been billed
        try:
            reply = await self._proceed.complete(request, context)
            used = _really_used(reply, hold.amount)
            allowance.tokens += reply.usage.prompt_tokens + reply.usage.completion_tokens
            return reply
        except ModelError as error:
            used = hold.amount if error.billed or error.kind in MAYBE_BILLED else NOTHING
            raise
        finally:
            allowance.settle(hold, used)

    def _at_most(self, request: ModelRequest, context: CallContext) -> tuple[Amount, Amount]:
        """Return what a call can take at most, and what a last answer after it would take."""
        price = self._price_of(request.model)
        if price is None and (budget := context.allowance.ledger.usd_budget):
            raise ModelError(
                f"The price of {request.model} is not known, and there is a budget in USD: that of {budget}. "
                "Give the model a price (or `price: free`) in config/models.yaml, or remove the budget.",
                "unknown_price",
            )
        prompt = prompt_tokens_at_most(request)
        # by then the conversation may have doubled: an answer and the results of tools have joined it
        return _amount(prompt, request.max_tokens, price), _amount(2 * prompt, request.max_tokens, price)


def prompt_tokens_at_most(request: ModelRequest) -> int:
    """Return an upper bound of the prompt's tokens, whatever the model's tokenizer.

    No tokenizer in use makes more than one token of a byte. Real text has three to five bytes a token, so the bound is
    some four times too high; what was too much is given back when the call is settled.
    """
    tokens = TOKENS_A_PROMPT + sum(map(_message_at_most, request.messages))
    if request.tools or request.schema:  # some providers are given a schema as a tool
        tokens += TOKENS_OF_TOOL_USE
    for tool in request.tools:
        tokens += TOKENS_A_TOOL + _bytes(tool.name) + _bytes(tool.description) + _json_bytes(tool.parameters)
    if request.schema:
        tokens += TOKENS_A_TOOL + _json_bytes(request.schema)
    return tokens


def _message_at_most(message: Message) -> int:
    tokens = TOKENS_A_MESSAGE + _bytes(message.content) + _bytes(message.name) + _bytes(message.tool_call_id)
    for call in message.tool_calls:
        arguments = max(_bytes(call.raw), _json_bytes(call.arguments))
        tokens += TOKENS_A_MESSAGE + _bytes(call.id) + _bytes(call.name) + arguments
    return tokens


def _bytes(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))


def _json_bytes(value: Any) -> int:
    return len(json.dumps(value, default=str))  # with escapes, as some templates write it: the longest form


def _amount(prompt: int, completion: int, price: Price | None) -> Amount:
    return Amount(0 if price is None else nano(_cost_at_most(price, prompt, completion)), prompt + completion)


def _cost_at_most(price: Price, prompt: int, completion: int) -> Decimal:
    dearest = max(price.input, price.cached or Decimal(0), price.written or Decimal(0))
    cost = prompt * dearest + completion * price.output + (1 + prompt // TOKENS_A_REQUEST) * price.request
    if price.beyond is None or prompt <= price.above:
        return cost
    return max(cost, _cost_at_most(price.beyond, prompt, completion))


def _really_used(reply: ModelReply, reserved: Amount) -> Amount:
    tokens = reply.usage.prompt_tokens + reply.usage.completion_tokens
    return Amount(
        reserved.nano if reply.cost_usd is None else nano(reply.cost_usd),
        tokens or reserved.tokens,
    )
