"""What a tool is, and what it is handed when the gate calls it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from quarterdeck.models.port import ToolOffer
from quarterdeck.tools.manifest import Manifest

if TYPE_CHECKING:
    from pydantic import TypeAdapter


@dataclass(frozen=True, slots=True)
class Tool:
    """A typed function that agents may be granted.

    Attributes:
        name: `module.function`, such as `documents.search`.
        description: The docstring's text before `Args:`.
        parameters: JSON Schema of the arguments, made from signature and docstring.
        function: The function itself, sync or async.
        takes_context: Whether it wants a `ToolContext` as its `context` argument.
        timeout: Seconds a call may take.
        manifest: What is declared of it: effect, owner, sinks and the rest.
        validator: Checks the arguments, compiled once; without one they are checked by `parameters`.
    """

    name: str
    description: str
    parameters: dict[str, Any]
    function: Callable[..., Any]
    takes_context: bool = False
    timeout: float = 60.0
    manifest: Manifest = field(default_factory=Manifest, compare=False)
    validator: TypeAdapter[Any] | None = field(default=None, repr=False, compare=False)

    def offer(self) -> ToolOffer:
        """Return the tool as a model sees it."""
        return ToolOffer(self.name, self.description, self.parameters)


@dataclass(slots=True)
class ToolContext:
    """What a tool may know of the run that calls it; filled in by the engine, never by a model.

    Attributes:
        run_id: The run's id.
        idempotency_key: `run:path`; the same when a call is made again after a crash.
        inputs: The run's inputs, as the user gave them.
        folder: The run's own folder, the only one that tools may write to; made on first use.
        state: For what tools keep during one run (such as an index). Not kept over a restart.
        path: The logical path of this call.
    """

    run_id: str
    idempotency_key: str
    inputs: dict[str, Any]
    folder: Path
    state: dict[str, Any] = field(default_factory=dict)
    path: str = ""
