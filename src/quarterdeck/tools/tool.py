"""What a tool is, and what it is handed when the gate calls it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from quarterdeck.models.port import ToolOffer
from quarterdeck.tools.composite import InnerCall, no_inner_call
from quarterdeck.tools.manifest import Manifest

if TYPE_CHECKING:
    from pydantic import TypeAdapter

    from quarterdeck.spec.services import ServicesConfig


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
        of_engine: It is the engine's own, such as `delegate`: what its work says to the run, it may say.
    """

    name: str
    description: str
    parameters: dict[str, Any]
    function: Callable[..., Any]
    takes_context: bool = False
    timeout: float = 60.0
    manifest: Manifest = field(default_factory=Manifest, compare=False)
    validator: TypeAdapter[Any] | None = field(default=None, repr=False, compare=False)
    of_engine: bool = False

    @property
    def base(self) -> str:
        """The name without the version that an agent pinned: `payments.refund` of `payments.refund@1`."""
        return self.name.partition("@")[0]

    def offer(self) -> ToolOffer:
        """Return the tool as a model sees it."""
        return ToolOffer(self.name, self.description, self.parameters)


@dataclass(frozen=True, slots=True)
class RootFolder:
    """A folder that the operator opened to the files tools, and whether they may write to it."""

    path: Path
    write: bool = False


class SharedValues(Protocol):
    """What the tools and agents of one run keep for each other."""

    async def get(self, key: str) -> Any | None:
        """Return a value that was put and has not expired; None when there is none."""
        ...

    async def put(self, key: str, value: Any, seconds: float | None = None) -> bool:
        """Keep JSON-able data for so many seconds; return whether it is kept."""
        ...

    async def clear(self) -> int:
        """Forget everything of the run; return how many values there were."""
        ...

    async def close(self) -> None:
        """Let go what it holds."""
        ...


class Lookup(Protocol):
    """Where the tools of a run look things up: what its crew declares as knowledge."""

    async def search(self, query: str, limit: int) -> list[dict[str, Any]]:
        """Return the passages that say most of a query, each with its source."""
        ...


@dataclass(slots=True)
class ToolContext:
    """What a tool may know of the run that calls it; filled in by the engine, never by a model.

    Attributes:
        run_id: The run's id.
        idempotency_key: `run:path`; the same when a call is made again after a crash.
        inputs: The run's inputs, as the user gave them.
        folder: The run's own folder, which tools may always write to; made on first use.
        state: For what tools keep during one run (such as an index). Not kept over a restart.
        path: The logical path of this call.
        roots: Other folders that the operator opened to tools, by name.
        force: Of an undo: put back also what somebody has changed since.
        services: The services of the workspace, as `config/services.yaml` declares them; None for none.
        session: Values that the tools of a run share until they expire; None where its crew has no session cache.
        knowledge: What the crew declares as its knowledge; None for none.
        call: Makes another tool call, for the tools that a composite tool names in `calls`; see `tools.composite`.
    """

    run_id: str
    idempotency_key: str
    inputs: dict[str, Any]
    folder: Path
    state: dict[str, Any] = field(default_factory=dict)
    path: str = ""
    roots: Mapping[str, RootFolder] = field(default_factory=dict)
    force: bool = False
    services: ServicesConfig | None = None
    session: SharedValues | None = None
    knowledge: Lookup | None = None
    call: InnerCall = no_inner_call
