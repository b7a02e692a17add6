"""What a stage of the port is tested with: a next stage that follows a script, and a journal that only remembers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, cast

from quarterdeck.errors import ModelError, ModelErrorKind
from quarterdeck.journal.call import CallContext
from quarterdeck.journal.events import Decision, Event
from quarterdeck.models.catalog import ResolvedModel
from quarterdeck.models.port import Message, ModelReply, ModelRequest
from quarterdeck.models.prices import FREE

Outcome = BaseException | ModelReply | None
"""What the next stage does: raise, answer so, or (None) answer `ok`."""


class Remembered:
    """A run's journal that keeps its events in a list."""

    streaming = False

    def __init__(self, decided: Sequence[Decision] = ()) -> None:
        self.events: list[Event] = []
        self._decided = {event.path: event for event in decided}

    async def append(self, event: Event) -> None:
        await asyncio.sleep(0)
        self.events.append(event)

    def note(self, event: Event) -> None:
        self.events.append(event)

    def recorded_decision(self, path: str) -> Decision | None:
        return self._decided.get(path)

    def decisions(self) -> list[Decision]:
        return [event for event in self.events if isinstance(event, Decision)]


class Next:
    """The next stage: does what the script of the model says, and `ok` when it has run out."""

    def __init__(self, *script: Outcome, **by_model: Sequence[Outcome]) -> None:
        self._scripts = {model: list(outcomes) for model, outcomes in by_model.items()} or {"": list(script)}
        self.requests: list[ModelRequest] = []
        self.contexts: list[CallContext] = []

    async def complete(self, request: ModelRequest, context: CallContext) -> ModelReply:
        self.requests.append(request)
        self.contexts.append(context)
        await asyncio.sleep(0)
        script = self._scripts.get(request.model, self._scripts.get("", []))
        outcome = script.pop(0) if script else None
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome or ModelReply("ok", model=request.model)


class Waits:
    """Takes the place of `asyncio.sleep`: remembers, and waits for nothing."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    async def __call__(self, seconds: float) -> None:
        self.seconds.append(seconds)


def failure(kind: ModelErrorKind, retry_after: float | None = None, said: str = "") -> ModelError:
    """Return a failed call."""
    return ModelError(said or f"it was {kind}", kind, retry_after=retry_after)


def ask(model: str = "first", *, words: str = "How deep is it?", **more: Any) -> ModelRequest:
    """Return a request."""
    return ModelRequest(model, (Message("user", words),), **more)


def context_of(journal: Remembered | None = None, *, seconds: float = 1000.0, **more: Any) -> CallContext:
    """Return the context of a call whose run has so many seconds left."""
    ends = asyncio.get_running_loop().time() + seconds
    given: Any = journal or Remembered()
    return CallContext(given, cast(Any, None), "gather/turn-1", "gather", "clerk", ends, **more)


def model_of(name: str, context: int = 32_768, *, schema: bool = True) -> ResolvedModel:
    """Return a resolved model."""
    return ResolvedModel(name, "litellm", context, FREE, schema)


def chain_of(*models: ResolvedModel) -> Callable[[str, str], tuple[ResolvedModel, ...]]:
    """Return a catalog's `chain` that always gives these."""
    return lambda name, group: models
