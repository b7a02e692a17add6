"""Whether real models may be called at all: in tests they may not, unless a test says so."""

from __future__ import annotations

import os

from quarterdeck.errors import ModelError

SWITCH = "QUARTERDECK_LIVE"
"""Set to `0` (by `quarterdeck.testing`), every provider of a real model refuses."""


def check_live(model: str) -> None:
    """Let a call to a real model pass, or refuse it.

    Args:
        model: Named in the refusal.

    Raises:
        ModelError: `refused`, when live calls are blocked.
    """
    if os.environ.get(SWITCH) == "0":
        raise ModelError(
            f"A live call to {model} is blocked in tests ({SWITCH}=0): use a ScriptedModel or a Cassette, "
            "or mark the test `live`.",
            "refused",
        )
