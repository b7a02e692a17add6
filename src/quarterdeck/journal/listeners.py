"""Who hears of a run's events while it is worked on."""

from __future__ import annotations

import logging
from collections.abc import Callable

from quarterdeck.journal.events import Event

Listener = Callable[[Event], None]

_log = logging.getLogger(__name__)


class Listeners:
    """The listeners of one run. One that raises is logged and not called again: what shows a run must not fail it.

    A listener that has an attribute `reads_text` which is false does not hear text as it arrives; where nobody does,
    models are not asked to stream it, which is cheaper.
    """

    def __init__(self) -> None:
        self._all: list[Listener] = []

    def __bool__(self) -> bool:
        """Whether anybody listens."""
        return bool(self._all)

    @property
    def read_text(self) -> bool:
        """Whether anybody wants text as it arrives."""
        return any(getattr(listener, "reads_text", True) for listener in self._all)

    def add(self, listener: Listener) -> Callable[[], None]:
        """Add a listener; return how to remove it."""
        self._all.append(listener)
        return lambda: self._all.remove(listener) if listener in self._all else None

    def tell(self, event: Event) -> None:
        """Call every listener."""
        for listener in tuple(self._all):
            try:
                listener(event)
            except Exception:
                _log.exception("a listener failed at %r and is not called again", event.path)
                self._all.remove(listener)
