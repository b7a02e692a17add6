"""On whose behalf a run acts, and so whose memories it may read and leave."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from quarterdeck.memory.item import Scope
from quarterdeck.spec.memory import needs_user

if TYPE_CHECKING:
    from quarterdeck.engine.scope import RunScope
    from quarterdeck.spec.memory import MemoryProfile


@dataclass(frozen=True, slots=True)
class Whose:
    """On whose behalf a run acts.

    Attributes:
        tenant: The tenant, or empty.
        crew: The crew.
        user: The user, or empty.
    """

    tenant: str
    crew: str
    user: str = ""

    def scope(self, profile: MemoryProfile, agent: str = "") -> Scope | None:
        """Return whose long-term memories an agent reads and writes; None for nobody's.

        With `reach: user` memories belong to a user in all crews of the tenant. Where they are a user's own and there
        is no user, there are none.
        """
        reach = profile.longterm.reach if profile.longterm is not None else "crew"
        if needs_user(profile) and not self.user:
            return None
        if reach == "user":
            return Scope(self.tenant, user=self.user)
        return Scope(self.tenant, self.crew, agent if reach == "agent" else "", self.user if profile.private else "")

    def past(self, profile: MemoryProfile) -> Scope | None:
        """Return whose episodes a run reads and leaves; None for nobody's: they are a user's own, and there is none."""
        if not (profile.private or needs_user(profile)):
            return Scope(self.tenant, self.crew)
        return Scope(self.tenant, self.crew, user=self.user) if self.user else None


def whose_of(run: RunScope) -> Whose:
    """Return on whose behalf a run acts."""
    return Whose(run.journal.tenant, run.spec.crew, str(run.journal.spec.get("user", "")))
