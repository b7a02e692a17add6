"""Where a run's autonomy dial stands: the deployment sets it; a crew, or whoever starts a run, can lower it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, cast, get_args

from quarterdeck.errors import InputError
from quarterdeck.spec.governance import Autonomy
from quarterdeck.spec.problem import did_you_mean

if TYPE_CHECKING:
    from quarterdeck.spec.governance import GovernanceConfig, Level

VARIABLE = "QUARTERDECK_AUTONOMY"
ORDER: tuple[Autonomy, ...] = ("shadow", "low", "medium", "high")
"""From the least autonomy to the most."""


def lowest(*dials: Autonomy | None) -> Autonomy:
    """Return the least autonomy of several dials; None leaves it to the others.

    Raises:
        ValueError: All are None.
    """
    return min((dial for dial in dials if dial is not None), key=ORDER.index)


def level_of(dial: Autonomy, *behind: Autonomy | None) -> Level:
    """Return the position by which calls are judged. In shadow nothing is done, but what would be is judged too.

    Args:
        dial: Where it stands.
        behind: Where it would stand without the shadow: in the crew's file, in the deployment's. The least of these
            counts; those that are None or `shadow` themselves do not, and without any it is `medium`.
    """
    if dial != "shadow":
        return dial
    level: Level = min((one for one in behind if one and one != "shadow"), key=ORDER.index, default="medium")
    return level


def dial_of(config: GovernanceConfig, environ: Mapping[str, str], asked: str = "") -> Autonomy:
    """Return where the dial of a deployment stands for a run that is started now.

    Args:
        config: The operator's file.
        environ: `QUARTERDECK_AUTONOMY` lowers the dial for a process; like `asked` it raises it only where the file
            says `may_raise: true`.
        asked: For this run, as by `--autonomy`; empty for nothing.

    Raises:
        InputError: No such position, or it would raise the dial where that is not allowed. Nothing was run.
    """
    dial = config.autonomy
    for source, wanted in ((VARIABLE, environ.get(VARIABLE, "")), ("--autonomy", asked)):
        if not wanted:
            continue
        if wanted not in get_args(Autonomy):
            hint = did_you_mean(wanted, ORDER) or f"; there are {', '.join(ORDER)}"
            raise InputError(f'{source}: no autonomy "{wanted[:40]}"{hint}. Nothing was run.')
        position = cast(Autonomy, wanted)
        if ORDER.index(position) > ORDER.index(dial) and not config.may_raise:
            raise InputError(
                f"{source} can lower the autonomy of this deployment ({dial}), not raise it to {position}; "
                f"the operator allows that with may_raise: true in config/governance.yaml. Nothing was run."
            )
        dial = position
    return dial
