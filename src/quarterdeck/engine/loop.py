"""One agent's turns: build the window, ask the model, act through the gate, check, stop or go on."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any

from quarterdeck.engine import prompts
from quarterdeck.engine.assignment import Outcome, Verdict
from quarterdeck.engine.compact import compact
from quarterdeck.engine.concurrency import all_settled
from quarterdeck.engine.escalations import Escalations
from quarterdeck.engine.route import Route
from quarterdeck.errors import LimitReached, ModelError, QuarterdeckError, Rejected, Waiting
from quarterdeck.models.port import ModelReply, ModelRequest
from quarterdeck.tools.evidence import Receipt
from quarterdeck.tools.tool import Tool

if TYPE_CHECKING:
    from quarterdeck.engine.assignment import Assignment, Guardrail
    from quarterdeck.engine.scope import RunScope
    from quarterdeck.governance.result import ToolResult
    from quarterdeck.memory.window import Window
    from quarterdeck.models.port import ToolRequest

MAX_REPAIRS = 2
MAX_REPEATS = 2
MAX_PARALLEL_CALLS = 16


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
        Waiting: A person has to answer: about a call, a doubtful answer, or what the run may spend.
        ModelError: The model cannot be asked.
    """
    route = Route(work, run, await _begin(work, run))
    window = route.window
    escalations = Escalations(work, run)
    unsure: Verdict | None = None
    repairs = repeats = 0
    for turn in range(1, work.max_turns + 1):
        try:
            reply = await _decide(route, run, f"turn-{turn}")
            if reply.tool_calls:
                repeats += await _act(work, run, window, reply, f"turn-{turn}", escalations)
                if repeats >= MAX_REPEATS:
                    return await _answer_now(route, run, "oscillation")
                continue
        except LimitReached as limit:
            _stop_or_wait(limit, run)
            return await _answer_now(route, run, limit.code)
        except ModelError as error:
            if unsure is None:
                raise
            return Outcome("partial", error.code, unsure.value, why=str(error), notes=unsure.notes)
        verdict = await _check(work, reply, run)
        if doubt := route.doubt(verdict, repairs, last=turn == work.max_turns):
            unsure = verdict if verdict.accepted else unsure
            repairs = 0
            window.add_answer(reply.text[:4000], route.correction(verdict))
            route.go_up(doubt)
            continue
        if verdict.accepted and (objection := await escalations.unsure(verdict, f"turn-{turn}")):
            window.add_answer(reply.text[:4000], objection)
            continue
        if verdict.accepted:
            return Outcome("succeeded", "goal_met", verdict.value, notes=verdict.notes)
        if repairs == MAX_REPAIRS:
            await escalations.rejected(verdict, f"turn-{turn}")
            return Outcome("failed", "output_rejected", why=verdict.problem, notes=verdict.notes)
        repairs += 1
        window.add_answer(reply.text[:4000], verdict.problem)
    return await _answer_now(route, run, "limit_turns")


def _stop_or_wait(limit: LimitReached, run: RunScope) -> None:
    """Raise what a limit means for the run, unless the work is to end with the best answer there is."""
    if limit.limit == "seconds":
        raise limit
    if limit.limit in ("usd", "tokens") and run.spec.limits.on_budget == "wait":
        raise Waiting(f"{limit} {limit.remedy}", limit.code) from None


async def _begin(work: Assignment, run: RunScope) -> list[tuple[str, str]]:
    """Make the declared first tool calls, so that code and not a model decides that they happen.

    Raises:
        QuarterdeckError: One failed: the agent would have to make up what it was to be given.
    """
    begun = []
    for number, request in enumerate(work.begin, 1):
        result = await run.gate.call(request, run.context(work, f"begin-{number}"))
        if result.status not in ("ok", "shadowed"):
            raise QuarterdeckError(f"{work.task}: {request.name}: {result.value}", code="begin_failed")
        _keep_receipt(work, request, result)
        begun.append((request.name, result.text()))
    return begun


async def _decide(route: Route, run: RunScope, step: str, *, tools: bool = True) -> ModelReply:
    """Ask the model that is now at the work; one that cannot take the prompt gives way to the next, if there is one."""
    route.instructions.hear(route.window, step)
    route.settle(step)
    await compact(route.work, run, route.window, step)
    route.skip_refused(step)
    while True:
        work = route.work
        request = ModelRequest(
            model=work.model.name,
            messages=route.window.messages(),
            tools=work.tools if tools else (),
            schema=work.output.schema(work.evidence) if work.output and work.model.supports_schema else None,
            max_tokens=work.max_tokens,
            temperature=work.agent.temperature,
            window=route.usage,
        )
        try:
            return route.heed(await run.port.complete(request, run.context(work, step)))
        except ModelError as error:
            if error.kind != "too_long" or not route.too_long(step, str(error)):
                raise


async def _act(
    work: Assignment, run: RunScope, window: Window, reply: ModelReply, step: str, escalations: Escalations
) -> int:
    """Put the proposed calls through the gate, side by side; return how many only repeated earlier ones."""
    calls = reply.tool_calls[:MAX_PARALLEL_CALLS]
    context = run.context(work, step)
    results = await all_settled(
        [run.gate.call(call, context.at(f"tool-{number}"), why=reply.text) for number, call in enumerate(calls, 1)]
    )
    for call, result in zip(calls, results, strict=True):
        _keep_receipt(work, call, result)
    await escalations.out_of_scope(calls, results, step)
    window.add_calls(reply.text, calls, [result.text() for result in results])
    return sum(result.error_class == "repeated" for result in results)


def _keep_receipt(work: Assignment, request: ToolRequest, result: ToolResult) -> None:
    value = result.value if result.status == "ok" else None
    work.evidence.receipts.append(Receipt(request.name, request.arguments or {}, value, result.text()))


async def _check(work: Assignment, reply: ModelReply, run: RunScope) -> Verdict:
    text = reply.text.strip()
    if reply.finish == "length":
        return Verdict(False, text or None, prompts.CUT_OFF)
    if not text:
        return Verdict(False, None, prompts.EMPTY)
    value: Any = text
    guard = ""
    work.evidence.notes.clear()
    try:
        if work.output is not None:
            value = work.output.read(text)
        for guardrail in work.guardrails:
            guard = _name(guardrail)
            value = await _guard(guardrail, value, work, run)
    except (ValueError, Rejected) as problem:
        return Verdict(False, None, prompts.mend(str(problem)[:2000]), tuple(work.evidence.notes), guard)
    return Verdict(True, value, notes=tuple(work.evidence.notes))


async def _guard(guardrail: Guardrail, value: Any, work: Assignment, run: RunScope) -> Any:
    """Call a guardrail as a tool is called: a slow one holds up neither the event loop nor the deadline."""
    name = _name(guardrail)
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


def _name(guardrail: Guardrail) -> str:
    return str(getattr(guardrail, "__name__", "guardrail"))


async def _answer_now(route: Route, run: RunScope, code: str) -> Outcome:
    """Ask once more, without tools, for the best answer there is; what comes is at most `partial`."""
    work, window = route.work, route.window
    why = {"limit_turns": f"no accepted answer in {work.max_turns} turns", "oscillation": "the same calls repeated"}
    reason = why.get(code, code.replace("_", " "))
    window.add_note(prompts.ANSWER_NOW)
    run.allowance.grant_last_word(f"{work.path}/answer")
    try:
        reply = await _decide(route, run, "answer", tools=False)
    except LimitReached as limit:
        _stop_or_wait(limit, run)
        said = await _check(work, ModelReply(window.last_said()), run)
        if not said.accepted:
            return Outcome("failed", code, why=f"{reason}; {limit}")
        return Outcome("partial", code, said.value, why=f"{reason}; what it said last is taken", notes=said.notes)
    verdict = await _check(work, reply, run)
    if verdict.value is None:
        return Outcome("failed", code, why=f"{reason}; the last answer could not be used: {verdict.problem}")
    return Outcome("partial", code, verdict.value, why=reason, notes=verdict.notes)
