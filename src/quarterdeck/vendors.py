"""How a vendor is imported: opted out of what it must not do, quietly, and as cheaply as can be."""

from __future__ import annotations

import gc
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from quarterdeck import optouts


@contextmanager
def importing() -> Iterator[None]:
    """Apply the opt-outs, and keep warnings and the garbage collector away while a vendor is imported in the block.

    What its modules warn of while they load is nothing that a user can mend. What they make while they load is kept,
    so there is nothing to collect: looking for it again and again takes a sixth of crewai's five seconds.
    """
    optouts.apply()
    collecting = gc.isenabled()
    gc.disable()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        if collecting:
            gc.enable()
