"""What all runs of a crew share: its parts, its models with the port to them, and what governs its tools."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from quarterdeck.engine.longterm import Longterm, usable
from quarterdeck.engine.lookup import Lookups
from quarterdeck.engine.member import CrewAI
from quarterdeck.engine.parts import load_parts
from quarterdeck.engine.planned import perform
from quarterdeck.governance.breaker import tool_circuits
from quarterdeck.governance.dial import dial_of, lowest
from quarterdeck.journal.signature import signer_of
from quarterdeck.models.catalog import Catalog
from quarterdeck.models.circuits import Circuits
from quarterdeck.models.redact import Redactor
from quarterdeck.models.stack import build_port
from quarterdeck.spec.governance import GovernanceConfig
from quarterdeck.spec.load import load_governance, load_limits, load_memory, load_models
from quarterdeck.spec.memory import MemoryProfile
from quarterdeck.tools.execution import Executor
from quarterdeck.tools.roots import root_folders
from quarterdeck.tools.secrets import Masker

if TYPE_CHECKING:
    from quarterdeck.engine.scope import Parts
    from quarterdeck.models.stages import Stage
    from quarterdeck.spec.crew import CrewSpec
    from quarterdeck.spec.governance import Autonomy
    from quarterdeck.spec.limits import BudgetSpec
    from quarterdeck.spec.workspace import Workspace
    from quarterdeck.tools.tool import RootFolder


def equip(
    spec: CrewSpec,
    workspace: Workspace,
    *,
    parts: Parts | None = None,
    catalog: Catalog | None = None,
    governance: GovernanceConfig | None = None,
    masker: Masker | None = None,
    fresh: bool = False,
) -> Equipment:
    """Return what the runs of a crew share; what is not given is loaded from the workspace.

    Raises:
        SpecError: A file of the workspace is wrong; carries every problem.
        InputError: The crew names a profile of memory that does not exist.
    """
    governance = governance or load_governance(workspace)
    return Equipment(
        parts or load_parts(spec, workspace),
        catalog or Catalog(load_models(workspace)),
        CrewAI(perform),
        Executor(),
        workspace.runs,
        load_limits(workspace).budgets,
        root_folders(governance.roots, workspace.root),
        governance,
        masker,
        fresh,
        usable(load_memory(spec.memory, workspace)),
    )


class Equipment:
    """What all runs of a crew share: made once by `Crew`.

    Args:
        parts: What the crew's names stand for.
        catalog: Finds models and their providers.
        crewai: CrewAI's agents and tasks.
        executor: Carries out tools.
        runs: The folder that holds each run's own folder.
        budgets: What all runs on the database may use together.
        roots: Folders that the operator opened to tools, by name.
        governance: What the operator lets tools do, and what personal data must not leave this machine.
        masker: Knows the secrets that nothing may show; None for none.
        fresh: Ask models anew: no answer is shared or kept.
        profile: What the crew remembers; nothing when None.
    """

    def __init__(
        self,
        parts: Parts,
        catalog: Catalog,
        crewai: CrewAI,
        executor: Executor,
        runs: Path,
        budgets: Sequence[BudgetSpec] = (),
        roots: Mapping[str, RootFolder] | None = None,
        governance: GovernanceConfig | None = None,
        masker: Masker | None = None,
        fresh: bool = False,
        profile: MemoryProfile | None = None,
    ) -> None:
        self.profile = profile or MemoryProfile()
        self.longterm = Longterm(
            self.profile, runs / "memory", catalog, masker, redact=(governance or GovernanceConfig()).redact
        )
        self.lookups = Lookups(runs.parent, catalog)
        self.parts = parts
        self.catalog = catalog
        self.crewai = crewai
        self.executor = executor
        self.runs = runs
        self.budgets = budgets
        self.roots = roots or {}
        self.governance = governance or GovernanceConfig()
        self.signer = signer_of(self.governance.audit, os.environ)
        self.circuits = Circuits()
        self.tool_circuits = tool_circuits()
        self.masker = masker or Masker({})
        redact = self.governance.redact
        self.port: Stage = build_port(
            catalog,
            fresh=fresh,
            circuits=self.circuits,
            mask=self.masker.mask,
            redactor=Redactor(redact, catalog.chain) if redact.pii else None,
        )

    async def close(self) -> None:
        """Free servers, providers, threads and the index of memory."""
        await self.parts.close()
        await self.catalog.close()
        self.executor.close()
        self.longterm.close()

    def dial(self, asked: str, *others: Autonomy | None) -> Autonomy:
        """Return where the dial stands for a run: a run that began in shadow, say, is never resumed out of it.

        Args:
            asked: By whoever starts the run; empty for nothing.
            others: What else may lower it: the crew, and where it stood when the run began.

        Raises:
            InputError: It would raise the dial where the operator does not allow that.
        """
        return lowest(dial_of(self.governance, os.environ, asked), *others)
