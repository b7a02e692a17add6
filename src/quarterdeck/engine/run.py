"""One run from start to end: put its parts together, run its tasks, say how it ended."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import ChainMap
from collections.abc import MutableMapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from quarterdeck.engine.assign import DELEGATE
from quarterdeck.engine.grants import grants_of
from quarterdeck.engine.hierarchical import Delegation
from quarterdeck.engine.longterm import session_of
from quarterdeck.engine.output import plain
from quarterdeck.engine.result import Cost, Result, TaskResult
from quarterdeck.engine.route import models_of
from quarterdeck.engine.scheduler import run_tasks
from quarterdeck.engine.scope import RunScope
from quarterdeck.engine.words import origins_of
from quarterdeck.errors import JournalError, LimitReached, QuarterdeckError, Waiting
from quarterdeck.governance.gate import Gate
from quarterdeck.governance.monitor import Monitor
from quarterdeck.governance.notify import Notifier
from quarterdeck.governance.policy import Policy
from quarterdeck.governance.trials import Trials
from quarterdeck.journal.allowance import Allowance
from quarterdeck.journal.events import RunEnded, RunOpened, RunStatus, RunWaiting
from quarterdeck.journal.ledger import Ledger

if TYPE_CHECKING:
    from quarterdeck.engine.equipment import Equipment
    from quarterdeck.journal.run import RunJournal
    from quarterdeck.memory.session import Session
    from quarterdeck.spec.crew import Autonomy, CrewSpec
    from quarterdeck.tools.tool import Tool

MAX_FILES_LISTED = 1000
OUT_OF_BUDGET = ("limit_usd", "limit_tokens")


async def carry_out(
    spec: CrewSpec, inputs: dict[str, Any], model: str, journal: RunJournal, equipment: Equipment
) -> Result:
    """Carry out a run whose journal is open, from its start or from where it stopped.

    Args:
        spec: The crew; its `autonomy` is where the run's dial stands.
        inputs: Checked inputs.
        model: Overrides the models that agents name; empty for none.
        journal: The run's journal; this process holds the run.
        equipment: What the crew's runs share.

    Returns:
        How it ended.

    Raises:
        JournalError: What happened could not be recorded; the run can be resumed.
        asyncio.CancelledError: The caller cancelled; the run can be resumed.
    """
    started = time.monotonic()
    run = _scope(spec, inputs, model, journal, equipment)
    journal.publish(RunOpened(run_id=journal.id, crew=spec.crew, models=_models(run)))
    status, code, evidence = await _run_until_end(run)
    report = _report(run)
    output = report.output if report else None
    await _remember(run, status, code, evidence, report.text if report else "")
    with contextlib.suppress(asyncio.CancelledError):
        await run.notifier.settle()
        if status == "waiting":
            await journal.wait(RunWaiting(code=code, evidence=evidence[:4000]))
            await run.notifier.settle()
        else:
            await journal.end(RunEnded(status=status, code=code, evidence=evidence[:4000], output=plain(output)))
    used = journal.totals
    return Result(
        run_id=journal.id,
        status=status,
        code=code,
        evidence=evidence,
        output=output,
        text=report.text if report else "",
        files=_files(run.folder),
        tasks=dict(run.results),
        model_calls=used.model_calls,
        tool_calls=used.tool_calls,
        tokens=used.tokens,
        cost=Cost(used.cost_usd),
        seconds=time.monotonic() - started,
        degraded=used.degraded_calls > 0,
    )


def _own_dial(journal: RunJournal) -> Autonomy | None:
    """Return where the crew's own file puts the dial: in `spec` it stands where it stands for this run."""
    declared: dict[str, Any] = journal.spec.get("crew") or {}
    return declared.get("autonomy")


def _scope(spec: CrewSpec, inputs: dict[str, Any], model: str, journal: RunJournal, equipment: Equipment) -> RunScope:
    own_tools: dict[str, Tool] = {}
    tools = ChainMap(own_tools, cast(MutableMapping[str, "Tool"], equipment.parts.tools))
    folder = equipment.runs / journal.id
    notifier = Notifier(equipment.governance.notify, journal, mask=equipment.masker.mask)
    if notifier:
        journal.listen(notifier)
    journal.store.writer.signer = equipment.signer
    gate = Gate(
        tools,
        grants_of(spec),
        equipment.executor,
        run_id=journal.id,
        inputs=inputs,
        folder=folder,
        roots=equipment.roots,
        services=equipment.parts.services,
        least_confidence=spec.scope.escalate_below,
        approval_hours=equipment.governance.approvals.expires_hours,
        teller=notifier,
        monitor=Monitor(equipment.governance.monitor, journal, notifier),
        mask=equipment.masker.data,
        circuits=equipment.tool_circuits,
        origins=origins_of(spec, inputs),
        policy=Policy(equipment.governance, crew=spec.crew, autonomy=spec.autonomy, own=_own_dial(journal)),
        trials=Trials(equipment.governance.trial.verified_calls),
        session=session_of(equipment.profile, journal),
        reused=equipment.profile.session.tools if equipment.profile.session else (),
    )
    run = RunScope(
        spec=spec,
        inputs=inputs,
        journal=journal,
        allowance=Allowance(spec.limits, journal.totals, Ledger(journal, spec.limits, equipment.budgets)),
        port=equipment.port,
        gate=gate,
        catalog=equipment.catalog,
        crewai=equipment.crewai,
        parts=equipment.parts,
        tools=tools,
        executor=equipment.executor,
        deadline=asyncio.get_running_loop().time() + spec.limits.seconds,
        model=model,
        folder=folder,
        notifier=notifier,
        profile=equipment.profile,
    )
    run.memories = equipment.longterm.memories(run)
    gate.knowledge = equipment.lookups.of(run)
    if spec.hierarchical is not None:
        delegation = Delegation(run, spec.hierarchical)
        own_tools[DELEGATE] = delegation.tool()
        if spec.hierarchical.ask_everyone:
            run.checks[spec.hierarchical.manager] = delegation.everyone_was_asked
    return run


async def _remember(run: RunScope, status: RunStatus, code: str, evidence: str, text: str) -> None:
    """Leave what the run found and how it ended, unless it only waits."""
    session = run.gate.session
    if session is not None:
        await (session.close() if status == "waiting" else _ended(session))
    if run.memories is not None and status != "waiting":
        await run.memories.offer(run.results)
        run.memories.run_ended(status, code, evidence, text, run.results)


async def _ended(session: Session) -> None:
    await session.clear()
    await session.close()


def _models(run: RunScope) -> tuple[str, ...]:
    return tuple(dict.fromkeys(model.label for model in models_of(run.spec, run.catalog, run.model)))


async def _run_until_end(run: RunScope) -> tuple[RunStatus, str, str]:
    """Run the tasks and return status, code and evidence; a cancel by another process ends them at once."""
    work = asyncio.ensure_future(run_tasks(run))
    run.journal.on_cancel(partial(_stop, work))
    try:
        async with asyncio.timeout_at(run.deadline):
            await work
    except asyncio.CancelledError:
        if not run.journal.cancel_requested:
            raise
        return "cancelled", "cancelled", "Cancelled by request."
    except TimeoutError:
        return _out_of_time(run, f"The run's {run.spec.limits.seconds:g} s are up (limits.seconds).")
    except JournalError:
        raise
    except LimitReached as limit:
        if limit.limit == "seconds":
            return _out_of_time(run, str(limit))
        return "failed", limit.code, str(limit)
    except Waiting as waiting:
        return "waiting", waiting.code, str(waiting)
    except QuarterdeckError as error:
        return "failed", error.code, str(error)
    return _verdict(list(run.results.values()))


def _stop(work: asyncio.Future[None]) -> None:
    work.cancel()


def _out_of_time(run: RunScope, why: str) -> tuple[RunStatus, str, str]:
    has_output = any(result.output is not None for result in run.results.values())
    return ("partial" if has_output else "failed"), "limit_seconds", why


def _verdict(results: list[TaskResult]) -> tuple[RunStatus, str, str]:
    """Judge the run by its tasks, never by what its text looks like."""
    worst: tuple[RunStatus, RunStatus] = ("failed", "partial")
    for status in worst:
        for result in results:
            if result.status == status:
                ended: RunStatus = "partial" if _only_out_of_budget(results) else status
                return ended, result.code, f"{result.name}: {result.why or result.code}"
    return "succeeded", "goal_met", f"{sum(result.status == 'succeeded' for result in results)} tasks accepted"


def _only_out_of_budget(results: list[TaskResult]) -> bool:
    """Return whether nothing but money or tokens was missing, and there is an answer to end with."""
    failed = [result for result in results if result.status == "failed"]
    return all(result.code in OUT_OF_BUDGET for result in failed) and any(_has_output(result) for result in results)


def _has_output(result: TaskResult) -> bool:
    return result.output is not None and result.status in ("succeeded", "partial")


def _report(run: RunScope) -> TaskResult | None:
    """Return the result that stands for the run: that of its report, else the last there is if the budget ended it."""
    report = run.results.get(run.spec.report or next(reversed(run.spec.tasks)))
    if report is not None and _has_output(report):
        return report
    results = list(run.results.values())
    if any(result.code in OUT_OF_BUDGET for result in results) and _only_out_of_budget(results):
        return next(result for result in reversed(results) if _has_output(result))
    return report


def _files(folder: Path) -> tuple[str, ...]:
    if not folder.is_dir():
        return ()
    return tuple(sorted(str(path) for path in folder.iterdir() if path.is_file()))[:MAX_FILES_LISTED]
