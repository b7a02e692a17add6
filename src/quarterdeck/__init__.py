"""Quarterdeck: role-based crews of agents that can be trusted with real work.

Importing this package costs next to nothing: each public name is loaded when it is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from typing import Any as Member  # a class made when crewai is first imported; see `engine.member`

    from quarterdeck.engine.crew import Crew
    from quarterdeck.engine.open_gate import Gate
    from quarterdeck.engine.result import Result
    from quarterdeck.errors import ModelError, QuarterdeckError, Rejected, SpecError, ToolError
    from quarterdeck.memory.face import Memory
    from quarterdeck.tools.manifest import tool

    __version__: str

__all__ = [
    "Crew",
    "Gate",
    "Member",
    "Memory",
    "ModelError",
    "QuarterdeckError",
    "Rejected",
    "Result",
    "SpecError",
    "ToolError",
    "__version__",
    "tool",
]

_HOMES = {
    "Crew": "quarterdeck.engine.crew",
    "Gate": "quarterdeck.engine.open_gate",
    "Memory": "quarterdeck.memory.face",
    "Result": "quarterdeck.engine.result",
    "tool": "quarterdeck.tools.manifest",
}


def __getattr__(name: str) -> Any:
    """Load a public name on first use (PEP 562)."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = _load(name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List the public names, loaded or not."""
    return sorted({*globals(), *__all__})


def _load(name: str) -> Any:
    from importlib import import_module, metadata

    if name == "__version__":
        return metadata.version(__name__)
    if name == "Member":
        from quarterdeck.engine.member import crewai_classes

        return crewai_classes().member
    return getattr(import_module(_HOMES.get(name, "quarterdeck.errors")), name)
