"""The run of a gate outside a crew: taken up with the first call, let go whenever a person has to answer."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, Literal

from quarterdeck.errors import Cancelled, JournalError, Waiting
from quarterdeck.governance.breaker import tool_circuits
from quarterdeck.governance.dial import dial_of, lowest
from quarterdeck.governance.gate import Gate as InnerGate
from quarterdeck.governance.monitor import Monitor
from quarterdeck.governance.notify import Notifier
from quarterdeck.governance.policy import Policy
from quarterdeck.governance.result import ToolResult
from quarterdeck.governance.trials import Trials
from quarterdeck.governance.undo import refuse_undone
from quarterdeck.journal.allowance import Allowance
from quarterdeck.journal.call import CallContext
from quarterdeck.journal.events import RunEnded, RunWaiting, ToolCalled, ToolStatus
from quarterdeck.journal.fingerprint import fingerprint
from quarterdeck.journal.ledger import Ledger
from quarterdeck.journal.run import RunJournal
from quarterdeck.journal.signature import signer_of
from quarterdeck.journal.store import Store
from quarterdeck.models.port import ToolRequest
from quarterdeck.spec.crew import Limits
from quarterdeck.spec.governance import GovernanceConfig
from quarterdeck.spec.workspace import Workspace
from quarterdeck.tools.execution import Executor
from quarterdeck.tools.roots import root_folders
from quarterdeck.tools.secrets import Masker, referenced
from quarterdeck.tools.tool import Tool

CREW = "gate"
MAX_SECONDS = 86_400.0
"""The longest that a call may take; a tool's own timeout is shorter."""
GOES_ON = ("running", "waiting", "failed")


@dataclass(frozen=True, slots=True)
class GateResult:
    """What became of a call.

    Attributes:
        status: That of a tool call of a crew (`ok`, `error`, `denied`, `shadowed`, `unverified`, `unknown`), or
            `waiting`: nothing was done, and a person has to answer first.
        value: What the tool returned, as JSON-able and bounded data; for all but `ok` the text that says why.
        error_class: Why it did not succeed, such as `arguments`; empty when it did.
        approval: The id of the question that a person has to answer, or under which the call was made; empty for none.
    """

    status: ToolStatus | Literal["waiting"]
    value: Any
    error_class: str = ""
    approval: str = ""

    def text(self) -> str:
        """Return the result as a model reads it."""
        if self.status == "waiting":
            return str(self.value)
        return ToolResult(self.status, self.value, self.error_class).text()


class OpenRun:
    """One run in the journal, for calls that come from any program; belongs to the loop on which it is used.

    What a run has recorded is looked up only by whoever takes it anew. So after a question, or a call that broke off,
    the run is let go as soon as no call is at work, and the next call takes it up again: no half of a call is done
    twice, and an answer is recorded at once, by whoever gives it.

    Args:
        tools: By name; every one is granted.
        governance: What the operator lets tools do.
        workspace: Where `runs/` and the operator's folders stand.
        database_url: The journal's database.
        autonomy: Lowers the dial; empty for nothing.
        inputs: What the user asked for.
        run_id: A run to go on with; empty for a new one.
        max_calls: So many calls may be made in all.

    Attributes:
        run_id: The run; empty before the first call of a new one.
    """

    def __init__(
        self,
        tools: Mapping[str, Tool],
        *,
        governance: GovernanceConfig,
        workspace: Workspace,
        database_url: str,
        autonomy: str,
        inputs: Mapping[str, Any],
        run_id: str,
        max_calls: int,
    ) -> None:
        self.run_id = run_id
        self._tools = tools
        self._governance = governance
        self._workspace = workspace
        self._database_url = database_url
        self._autonomy = autonomy
        self._masker = Masker(names=referenced(folder / "config" for folder in workspace.folders))
        self._inputs: dict[str, Any] = self._masker.data(dict(inputs))
        self._limits = Limits(tool_calls=max_calls)
        self._circuits = tool_circuits()
        self._executor = Executor()
        self._opening = asyncio.Lock()
        self._store: Store | None = None
        self._run: _Run | None = None
        self._first: dict[str, int] = {}
        self._done: set[str] = set()
        self._in_flight: dict[str, asyncio.Task[Any] | None] = {}
        self._unsettled: dict[str, GateResult] = {}

    async def call(self, request: ToolRequest, digest: str, origins: dict[str, str], why: str) -> GateResult:
        """Put a call through the gate.

        Args:
            request: As the program proposes it.
            digest: Identifies it among the calls of the run.
            origins: What the program knows of its arguments.
            why: What the model said with it.

        Raises:
            LimitReached: All calls of the run are used.
            Cancelled: Somebody cancelled the run.
            JournalError: It could not be recorded.
        """
        async with self._opening:
            run = self._run = self._run or await self._open()
            path = self._path(digest, run)
            if path in self._unsettled:
                return self._unsettled[path]
            self._in_flight[path] = asyncio.current_task()
        try:
            if run.journal.cancel_requested:
                raise asyncio.CancelledError
            result = await run.gate.call(request, run.context(path), why=why, origins=origins)
            self._done.add(path)
            return GateResult(result.status, result.value, result.error_class, _question(run, path))
        except Waiting as waiting:
            text = f"{waiting} Nothing was done; the same call goes on once a person has approved it."
            self._unsettled[path] = GateResult("waiting", text, waiting.code, _question(run, path))
            return self._unsettled[path]
        except BaseException as error:
            broken = "An earlier call like this broke off, and others are under way. Try again when they have ended."
            self._unsettled[path] = GateResult("unknown", broken, "unknown_effect")
            if isinstance(error, asyncio.CancelledError) and run.journal.cancel_requested:
                raise Cancelled(f"Run {run.journal.id} of a gate was cancelled; nothing more of it is done.") from None
            raise
        finally:
            del self._in_flight[path]
            async with self._opening:
                if self._unsettled and not self._in_flight and self._run is run:
                    await self._let_go(run)

    def _path(self, digest: str, run: _Run) -> str:
        """Return where a call stands: the first place of this very call that has no result and is not at work."""
        place = f"{CREW}/turn-{digest}"
        number = self._first.get(digest, 1)
        while (path := f"{place}-{number}") in self._done or run.journal.recorded(ToolCalled, path) is not None:
            self._done.discard(path)
            number += 1
            self._first[digest] = number
        while (path := f"{place}-{number}") in self._in_flight:
            number += 1
        return path

    async def _open(self) -> _Run:
        if self._store is None:
            self._store = Store.open(self._database_url)
            self._store.writer.mask = self._masker.mask
            self._store.writer.signer = signer_of(self._governance.audit, os.environ)
        if self.run_id:
            journal, dial = await self._take_up(self._store, self.run_id)
        else:
            dial = dial_of(self._governance, os.environ, self._autonomy)
            spec = {"gate": {"tools": sorted(self._tools)}, "autonomy": dial}
            journal = await RunJournal.start(
                self._store, crew=CREW, spec=spec, inputs=self._inputs, spec_hash=fingerprint(spec),
                version=version("quarterdeck"),
            )  # fmt: skip
        self.run_id = journal.id
        journal.on_cancel(self._stop)
        notifier = Notifier(self._governance.notify, journal, mask=self._masker.mask)
        journal.listen(notifier)
        gate = InnerGate(
            self._tools,
            lambda _: frozenset(self._tools),
            self._executor,
            run_id=journal.id,
            inputs=journal.inputs,
            folder=self._workspace.runs / journal.id,
            roots=root_folders(self._governance.roots, self._workspace.root),
            approval_hours=self._governance.approvals.expires_hours,
            policy=Policy(self._governance, crew=CREW, autonomy=dial),
            trials=Trials(self._governance.trial.verified_calls),
            teller=notifier,
            monitor=Monitor(self._governance.monitor, journal, notifier),
            mask=self._masker.data,
            circuits=self._circuits,
        )
        return _Run(journal, gate, notifier, Allowance(self._limits, journal.totals, Ledger(journal, self._limits)))

    async def _take_up(self, store: Store, run_id: str) -> tuple[RunJournal, Any]:
        record = await asyncio.to_thread(store.run, run_id)
        if "gate" not in record.spec:
            raise JournalError(
                f"Run {record.id} is one of the crew {record.crew}, not of a gate. Go on with it by: "
                f"quarterdeck runs resume {record.id}",
                code="changed",
            )
        if record.status not in GOES_ON:
            raise JournalError(f"Run {record.id} of a gate has ended: {record.status}. Make a new one.", code="ended")
        refuse_undone(store, record.id)
        dial = lowest(dial_of(self._governance, os.environ, self._autonomy), record.spec["autonomy"])
        return await RunJournal.resume(store, record.id), dial

    def _stop(self) -> None:
        for task in self._in_flight.values():
            if task is not None:
                task.cancel()

    async def _let_go(self, run: _Run) -> None:
        """Let the run go: as waiting where a person has to answer, else as it is."""
        waits = next((one for one in self._unsettled.values() if one.status == "waiting"), None)
        self._run = None
        self._unsettled.clear()
        try:
            if run.journal.cancel_requested:
                await run.journal.end(RunEnded(status="cancelled", code="cancelled", evidence="Cancelled by request."))
            elif waits is not None:
                await run.journal.wait(RunWaiting(code=waits.error_class, evidence=str(waits.value)[:4000]))
            await run.notifier.settle()
        finally:
            await run.journal.close()

    async def finish(self, error: BaseException | None) -> None:
        """Cancel what is at work, end the run unless a person still has to answer, and free everything.

        Args:
            error: What went wrong in the program; None for nothing.
        """
        self._stop()
        at_work = [task for task in self._in_flight.values() if task is not None]
        await asyncio.gather(*at_work, return_exceptions=True)
        async with self._opening:
            run, self._run = self._run, None
            try:
                if run is not None:
                    await self._end(run, error)
            finally:
                self._executor.close()
                if self._store is not None:
                    self._store.close()

    async def _end(self, run: _Run, error: BaseException | None) -> None:
        try:
            await run.notifier.settle()
            if run.journal.cancel_requested:
                await run.journal.end(RunEnded(status="cancelled", code="cancelled", evidence="Cancelled by request."))
            elif run.journal.dialogue.open:
                evidence = "A person has to answer; the program goes on with this run_id."
                await run.journal.wait(RunWaiting(code="approval", evidence=evidence))
            elif error is not None:
                evidence = f"The program failed: {type(error).__name__}"
                await run.journal.end(RunEnded(status="failed", code="error", evidence=evidence))
            else:
                await run.journal.end(RunEnded(status="succeeded", code="closed", evidence="The program closed it."))
        finally:
            await run.journal.close()


@dataclass(frozen=True, slots=True)
class _Run:
    """The gate's run while this process holds it."""

    journal: RunJournal
    gate: InnerGate
    notifier: Notifier
    allowance: Allowance

    def context(self, path: str) -> CallContext:
        deadline = asyncio.get_running_loop().time() + MAX_SECONDS
        return CallContext(self.journal, self.allowance, path, CREW, "", deadline)


def _question(run: _Run, path: str) -> str:
    """Return the id of the last question at a call or within it; empty for none."""
    dialogue = run.journal.dialogue
    asked = [*dialogue.open, *(one for one, _ in dialogue.approvals)]
    return next((one.id for one in asked if one.path == path or one.path.startswith(f"{path}/")), "")
