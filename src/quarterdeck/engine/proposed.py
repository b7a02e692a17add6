"""Carrying out what a run in shadow proposed: one call, once a person has approved it, in a run of its own."""

from __future__ import annotations

import asyncio
import os
from importlib.metadata import version
from typing import TYPE_CHECKING, Literal

from quarterdeck.engine.grants import grants_of
from quarterdeck.engine.open_run import MAX_SECONDS, GateResult
from quarterdeck.engine.output import plain
from quarterdeck.engine.parts import load_parts
from quarterdeck.engine.recorded import crew_of
from quarterdeck.engine.words import origins_of
from quarterdeck.errors import JournalError, RunBusy, Waiting
from quarterdeck.governance.dial import dial_of, lowest
from quarterdeck.governance.gate import Gate
from quarterdeck.governance.notify import Notifier
from quarterdeck.governance.proposals import OnApproval, refuse
from quarterdeck.governance.undo import refuse_undone
from quarterdeck.journal.allowance import Allowance
from quarterdeck.journal.call import CallContext
from quarterdeck.journal.events import ApprovalAnswered, RunEnded, RunStatus, RunWaiting
from quarterdeck.journal.fingerprint import fingerprint
from quarterdeck.journal.ledger import Ledger
from quarterdeck.journal.run import RunJournal
from quarterdeck.journal.signature import signer_of
from quarterdeck.models.port import ToolRequest
from quarterdeck.spec.load import load_governance
from quarterdeck.tools.execution import Executor
from quarterdeck.tools.roots import root_folders
from quarterdeck.tools.secrets import Masker, referenced

if TYPE_CHECKING:
    from quarterdeck.engine.scope import Parts
    from quarterdeck.governance.proposals import Proposal
    from quarterdeck.journal.store import Store
    from quarterdeck.spec.crew import CrewSpec
    from quarterdeck.spec.workspace import Workspace

ENDS: dict[str, RunStatus] = {"ok": "succeeded", "unverified": "partial"}
"""How a run ends by the status of its one call; all others fail."""


async def carry_out(
    proposal: Proposal, store: Store, workspace: Workspace, *, by: str = "", reason: str = ""
) -> GateResult:
    """Approve a proposal and make its call through the gate: once, with exactly the arguments that were recorded.

    The call is a run of its own, whose id is that of the proposal: so no two processes make it, and a process that
    dies during it leaves a run that this takes up again. It is judged by the policy of today.

    Args:
        proposal: As it was shown to a person.
        store: Where its run is kept.
        workspace: Where the tools stand.
        by: Who approves it.
        reason: Why.

    Returns:
        What became of it; `waiting` when a person has to answer about something else first.

    Raises:
        JournalError: It cannot be carried out, or was already.
        RunBusy: Another process is carrying it out.
        SpecError: The workspace has not what the crew needs.
    """
    if not proposal.carried_out:
        refuse(proposal)
    crew = _crew(proposal)
    refuse_undone(store, proposal.run.id)
    masker = Masker(names=referenced(folder / "config" for folder in workspace.folders))
    store.writer.mask = masker.mask
    store.writer.signer = signer_of(load_governance(workspace).audit, os.environ)
    parts, executor = load_parts(crew, workspace), Executor()
    try:
        async with await _take(proposal, store) as journal:
            await _record(journal, proposal, "approved", by, reason)
            return await _call(proposal, crew, journal, parts, executor, workspace, masker)
    finally:
        await parts.close()
        executor.close()


async def reject(proposal: Proposal, store: Store, *, by: str = "", reason: str = "") -> None:
    """Take a proposal off the list for good; nothing is called. Arguments and errors as of `carry_out`."""
    async with await _take(proposal, store) as journal:
        await _record(journal, proposal, "rejected", by, reason)
        await journal.end(RunEnded(status="cancelled", code="rejected", evidence=f"Rejected: {reason}"[:4000]))


def _crew(proposal: Proposal) -> CrewSpec:
    """Return the crew that proposed a call; the functions of a program are its own to call."""
    if "gate" in proposal.run.spec:
        raise JournalError(
            f"{proposal.asked.tool} is a function of the program that proposed this call, and is not known here. "
            "Nothing was done. Make the call there, with a new Gate, once dial and trial let it act.",
            code="changed",
        )
    return crew_of(proposal.run)


async def _take(proposal: Proposal, store: Store) -> RunJournal:
    """Begin the run of a proposal, or take up the one that another process left.

    Its id lets it begin once: the database takes each id once only.
    """
    asked, before = proposal.asked, proposal.run
    spec = {"proposal": {"run": before.id, "path": asked.path, "tool": asked.tool}}
    try:
        return await RunJournal.start(
            store, crew=before.crew, spec=spec, inputs=before.inputs, spec_hash=fingerprint(spec),
            version=version("quarterdeck"), run_id=asked.id, tenant=before.tenant,
        )  # fmt: skip
    except RunBusy:
        begun = await asyncio.to_thread(store.run, asked.id)
        if begun.status not in ("running", "waiting"):
            raise JournalError(
                f"{asked.id} was answered already: {begun.status}. See: quarterdeck runs show {asked.id}", code="ended"
            ) from None
        return await RunJournal.resume(store, asked.id)


async def _record(
    journal: RunJournal, proposal: Proposal, said: Literal["approved", "rejected"], by: str, reason: str
) -> None:
    """Record question and answer as for any call, so that the gate finds them; what is recorded stays."""
    asked = proposal.asked
    if not journal.dialogue.asked(asked.path):
        await journal.append(asked)
        journal.dialogue.add(asked)
    before = journal.dialogue.answer_to(asked)
    if before is not None:
        if before.answer != said:
            raise JournalError(f"{asked.id} was {before.answer} already by {before.by or 'a person'}.", code="ended")
        return
    answer = ApprovalAnswered(
        path=asked.path,
        task=asked.task,
        agent=asked.agent,
        id=asked.id,
        answer=said,
        arguments_hash=asked.arguments_hash,
        by=by[:200],
        reason=reason[:4000],
    )
    await journal.append(answer)
    journal.dialogue.add(answer)


async def _call(
    proposal: Proposal,
    crew: CrewSpec,
    journal: RunJournal,
    parts: Parts,
    executor: Executor,
    workspace: Workspace,
    masker: Masker,
) -> GateResult:
    asked, governance = proposal.asked, load_governance(workspace)
    dial = lowest(dial_of(governance, os.environ, ""), crew.autonomy, proposal.run.spec.get("autonomy"))
    notifier = Notifier(governance.notify, journal, mask=masker.mask)
    journal.listen(notifier)
    gate = Gate(
        parts.tools,
        grants_of(crew),
        executor,
        run_id=journal.id,
        inputs=journal.inputs,
        folder=workspace.runs / journal.id,
        roots=root_folders(governance.roots, workspace.root),
        services=parts.services,
        approval_hours=governance.approvals.expires_hours,
        policy=OnApproval(governance, asked.tool, crew=crew.crew, autonomy=dial, own=crew.autonomy),
        teller=notifier,
        mask=masker.data,
        origins=origins_of(crew, journal.inputs),
    )
    allowance = Allowance(crew.limits, journal.totals, Ledger(journal, crew.limits))
    deadline = asyncio.get_running_loop().time() + MAX_SECONDS
    context = CallContext(journal, allowance, asked.path, asked.task, asked.agent, deadline)
    try:
        result = await gate.call(ToolRequest("", asked.tool, dict(asked.arguments)), context, why=asked.why)
    except Waiting as waiting:
        await journal.wait(RunWaiting(code=waiting.code, evidence=str(waiting)[:4000]))
        return GateResult("waiting", str(waiting), waiting.code)
    finally:
        await notifier.settle()
    evidence = f"{asked.tool}: {result.status}" + (f": {result.value}" if result.status != "ok" else "")
    await journal.end(
        RunEnded(
            status=ENDS.get(result.status, "failed"),
            code="approved" if result.status == "ok" else result.error_class or result.status,
            evidence=evidence[:4000],
            output=plain(result.value),
        )
    )
    return GateResult(result.status, result.value, result.error_class, asked.id)
