"""One agent's turns: build the window, ask the model, act through the gate, check, stop or go on."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from quarterdeck.engine import prompts
from quarterdeck.engine.assignment import Outcome
from quarterdeck.engine.concurrency import all_settled
from quarterdeck.errors import LimitReached, QuarterdeckError, Rejected, Waiting
from quarterdeck.memory.window import Window
from quarterdeck.models.port import ModelRequest
from quarterdeck.tools.evidence import Receipt
from quarterdeck.tools.tool import Tool

if TYPE_CHECKING:
    from quarterdeck.engine.assignment import Assignment, Guardrail
    from quarterdeck.engine.scope import RunScope
    from quarterdeck.governance.result import ToolResult
    from quarterdeck.models.port import ModelReply, ToolRequest

MAX_REPAIRS = 2
MAX_REPEATS = 2
MAX_PARALLEL_CALLS = 16
HOW_TO_RAISE = "Give it more and let it go on: quarterdeck runs resume {run} --usd AMOUNT (or --tokens NUMBER)."


async def perform(work: Assignment, run: RunScope) -> Outcome:
    """Work on an assignment until code accepts the answer, or a limit is reached.

    Args:
        work: What to do.
        run: The run it belongs to.

    Returns:
        How it ended, and which of these ended it: the goal is met, the answer cannot be mended, the turns or an
        allowance are used up, or the agent goes round in circles. The last two give a `partial` answer.

    Raises:
        LimitReached: The run's time is up.
        Waiting: What it may spend is used up, and a person has to give it more.
        ModelError: The model cannot be asked.
    """
    begun = await _begin(work, run)
    window = Window(prompts.opening(work, begun), work.model.context - work.max_tokens)
    repairs = repeats = 0
    for turn in range(1, work.max_turns + 1):
        try:
            reply = await _decide(work, run, window, f"turn-{turn}")
            if reply.tool_calls:
                repeats += await _act(work, run, window, reply, f"turn-{turn}")
                if repeats >= MAX_REPEATS:
                    return await _answer_now(work, run, window, "oscillation")
                continue
        except LimitReached as limit:
            if limit.limit == "seconds":
                raise
            if limit.limit in ("usd", "tokens") and run.spec.limits.on_budget == "wait":
                raise Waiting(f"{limit} {HOW_TO_RAISE.format(run=run.journal.id)}", limit.code) from None
            return await _answer_now(work, run, window, limit.code)
        verdict = await _check(work, reply, run)
        if verdict.accepted:
            return Outcome("succeeded", "goal_met", verdict.value, notes=verdict.notes)
        if repairs == MAX_REPAIRS:
            return Outcome("failed", "output_rejected", why=verdict.problem, notes=verdict.notes)
        repairs += 1
        window.add_answer(reply.text[:4000], verdict.problem)
    return await _answer_now(work, run, window, "limit_turns")


async def _begin(work: Assignment, run: RunScope) -> list[tuple[str, str]]:
    """Make the declared first tool calls, so that code and not a model decides that they happen.

    Raises:
        QuarterdeckError: One failed: the agent would have to make up what it was to be given.
    """
    begun = []
    for number, request in enumerate(work.begin, 1):
        result = await run.gate.call(request, run.context(work, f"begin-{number}"))
        if result.status != "ok":
            raise QuarterdeckError(f"{work.task}: {request.name}: {result.value}", code="begin_failed")
        _keep_receipt(work, request, result)
        begun.append((request.name, result.text()))
    return begun


async def _decide(work: Assignment, run: RunScope, window: Window, step: str, *, tools: bool = True) -> ModelReply:
    request = ModelRequest(
        model=work.model.name,
        messages=window.messages(),
        tools=work.tools if tools else (),
        schema=work.output.schema(work.evidence) if work.output and work.model.supports_schema else None,
        max_tokens=work.max_tokens,
        temperature=work.agent.temperature,
    )
    return await run.port.complete(request, run.context(work, step))


async def _act(work: Assignment, run: RunScope, window: Window, reply: ModelReply, step: str) -> int:
    """Put the proposed calls through the gate, side by side; return how many only repeated earlier ones."""
    calls = reply.tool_calls[:MAX_PARALLEL_CALLS]
    context = run.context(work, step)
    results = await all_settled(
        [run.gate.call(call, context.at(f"tool-{number}")) for number, call in enumerate(calls, 1)]
    )
    for call, result in zip(calls, results, strict=True):
        _keep_receipt(work, call, result)
    window.add_calls(reply.text, calls, [result.text() for result in results])
    return sum(result.error_class == "repeated" for result in results)


def _keep_receipt(work: Assignment, request: ToolRequest, result: ToolResult) -> None:
    value = result.value if result.status == "ok" else None
    work.evidence.receipts.append(Receipt(request.name, request.arguments or {}, value, result.text()))


@dataclass(frozen=True, slots=True)
class Verdict:
    """What code, not the actor, says of an answer."""

    accepted: bool
    value: Any = None
    problem: str = ""
    notes: tuple[str, ...] = ()


async def _check(work: Assignment, reply: ModelReply, run: RunScope) -> Verdict:
    text = reply.text.strip()
    if reply.finish == "length":
        return Verdict(False, text or None, prompts.CUT_OFF)
    if not text:
        return Verdict(False, None, prompts.EMPTY)
    value: Any = text
    work.evidence.notes.clear()
    try:
        if work.output is not None:
            value = work.output.read(text)
        for guardrail in work.guardrails:
            value = await _guard(guardrail, value, work, run)
    except (ValueError, Rejected) as problem:
        return Verdict(False, None, prompts.mend(str(problem)[:2000]), tuple(work.evidence.notes))
    return Verdict(True, value, notes=tuple(work.evidence.notes))


async def _guard(guardrail: Guardrail, value: Any, work: Assignment, run: RunScope) -> Any:
    """Call a guardrail as a tool is called: a slow one holds up neither the event loop nor the deadline."""
    name = getattr(guardrail, "__name__", "guardrail")
    tool = Tool(name, "", {}, partial(guardrail, value, work.evidence))
    left = run.deadline - asyncio.get_running_loop().time()
    try:
        return await run.executor.execute(tool, {}, None, min(max(left, 0), tool.timeout))
    except Rejected:
        raise
    except TimeoutError:
        raise QuarterdeckError(
            f"{work.task}: the guardrail {name} did not finish in time.", code="guardrail_timeout"
        ) from None
    except Exception as error:
        raise QuarterdeckError(
            f"{work.task}: the guardrail {name} itself failed: {type(error).__name__}: {error}", code="guardrail_failed"
        ) from error


async def _answer_now(work: Assignment, run: RunScope, window: Window, code: str) -> Outcome:
    """Ask once more, without tools, for the best answer there is; what comes is at most `partial`."""
    why = {"limit_turns": f"no accepted answer in {work.max_turns} turns", "oscillation": "the same calls repeated"}
    reason = why.get(code, code.replace("_", " "))
    window.add_note(prompts.ANSWER_NOW)
    run.allowance.grant_last_word()
    try:
        reply = await _decide(work, run, window, "answer", tools=False)
    except LimitReached as limit:
        if limit.limit == "seconds":
            raise
        return Outcome("failed", code, why=f"{reason}; {limit}")
    verdict = await _check(work, reply, run)
    if verdict.value is None:
        return Outcome("failed", code, why=f"{reason}; the last answer could not be used: {verdict.problem}")
    return Outcome("partial", code, verdict.value, why=reason, notes=verdict.notes)
