"""What a call may cost at most, and what it is charged in the end."""

from __future__ import annotations

import asyncio
import importlib.util
from decimal import Decimal
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sqlalchemy import text as sql

from quarterdeck.errors import LimitReached, ModelError, ModelErrorKind
from quarterdeck.journal.allowance import Allowance
from quarterdeck.journal.call import CallContext
from quarterdeck.journal.ledger import Amount, Ledger, nano
from quarterdeck.journal.run import RunJournal
from quarterdeck.journal.store import Store
from quarterdeck.models.budget import Budget, prompt_tokens_at_most
from quarterdeck.models.port import Message, ModelReply, ModelRequest, ToolOffer, ToolRequest, Usage
from quarterdeck.models.prices import FREE, Price
from quarterdeck.spec.crew import Limits
from quarterdeck.spec.limits import BudgetSpec

PRICE = Price.per_million(1, 2)
REQUEST = ModelRequest("m", (Message("user", "What?"),), max_tokens=100)
PROMPT = prompt_tokens_at_most(REQUEST)
RESERVED = Amount(PROMPT * 1000 + 100 * 2000, PROMPT + 100)
BILLED_PERHAPS = {"timeout", "malformed"}


class Ends:
    """The stages inside: end a call in one way."""

    def __init__(self, end: ModelReply | BaseException | None) -> None:
        self.end = end
        self.asked = 0

    async def complete(self, request: ModelRequest, context: CallContext) -> ModelReply:
        self.asked += 1
        if self.end is None:
            await asyncio.get_running_loop().create_future()
        if isinstance(self.end, BaseException):
            raise self.end
        assert isinstance(self.end, ModelReply)
        return self.end


async def charged(
    folder: Path, end: Any, *, price: Price | None = PRICE, limits: Limits | None = None, cut: bool = False, **more: Any
) -> tuple[int, int, int, int]:
    """Make one call that ends so; return what the run's row says after it."""
    stage = Budget(Ends(end), lambda _: price)
    with Store.open(f"sqlite:///{folder}/journal.db") as store:
        journal = await RunJournal.start(store, crew="c", spec={}, inputs={}, spec_hash="", version="0")
        limits = limits or Limits(usd=1.0)
        async with journal:
            allowance = Allowance(limits, journal.totals, Ledger(journal, limits, more.get("shared", ())))
            context = CallContext(journal, allowance, "ask/turn-1", "ask", "clerk", float("inf"))
            work = asyncio.ensure_future(stage.complete(REQUEST, context))
            if cut:
                await asyncio.sleep(0.03)
                work.cancel()
            await asyncio.gather(work, return_exceptions=True)
            if not work.cancelled() and isinstance(error := work.exception(), LimitReached | ModelError):
                more.get("errors", []).append(error)
        row = await store.writer.ask(lambda c: c.execute(sql("SELECT * FROM budgets")).first())
        return (0, 0, 0, 0) if row is None else (row[1], row[2], row[3], row[4])


async def test_a_success_is_charged_what_the_provider_reports(tmp_path: Path) -> None:
    reply = ModelReply("yes", usage=Usage(7, 3), cost_usd=Decimal("0.0000000001"))
    assert await charged(tmp_path, reply) == (1, 0, 10, 0)  # a tenth of a nano-dollar is rounded up


async def test_more_than_was_set_aside_is_recorded_as_it_is(tmp_path: Path) -> None:
    reply = ModelReply("yes", usage=Usage(9_000, 3_000), cost_usd=Decimal("2.5"))
    assert await charged(tmp_path, reply) == (2_500_000_000, 0, 12_000, 0)


async def test_a_cost_that_is_not_reported_is_charged_in_full(tmp_path: Path) -> None:
    assert await charged(tmp_path, ModelReply("yes")) == (RESERVED.nano, 0, RESERVED.tokens, 0)


@pytest.mark.parametrize("kind", get_args(ModelErrorKind))
async def test_a_failure_is_charged_only_where_it_may_have_been_billed(tmp_path: Path, kind: ModelErrorKind) -> None:
    expected = (RESERVED.nano, 0, RESERVED.tokens, 0) if kind in BILLED_PERHAPS else (0, 0, 0, 0)
    assert await charged(tmp_path, ModelError("no", kind)) == expected


async def test_a_failure_that_says_so_is_charged_in_full(tmp_path: Path) -> None:
    error = ModelError("it hung up", "unreachable", billed=True)
    assert await charged(tmp_path, error) == (RESERVED.nano, 0, RESERVED.tokens, 0)


@pytest.mark.parametrize("end", [LimitReached("time is up", "seconds"), RuntimeError("a mistake")], ids=str)
async def test_what_was_cut_off_is_charged_in_full(tmp_path: Path, end: Exception) -> None:
    assert await charged(tmp_path, end) == (RESERVED.nano, 0, RESERVED.tokens, 0)


async def test_a_cancelled_call_is_charged_in_full(tmp_path: Path) -> None:
    assert await charged(tmp_path, None, cut=True) == (RESERVED.nano, 0, RESERVED.tokens, 0)


async def test_without_a_budget_the_database_is_left_alone(tmp_path: Path) -> None:
    reply = ModelReply("yes", usage=Usage(7, 3))
    assert await charged(tmp_path, reply, price=None, limits=Limits()) == (0, 0, 0, 0)


@pytest.mark.parametrize("shared", [(), (BudgetSpec(usd=5.0),)], ids=["own", "shared"])
async def test_an_unknown_price_is_refused_under_any_budget_in_usd(tmp_path: Path, shared: Any) -> None:
    errors: list[ModelError] = []
    limits = Limits() if shared else Limits(usd=1.0)
    await charged(tmp_path, ModelReply("yes"), price=None, limits=limits, shared=shared, errors=errors)
    assert errors[0].kind == "unknown_price"
    assert ("all runs (config/limits.yaml)" if shared else "this run (limits.usd)") in str(errors[0])


async def test_a_free_model_is_welcome_under_a_budget_of_nothing(tmp_path: Path) -> None:
    reply = ModelReply("yes", usage=Usage(7, 3), cost_usd=Decimal(0))
    assert await charged(tmp_path, reply, price=FREE, limits=Limits(usd=0)) == (0, 0, 10, 0)


async def test_a_step_in_the_price_is_counted_when_the_prompt_may_reach_it(tmp_path: Path) -> None:
    steep = Price(Decimal("1e-6"), Decimal("2e-6"), None, PROMPT - 1, Price(Decimal("3e-6"), Decimal("1e-6")))
    nano_usd, *_ = await charged(tmp_path, ModelReply("yes"), price=steep)
    assert nano_usd == max(PROMPT * 3000 + 100 * 1000, RESERVED.nano)


def test_money_is_rounded_up() -> None:
    assert [nano(Decimal(text)) for text in ("0", "0.0000000001", "0.000000001", "1.0000000011")] == [
        0, 1, 1, 1_000_000_002,
    ]  # fmt: skip


anything = st.text(st.characters(codec="utf-8"), max_size=400)


def tokenizer() -> Any:
    """Return a real tokenizer that is on this machine; None when there is none."""
    litellm = importlib.util.find_spec("litellm")
    if importlib.util.find_spec("tiktoken") is None or litellm is None or litellm.origin is None:
        return None
    import os

    os.environ.setdefault("TIKTOKEN_CACHE_DIR", str(Path(litellm.origin).parent / "litellm_core_utils/tokenizers"))
    import tiktoken

    return tiktoken.get_encoding("cl100k_base")


@settings(max_examples=200, deadline=None)
@given(content=anything, arguments=st.dictionaries(anything, anything, max_size=3))
@example(content="漢字とかな交じり文𠮷" * 40, arguments={})
@example(content="".join(map(chr, range(1, 256))), arguments={"\x00": "\u2028"})
@example(content="q~z^x`" * 60, arguments={})
def test_no_tokenizer_makes_more_of_a_prompt(content: str, arguments: dict[str, str]) -> None:
    import json

    tool = ToolOffer("look_up", content, {"type": "object", "properties": arguments})
    made = ToolRequest("call_1", "look_up", arguments, json.dumps(arguments))
    message = Message("assistant", content, tool_calls=(made,))
    bound = prompt_tokens_at_most(ModelRequest("m", (message,), tools=(tool,), schema=arguments))
    parts = [content, content, json.dumps(arguments), json.dumps(tool.parameters), json.dumps(arguments)]
    assert bound >= sum(len(part.encode()) for part in parts)
    encoding = tokenizer()
    if encoding is not None:
        assert bound >= sum(len(encoding.encode(part, disallowed_special=())) for part in parts)


def test_the_bound_is_not_absurd() -> None:
    prose = "The harbour master keeps the register of ships and the tides of the estuary. " * 50
    request = ModelRequest("m", (Message("system", prose), Message("user", "Which ships are in?")))
    assert prompt_tokens_at_most(request) < 1.1 * len(prose)
