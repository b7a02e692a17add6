"""`config/limits.yaml`: what all runs on one database may use together."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from quarterdeck.spec.crew import Declared

ALL = "*"
"""In the place of a name: each crew, or each tenant, for itself."""


class BudgetSpec(Declared):
    """One shared budget. Without `crew` and `tenant` it is that of all runs."""

    crew: Annotated[str, Field(pattern=r"^(\*|[a-zA-Z_][a-zA-Z0-9_-]{0,63})$")] | None = None
    tenant: Annotated[str, Field(pattern=r"^(\*|[A-Za-z0-9][A-Za-z0-9._@-]{0,99})$")] | None = None
    per: Literal["day", "month", "ever"] = Field(default="day", description="Days and months are those of UTC.")
    usd: Annotated[float, Field(ge=0, le=1_000_000)] | None = None
    tokens: Annotated[int, Field(ge=1, le=10**15)] | None = None


class LimitsConfig(Declared):
    """What runs share."""

    budgets: tuple[BudgetSpec, ...] = Field(default=(), max_length=100)
