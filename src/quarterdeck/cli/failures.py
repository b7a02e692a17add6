"""Failures as a user sees them: one clear line, and an exit code for programs."""

from __future__ import annotations

import os
import sys
import traceback

from quarterdeck.cli.text import clean
from quarterdeck.errors import QuarterdeckError

DEBUG = "QUARTERDECK_DEBUG"
"""Set to anything but `0`, tracebacks are shown."""

BUG = 70
"""EX_SOFTWARE of sysexits.h."""


def explain(error: BaseException) -> int:
    """Write what went wrong to stderr and return the exit code.

    Args:
        error: A domain failure, told as it is, or anything else, which is a bug.
    """
    if os.environ.get(DEBUG, "0") not in ("", "0"):
        sys.stderr.write(_masked("".join(traceback.format_exception(error))))
    if isinstance(error, QuarterdeckError):
        say_error(_masked(str(error)))
        return error.exit_code
    said = " ".join(_masked(str(error)).split())[:500]
    say_error(
        f"{type(error).__name__}: {said}. This is a bug in Quarterdeck: please report it with what "
        f"{DEBUG}=1 shows. What was recorded of a run is safe: quarterdeck runs list"
    )
    return BUG


def _masked(text: str) -> str:
    """Return a text without the secrets of this process's environment."""
    from quarterdeck.tools.secrets import Masker

    return Masker().mask(text)


def say_error(text: str) -> None:
    """Write text to stderr, whatever its encoding can hold."""
    encoding = getattr(sys.stderr, "encoding", None) or "ascii"
    sys.stderr.write(clean(text).encode(encoding, "replace").decode(encoding) + "\n")
    sys.stderr.flush()
