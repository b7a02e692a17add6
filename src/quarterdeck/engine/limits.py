"""What a run may spend after people have raised it, and on whose behalf it runs."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import TYPE_CHECKING

from quarterdeck.errors import InputError

if TYPE_CHECKING:
    from quarterdeck.journal.events import LimitsRaised
    from quarterdeck.journal.record import RunRecord
    from quarterdeck.spec.crew import Limits

TENANT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,99}")
MAX_USD = 1_000_000
MAX_TOKENS = 10**15


def checked_tenant(tenant: str) -> str:
    """Return the name of a tenant; empty for nobody's.

    Raises:
        InputError: It is no such name.
    """
    if tenant and not TENANT.fullmatch(tenant):
        raise InputError(
            f'"{tenant[:100]}" is no name of a tenant: letters, digits and . _ @ - after a letter or digit, at most '
            "100. Nothing was run."
        )
    return tenant


def limits_of(declared: Limits, *raises: LimitsRaised | None) -> Limits:
    """Return the limits of a run with the totals that people gave it since, oldest first."""
    for raised in raises:
        if raised is not None:
            given = {name: value for name in ("usd", "tokens") if (value := getattr(raised, name)) is not None}
            declared = declared.model_copy(update=given)
    return declared


def check_raise(record: RunRecord, usd: float | None, tokens: int | None) -> None:
    """Check that new totals leave a run anything to spend.

    Raises:
        InputError: They do not, or are out of bounds.
    """
    used = record.totals
    if usd is not None and not used.known_usd < Decimal(str(usd)) <= MAX_USD:
        raise InputError(
            f"--usd {usd:g} is the new total of run {record.id}, which has spent ${used.known_usd:f} already: give "
            f"more than that, at most {MAX_USD}. Nothing was changed."
        )
    if tokens is not None and not used.tokens < tokens <= MAX_TOKENS:
        raise InputError(
            f"--tokens {tokens} is the new total of run {record.id}, which has used {used.tokens} already: give more "
            "than that. Nothing was changed."
        )
