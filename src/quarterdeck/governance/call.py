"""One tool call on its way through the gate, and the shape of a stage."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from quarterdeck.governance.result import ToolResult
from quarterdeck.journal.call import CallContext
from quarterdeck.spec.governance import Effect, Tier
from quarterdeck.tools.tool import Tool


@dataclass(slots=True)
class ToolCall:
    """A proposed call.

    Attributes:
        name: The tool's name as the model wrote it.
        arguments: As the model wrote them, then validated; None when they were no JSON object.
        raw: What the model wrote where it was no JSON object.
        request_hash: Identifies the call in the journal.
        tool: Found by the first stage.
        why: What the model said when it proposed the call; empty when it said nothing.
        origins: Where each argument came from, by its path; given by a plan, else found by the stage `Provenance`.
        effect: What the call does to the world, as the policy has it.
        tier: What the policy makes of it.
        needs_approval: Why a person has to approve it; empty when nobody has to.
        approval: The id of the approval under which it is made.
        within: The only tools that may be called, for a call that another tool makes: those which its manifest
            names. None for the call of an agent, which may use what it is granted.
        preview: The tool is only to say what it would do; see `previewed`.
        shadow: Why it is only recorded and not made; empty when it is made.
    """

    name: str
    arguments: dict[str, Any] | None
    raw: str
    request_hash: str
    tool: Tool | None = None
    why: str = ""
    origins: dict[str, str] = field(default_factory=dict)
    effect: Effect | None = None
    tier: Tier = "forbidden"
    needs_approval: str = ""
    approval: str = ""
    within: frozenset[str] | None = None
    preview: bool = False
    shadow: str = ""


Grants = Callable[[CallContext], frozenset[str]]
"""The names of the tools that the agent of a call may use in its task."""
Proceed = Callable[[ToolCall, CallContext], Awaitable[ToolResult]]
ToolStage = Callable[[ToolCall, CallContext, Proceed], Awaitable[ToolResult]]
