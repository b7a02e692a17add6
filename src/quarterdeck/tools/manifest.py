"""What a tool says of itself: what it does to the world, whose it is, how it fails and how it is put right again."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from quarterdeck.spec.governance import Effect, SinkKind

Function = TypeVar("Function", bound=Callable[..., Any])
ATTRIBUTE = "__quarterdeck_manifest__"
_NOTHING: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Manifest:
    """What is declared of a tool, by its own file (`@tool`) or by the operator (`config/governance.yaml`).

    Attributes:
        effect: None as long as nobody has classified it: then it is forbidden.
        owner: Whom to ask about it.
        sinks: The parameters that decide where to, to whom or how much, each with its kind; None when left open.
        trusted: Whether what it returns may be acted upon like the operator's own words.
        sensitive: Whether what it returns must not leave through an open sink.
        timeout: Seconds a call may take.
        retries: More attempts by class of error.
        idempotent: Whether a call made twice with the same key does no more than once.
        dry_run: The boolean parameter that makes it only say what it would do; empty for none.
        verify: Called as `verify(arguments, result, context)`; returns whether the world changed as asked.
        undo: Called as `undo(arguments, result, context)`; puts back what the call did.
        substitute: The tool to call once in its place where it is down.
        probe: Arguments of a call that is safe, for the breaker's half-open state.
        projection: What of the result reaches the agent: paths such as `items.name`, or a function.
        version: Of its behaviour; an agent may pin `name@version`.
        deprecated: From when on, and what to use in its place.
        isolated: True for a new process for each call; False for a thread of the run's own process, which cannot be
            killed but shares its state. When None, a sync function of a tools file runs in one of a few processes that
            serve many calls and can be killed, and an async one in the event loop.
        memory_mb: Of an isolated tool: the memory that its process may have, in MB; 0 for no bound.
        cpu_seconds: Of an isolated tool: the CPU time that its process may use; 0 for no bound.
        calls: The tools that it may call itself (`await context.call(name, arguments)`); then it is a composite
            tool. Whoever is granted it is granted these calls within it, and the gate judges each of them.
        name: What agents know it by, without the file, where that is not the function's own name.
    """

    effect: Effect | None = None
    owner: str = ""
    sinks: Mapping[str, SinkKind] | None = None
    trusted: bool = False
    sensitive: bool = False
    timeout: float = 60.0
    retries: Mapping[str, int] = field(default_factory=lambda: _NOTHING)
    idempotent: bool = False
    dry_run: str = ""
    verify: Callable[..., Any] | None = None
    undo: Callable[..., Any] | None = None
    substitute: str = ""
    probe: Mapping[str, Any] | None = None
    projection: tuple[str, ...] | Callable[[Any], Any] | None = None
    version: str = "1"
    deprecated: str = ""
    isolated: bool | None = None
    memory_mb: int = 0
    cpu_seconds: int = 0
    calls: tuple[str, ...] = ()
    name: str = ""

    @property
    def repeatable(self) -> bool:
        """Whether a call of it that broke off may simply be made again, as the tool's own file has it.

        A composite tool may: the calls that it had made are in the journal and come from there.
        """
        return self.effect == "read" or self.idempotent or bool(self.calls)

    def beside(self) -> Manifest:
        """Return the manifest of what is called beside the tool, such as its undo: in a thread, where that was said."""
        return Manifest(isolated=False if self.isolated is False else None)


def tool(**declared: Any) -> Callable[[Function], Function]:
    """Declare what a tool does to the world, above its function.

    Args:
        declared: The attributes of `Manifest`.

    Raises:
        TypeError: There is no such attribute.

    Example:
        @tool(effect="irreversible", owner="payments", sinks={"to": "recipient", "eur": "amount"})
        def refund(to: str, eur: float) -> dict[str, str]:
            ...
    """
    manifest = Manifest(**declared)

    def declare(function: Function) -> Function:
        setattr(function, ATTRIBUTE, manifest)
        return function

    return declare


def manifest_of(function: Callable[..., Any]) -> Manifest:
    """Return what a function declares of itself; an empty manifest when it declares nothing."""
    manifest = getattr(function, ATTRIBUTE, None)
    return manifest if isinstance(manifest, Manifest) else Manifest()
