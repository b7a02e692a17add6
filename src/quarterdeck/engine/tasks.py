"""One task of a run: whether it runs at all, once or for each item, by an agent or a function, and its record."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any

from quarterdeck.engine.assign import assignment_of, evidence_for
from quarterdeck.engine.assignment import Outcome
from quarterdeck.engine.concurrency import side_by_side
from quarterdeck.engine.output import plain, shown
from quarterdeck.engine.remember import given
from quarterdeck.engine.result import TaskResult
from quarterdeck.errors import Cancelled, JournalError, LimitReached, QuarterdeckError, Waiting
from quarterdeck.journal.events import Decision, TaskEnded, TaskStarted, TaskStatus
from quarterdeck.journal.record import to_json
from quarterdeck.models.port import ToolRequest
from quarterdeck.spec.conditions import Condition, lookup
from quarterdeck.spec.template import as_text
from quarterdeck.tools.tool import Tool

if TYPE_CHECKING:
    from quarterdeck.engine.scope import RunScope
    from quarterdeck.spec.crew import TaskSpec

MAX_ITEMS = 100


async def perform_task(name: str, run: RunScope) -> TaskResult:
    """Carry out a task, or take its result from the journal when it has ended before.

    Args:
        name: The task.
        run: The run.

    Returns:
        Its result; a failure that belongs to the task is a result too.

    Raises:
        LimitReached: The run's time is up.
        Cancelled: The run was cancelled.
        Waiting: A person has to answer before the run can go on.
        JournalError: Its end could not be recorded.
    """
    task = run.spec.tasks[name]
    agent = agent_of(name, run)
    run.rounds[name] = run.rounds.get(name, 0) + 1
    path = name if run.rounds[name] == 1 else f"{name}.{run.rounds[name]}"
    ended = run.journal.ended_task(path)
    if ended is not None and ended.status != "failed":
        return _restored(name, ended, run)
    run.journal.note(TaskStarted(path=path, task=name, agent=agent))
    started = time.monotonic()
    tokens = run.allowance.tokens
    try:
        result = await _work_on(name, agent, path, task, run)
        _must_be_json(result)
        await _save(path, name, result, task, run)
    except (Cancelled, JournalError, Waiting):
        raise
    except QuarterdeckError as error:
        if isinstance(error, LimitReached) and error.limit == "seconds":
            raise
        result = TaskResult(name, agent, "failed", error.code, why=str(error))
    ended = TaskEnded(
        path=path,
        task=name,
        agent=agent,
        status=result.status,
        code=result.code,
        output=plain(result.output),
        text=result.text,
        notes=result.notes,
        why=result.why,
        seconds=round(time.monotonic() - started, 3),
        tokens=run.allowance.tokens - tokens,
    )
    if run.memories is not None:
        run.memories.task_ended(ended)
    if task.run:
        await run.journal.append(ended)
    else:  # all its calls are in the journal: its result can be made again
        run.journal.note(ended)
    return result


def agent_of(name: str, run: RunScope) -> str:
    """Return the agent of a task: the one it names, else the manager; empty for a `run:` task."""
    task = run.spec.tasks[name]
    if task.agent or task.run:
        return task.agent or ""
    return run.spec.hierarchical.manager if run.spec.hierarchical else ""


async def _work_on(name: str, agent: str, path: str, task: TaskSpec, run: RunScope) -> TaskResult:
    if task.when is not None and not Condition.parse(task.when).holds(run.values()):
        await run.journal.append(Decision(path=path, task=name, what="skipped", why=f"when: {task.when}"))
        return TaskResult(name, agent, "skipped", "condition")
    if task.run is not None:
        return await _call_function(name, path, task, run)
    if task.for_each is not None:
        return await _each_item(name, agent, path, task, run)
    outcome = await _assign(name, agent, path, run, None)
    return TaskResult(
        name, agent, outcome.status, outcome.code, outcome.value, shown(outcome.value), outcome.notes, outcome.why
    )


async def _assign(name: str, agent: str, path: str, run: RunScope, item: Any) -> Outcome:
    work = assignment_of(name, agent, path, run, item)
    return await run.crewai.execute(work, run)


async def _each_item(name: str, agent: str, path: str, task: TaskSpec, run: RunScope) -> TaskResult:
    """Run the task once an item, side by side; in a later round only for the items that the loop names."""
    items = lookup(task.for_each or "", run.values())
    if not isinstance(items, list):
        raise QuarterdeckError(f"{name}: for_each: {task.for_each} is not a list in this run.", code="for_each")
    every = list({as_text(item): item for item in items if item in run.redo.get(name, items)}.values())
    wanted = every[:MAX_ITEMS]
    limit = asyncio.Semaphore(run.spec.concurrency)

    async def one(number: int, item: Any) -> Outcome:
        async with limit:
            return await _assign(name, agent, f"{path}/item-{number}", run, item)

    parts: list[Coroutine[Any, Any, Outcome]] = [one(number, item) for number, item in enumerate(wanted, 1)]
    outcomes = await side_by_side(parts) if parts else []
    before = run.results[name].output if name in run.results else []
    kept = {as_text(entry["item"]): entry for entry in before or []}
    for item, outcome in zip(wanted, outcomes, strict=True):
        kept[as_text(item)] = {"item": item, "output": outcome.value}
    output = [kept[as_text(item)] for item in items if as_text(item) in kept]
    failed = [outcome for outcome in outcomes if outcome.status == "failed"]
    short = [outcome for outcome in outcomes if outcome.status != "succeeded"]
    notes = tuple(note for outcome in outcomes for note in outcome.notes)
    if len(every) > len(wanted):
        notes = (*notes, f"only the first {MAX_ITEMS} of {len(every)} items were done")
    if outcomes and len(failed) == len(outcomes):
        return TaskResult(name, agent, "failed", failed[0].code, output, "", notes, failed[0].why)
    status: TaskStatus = "partial" if short else "succeeded"
    why = f"{len(short)} of {len(outcomes)} items: {short[0].why}" if short else ""
    code = short[0].code if short else "goal_met"
    return TaskResult(name, agent, status, code, output, shown(output), notes, why)


async def _call_function(name: str, path: str, task: TaskSpec, run: RunScope) -> TaskResult:
    """Make the task's output by code alone, under the same deadline as a tool."""
    evidence = evidence_for(name, run, None)
    evidence.memories = await given(run, path, name, "", None)
    function = run.parts.functions[name]
    tool = Tool(f"run:{name}", task.description, {}, function)
    left = run.deadline - asyncio.get_running_loop().time()
    try:
        value = await run.executor.execute(tool, {"evidence": evidence}, None, min(left, tool.timeout))
    except TimeoutError:
        raise QuarterdeckError(f"{name}: {task.run} did not finish in time.", code="function_timeout") from None
    except QuarterdeckError:
        raise
    except Exception as error:
        raise QuarterdeckError(
            f"{name}: {task.run} failed: {type(error).__name__}: {error}", code="function_failed"
        ) from error
    return TaskResult(name, "", "succeeded", "goal_met", value, shown(value), tuple(evidence.notes))


def _must_be_json(result: TaskResult) -> None:
    """Refuse what a function or guardrail made and the journal cannot carry: it would end the run, not the task."""
    try:
        to_json(plain(result.output))
    except JournalError as error:
        raise QuarterdeckError(
            f"{result.name}: its output cannot be recorded. {error}", code="output_not_json"
        ) from None


async def _save(path: str, name: str, result: TaskResult, task: TaskSpec, run: RunScope) -> None:
    if task.save_as is None or result.status not in ("succeeded", "partial"):
        return
    arguments = {"name": task.save_as, "content": result.text}
    request = ToolRequest("save", "output.write", arguments)
    written = await run.gate.call(request, run.context_at(f"{path}/save", name, ""))
    if written.status not in ("ok", "shadowed"):
        raise QuarterdeckError(f"{name}: {task.save_as} could not be written: {written.text()}", code="not_saved")


def _restored(name: str, ended: TaskEnded, run: RunScope) -> TaskResult:
    output = ended.output
    shape = run.parts.outputs.get(name)
    if shape is not None and output is not None:
        if run.spec.tasks[name].for_each is None:
            output = shape.restore(output)
        else:
            output = [
                {**entry, "output": None if entry["output"] is None else shape.restore(entry["output"])}
                for entry in output
            ]
    return TaskResult(name, ended.agent, ended.status, ended.code, output, ended.text, ended.notes, ended.why)
