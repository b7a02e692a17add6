"""The public face: load a crew, kick it off, watch it, take it up again."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from quarterdeck.engine.concurrency import run_sync, side_by_side
from quarterdeck.engine.equipment import Equipment, equip
from quarterdeck.engine.inputs import check_inputs
from quarterdeck.engine.limits import check_raise, checked_tenant, limits_of
from quarterdeck.engine.member import crewai_classes
from quarterdeck.engine.recorded import crew_of, own_version
from quarterdeck.engine.route import models_of
from quarterdeck.engine.run import carry_out
from quarterdeck.errors import JournalError
from quarterdeck.governance.undo import refuse_undone
from quarterdeck.journal.events import LimitsRaised, TextArrived
from quarterdeck.journal.fingerprint import fingerprint
from quarterdeck.journal.ledger import recover
from quarterdeck.journal.run import RunJournal
from quarterdeck.journal.store import Store, default_url
from quarterdeck.models.catalog import Catalog
from quarterdeck.spec.crew import CrewSpec
from quarterdeck.spec.load import load_crew
from quarterdeck.spec.workspace import Workspace
from quarterdeck.tools.secrets import Masker, referenced

if TYPE_CHECKING:
    from quarterdeck.engine.result import Result
    from quarterdeck.engine.scope import Parts
    from quarterdeck.journal.events import Event
    from quarterdeck.journal.record import RunRecord
    from quarterdeck.models.circuits import CircuitState
    from quarterdeck.spec.governance import Autonomy, GovernanceConfig

Listener = Callable[["Event"], None]
Outcome = TypeVar("Outcome")
UNREAD_TEXTS = 10_000


class Crew:
    """A declared crew, ready to run any number of times, also at once.

    Args:
        spec: The crew.
        workspace: Where its tools, models and runs stand; found from the current folder if not given.
        database_url: The journal's database; `QUARTERDECK_DATABASE_URL` or the workspace's own if not given.
        catalog: The models; those of `config/models.yaml` if not given.
        parts: What the crew's names stand for; loaded from the workspace if not given.
        tenant: On whose behalf its runs act, for budgets; `QUARTERDECK_TENANT` or nobody's if not given.
        user: For whom its runs act, for memory that is a user's own; `QUARTERDECK_USER` or nobody's if not given.
        governance: What the operator lets tools do; `config/governance.yaml` of the workspace if not given.
        autonomy: Lowers the dial for its runs: `shadow`, `low`, `medium` or `high`.
        fresh: Ask models anew: no answer is shared with another run, or kept.

    Raises:
        InputError: The tenant's name has characters that no tenant's has.
    """

    def __init__(
        self,
        spec: CrewSpec,
        *,
        workspace: Workspace | None = None,
        database_url: str | None = None,
        catalog: Catalog | None = None,
        parts: Parts | None = None,
        tenant: str = "",
        user: str = "",
        governance: GovernanceConfig | None = None,
        autonomy: str = "",
        fresh: bool = False,
    ) -> None:
        self.spec = spec
        self.fresh = fresh
        self.governance = governance
        self.autonomy = autonomy
        self.tenant = checked_tenant(tenant or os.environ.get("QUARTERDECK_TENANT", ""))
        self.user = checked_tenant(user or os.environ.get("QUARTERDECK_USER", ""))
        self.workspace = workspace or Workspace.find()
        self.database_url = database_url or default_url(self.workspace.root)
        self._catalog = catalog
        self._parts = parts
        self._equipment: Equipment | None = None
        self._store: Store | None = None
        self._written: tuple[CrewSpec, dict[str, Any], str] | None = None

    @classmethod
    def load(cls, name_or_path: str | Path, *, workspace: Workspace | None = None, **settings: Any) -> Crew:
        """Load a crew by its name or by the path of its file or CrewAI project; the rest as for `Crew`.

        Raises:
            SpecError: With every problem of the files.
        """
        workspace = workspace or Workspace.find()
        spec = load_crew(name_or_path, workspace)
        return cls(spec, workspace=workspace, **settings)

    @classmethod
    def from_crewai(cls, crew: Any, **settings: Any) -> Crew:
        """Take an existing `crewai.Crew`: its agents, tasks, tools, guardrails and process.

        Args:
            crew: The CrewAI object.
            settings: As for `Crew`.

        Raises:
            SpecError: It uses something that Quarterdeck does not run; says what.
        """
        from quarterdeck.engine.adopt import adopt

        spec, parts = adopt(crew)
        return cls(spec, parts=parts, **settings)

    def kickoff(self, inputs: Mapping[str, Any] | None = None, *, model: str = "") -> Result:
        """Run the crew to its end.

        Args:
            inputs: By name.
            model: A model or group that overrides what the agents name.

        Returns:
            How it ended; a run that failed is a result too.

        Raises:
            InputError: An input is missing or wrong; nothing was run.
            ModelError: A model cannot be used (no key, no weights); nothing was run.
            JournalError: The database cannot be used; what was recorded stays.
        """
        return run_sync(self._once(self.akickoff(inputs, model=model)))

    async def akickoff(
        self, inputs: Mapping[str, Any] | None = None, *, model: str = "", listener: Listener | None = None
    ) -> Result:
        """Run the crew to its end, without blocking. As `kickoff`.

        Args:
            inputs: By name.
            model: A model or group that overrides what the agents name.
            listener: Called with each event as it happens; must not block. Text is streamed to it as the model writes,
                unless it has an attribute `reads_text` that is false.
        """
        checked = self._masker.data(check_inputs(self.spec, inputs or {}, self.workspace.root))
        equipment = self._prepare(model)
        dial = equipment.dial(self.autonomy, self.spec.autonomy)
        declared, spec_hash = self._declared()
        journal = await RunJournal.start(
            self.store,
            crew=self.spec.crew,
            spec={"crew": declared, "model": model, "autonomy": dial, "user": self.user},
            inputs=checked,
            spec_hash=spec_hash,
            version=own_version(),
            tenant=self.tenant,
        )
        return await self._carry_out(checked, model, dial, journal, equipment, listener)

    @classmethod
    def of_run(
        cls,
        run_id: str,
        *,
        workspace: Workspace | None = None,
        database_url: str | None = None,
        catalog: Catalog | None = None,
    ) -> Crew:
        """Return the crew of a recorded run, as it was declared when the run started.

        Raises:
            RunNotFound: No such run.
            JournalError: It is no crew's.
        """
        workspace = workspace or Workspace.find()
        store = Store.open(database_url or default_url(workspace.root))
        try:
            spec = crew_of(store.run(run_id))
        finally:
            store.close()
        return cls(spec, workspace=workspace, database_url=database_url, catalog=catalog)

    async def aresume(
        self,
        run_id: str,
        *,
        usd: float | None = None,
        tokens: int | None = None,
        by: str = "",
        reason: str = "",
        listener: Listener | None = None,
    ) -> Result:
        """Take up a run of this crew that stopped; recorded calls are replayed and not made again.

        Args:
            run_id: The run, or a unique beginning of its id.
            usd: What the run may spend from now on, in USD: the whole of it, what is spent already included. Holds
                for each later resume too.
            tokens: As `usd`, in tokens.
            by: Who gives it that.
            reason: Why.
            listener: Called with each event as it happens; must not block.

        Raises:
            InputError: The run has used as much as that already; nothing was recorded.
            RunNotFound: No such run.
            RunBusy: Another process works on it.
            JournalError: It has ended, or this crew is declared otherwise than when the run started.
        """
        record = self.store.run(run_id)
        if record.status in ("succeeded", "partial"):
            raise JournalError(
                f"Run {record.id} has ended: {record.status}. Nothing to resume; "
                f"`quarterdeck runs fork {record.id} --at TASK` starts a new run from any of its steps.",
                code="ended",
            )
        refuse_undone(self.store, record.id)
        self._same_crew(record)
        raised = None
        if usd is not None or tokens is not None:
            check_raise(record, usd, tokens)
            raised = LimitsRaised(usd=usd, tokens=tokens, by=by, reason=reason)
        journal = await RunJournal.resume(self.store, record.id)
        return await self._take_up(journal, listener, raised)

    async def afork(
        self, run_id: str, at: str, changed: Mapping[str, Any] | None = None, *, listener: Listener | None = None
    ) -> Result:
        """Start a new run from a step of an old one, with changed inputs.

        Args:
            run_id: The old run; it stays as it is.
            at: The path to go on from, such as `review` or `gather/turn-3`; what stood before is taken over.
            changed: Inputs, or `task.field` of recorded outputs, to change.
            listener: Called with each event as it happens.

        Raises:
            JournalError: The run has no such path; lists those it has.
        """
        record = self.store.run(run_id)
        self._same_crew(record)
        changed = dict(changed or {})
        given = {name: value for name, value in changed.items() if name in self.spec.inputs}
        checked = self._masker.data(check_inputs(self.spec, {**record.inputs, **given}, self.workspace.root))
        changed.update({name: checked[name] for name in given})
        return await self._take_up(await RunJournal.fork(self.store, record.id, at, changed), listener)

    async def stream(self, inputs: Mapping[str, Any] | None = None, *, model: str = "") -> AsyncGenerator[Event, None]:
        """Run the crew and yield its typed events, each with its agent and task; the last is the run's end."""
        queue: asyncio.Queue[Event | None] = asyncio.Queue()  # as long as the limits let the run have events

        def put(event: Event) -> None:
            if queue.qsize() < UNREAD_TEXTS or not isinstance(event, TextArrived):
                queue.put_nowait(event)

        work = asyncio.ensure_future(self.akickoff(inputs, model=model, listener=put))
        work.add_done_callback(lambda _: queue.put_nowait(None))
        try:
            while (event := await queue.get()) is not None:
                yield event
            await work
        finally:
            work.cancel()
            await asyncio.gather(work, return_exceptions=True)

    def kickoff_for_each(self, inputs: Iterable[Mapping[str, Any]], *, model: str = "") -> list[Result]:
        """Run the crew once for each set of inputs, at most ten at once; results in the order of the inputs."""
        limit = asyncio.Semaphore(10)

        async def one(values: Mapping[str, Any]) -> Result:
            async with limit:
                return await self.akickoff(values, model=model)

        async def every() -> list[Result]:
            return await side_by_side([one(values) for values in inputs])

        return run_sync(self._once(every()))

    def resume(self, run_id: str, *, usd: float | None = None, tokens: int | None = None) -> Result:
        """Take up a run of this crew that stopped. As `aresume`."""
        return run_sync(self._once(self.aresume(run_id, usd=usd, tokens=tokens)))

    def fork(self, run_id: str, at: str, changed: Mapping[str, Any] | None = None) -> Result:
        """Start a new run from a step of an old one, with changed inputs. As `afork`."""
        return run_sync(self._once(self.afork(run_id, at, changed)))

    def member(self, agent: str) -> Any:
        """Return an agent of this crew as a CrewAI agent, for use in a plain `crewai.Crew`."""
        spec = self.spec.agents[agent]
        return crewai_classes().member_of(spec)

    @property
    def store(self) -> Store:
        """The journal's store, opened on first use.

        Raises:
            JournalError: The database cannot be used.
        """
        if self._store is None:
            self._store = Store.open(self.database_url)
            self._store.writer.mask = self._masker.mask
        return self._store

    def health(self) -> dict[str, CircuitState]:
        """Return how each model stands that was asked since the crew was made or closed, by name."""
        return {} if self._equipment is None else self._equipment.circuits.states()

    @cached_property
    def _masker(self) -> Masker:
        """Knows the secrets of this process that nothing may show."""
        return Masker(names=referenced(folder / "config" for folder in self.workspace.folders))

    async def aclose(self) -> None:
        """Free providers, threads and the database."""
        equipment, self._equipment = self._equipment, None
        if equipment is not None:
            await equipment.close()
        store, self._store = self._store, None
        if store is not None:
            store.close()

    async def _once(self, work: Coroutine[Any, Any, Outcome]) -> Outcome:
        """Await something and free what belongs to this event loop."""
        try:
            return await work
        finally:
            await self.aclose()

    def _declared(self) -> tuple[dict[str, Any], str]:
        """Return the crew as JSON-able data and what identifies it; made once, though a crew may run often."""
        if self._written is None or self._written[0] is not self.spec:
            declared = self.spec.model_dump(mode="json")
            self._written = (self.spec, declared, fingerprint(declared))
        return self._written[1:]

    def _prepare(self, model: str) -> Equipment:
        """Resolve everything that a run needs before it starts, so that a mistake costs nothing."""
        if self._equipment is None:
            self._equipment = equip(
                self.spec,
                self.workspace,
                parts=self._parts,
                catalog=self._catalog,
                governance=self.governance,
                masker=self._masker,
                fresh=self.fresh,
            )
        catalog = self._equipment.catalog
        for resolved in models_of(self.spec, catalog, model):
            catalog.provider(resolved)
        if self.spec.agents:
            crewai_classes()
        return self._equipment

    def _same_crew(self, record: RunRecord) -> None:
        if crew_of(record) != self.spec:
            raise JournalError(
                f"{self.spec.crew} is declared otherwise than when run {record.id} started. "
                f"`Crew.of_run` (or `quarterdeck runs resume {record.id}`) takes the crew from the journal.",
                code="changed",
            )

    async def _take_up(
        self, journal: RunJournal, listener: Listener | None, raised: LimitsRaised | None = None
    ) -> Result:
        try:
            record = self.store.run(journal.id)
            model = record.spec["model"]
            equipment = self._prepare(model)
            dial = equipment.dial(self.autonomy, self.spec.autonomy, record.spec.get("autonomy"))
            if raised is not None:
                await journal.append(raised)
            await recover(journal)
        except BaseException:
            await journal.close()
            raise
        return await self._carry_out(dict(record.inputs), model, dial, journal, equipment, listener, raised)

    async def _carry_out(
        self,
        inputs: dict[str, Any],
        model: str,
        dial: Autonomy,
        journal: RunJournal,
        equipment: Equipment,
        listener: Listener | None,
        raised: LimitsRaised | None = None,
    ) -> Result:
        if listener is not None:
            journal.listen(listener)
        limits = limits_of(self.spec.limits, journal.limits_raised(), raised)
        try:
            spec = self.spec.model_copy(update={"limits": limits, "autonomy": dial})
            return await carry_out(spec, inputs, model, journal, equipment)
        finally:
            await journal.close()
