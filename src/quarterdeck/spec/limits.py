"""`config/limits.yaml`: what all runs on one database may use together."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, PrivateAttr

from quarterdeck.spec.crew import Declared
from quarterdeck.spec.sentences import Finding, findings
from quarterdeck.spec.text import Document

ALL = "*"
"""In the place of a name: each crew, or each tenant, for itself."""


class BudgetSpec(Declared):
    """One shared budget. Without `crew` and `tenant` it is that of all runs."""

    crew: Annotated[str, Field(pattern=r"^(\*|[a-zA-Z_][a-zA-Z0-9_-]{0,63})$")] | None = None
    tenant: Annotated[str, Field(pattern=r"^(\*|[A-Za-z0-9][A-Za-z0-9._@-]{0,99})$")] | None = None
    per: Literal["day", "month", "ever"] = Field(default="day", description="Days and months are those of UTC.")
    usd: Annotated[float, Field(ge=0, le=1_000_000)] | None = None
    tokens: Annotated[int, Field(ge=1, le=10**15)] | None = None
    _place: str = PrivateAttr(default="config/limits.yaml")

    @property
    def place(self) -> str:
        """Where it is declared, such as `config/limits.yaml:4`."""
        return self._place

    def declared_at(self, place: str) -> None:
        """Keep where it is declared, for whoever has to raise it."""
        self._place = place

    def covers(self, crew: str, tenant: str) -> bool:
        """Return whether the runs of a crew on behalf of a tenant are charged to it."""
        return self.crew in (None, ALL, crew) and self.tenant in (None, ALL, tenant)

    @property
    def scope(self) -> tuple[str | None, str | None, str]:
        """Whose budget it is, and for how long."""
        return self.crew, self.tenant, self.per


class LimitsConfig(Declared):
    """What runs share."""

    budgets: tuple[BudgetSpec, ...] = Field(default=(), max_length=100)


def read_limits(document: Document) -> tuple[LimitsConfig | None, list[Finding]]:
    """Check the data of a limits file; return the configuration as far as it can be read, and what is wrong."""
    config, found = findings(LimitsConfig, document.data)
    if config is None or found:
        return config, found
    seen: dict[tuple[str | None, str | None, str], str] = {}
    for index, budget in enumerate(config.budgets):
        line, _ = document.position(("budgets", index))
        budget.declared_at(f"{document.file}:{line}")
        if budget.usd is None and budget.tokens is None:
            found.append(Finding(("budgets", index), "needs usd or tokens; without either it limits nothing"))
        if budget.scope in seen:
            what = f"the same budget stands at {seen[budget.scope]} already; put usd and tokens into one"
            found.append(Finding(("budgets", index), what))
        seen.setdefault(budget.scope, budget.place)
    return config, found
