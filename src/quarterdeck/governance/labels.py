"""Labels: who a value comes from, and whether that may be acted upon."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal, cast, get_args

Kind = Literal["user", "operator", "person", "tool", "memory", "input", "model"]
"""`person`: somebody approved it in this run. `input`: an input that the crew declares with `trusted: false`."""

NOT_TRUSTED = " (not trusted)"
SENSITIVE = " (sensitive)"
MAX_NAME = 150
_FROM_BEST = ("operator", "user", "person", "tool", "memory")


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a value comes from.

    As text it is what people read and what the journal keeps: `user`, `tool:ledger.lookup`,
    `tool:web.fetch (not trusted)`, `model`.

    Attributes:
        kind: What kind of source.
        name: Which one: the tool or input; for memory, where the stored value came from.
        trusted: Whether it may become the sink argument of a call without a person.
    """

    kind: Kind
    name: str = ""
    trusted: bool = False

    def __str__(self) -> str:
        """Return the origin as people read it."""
        text = f"{self.kind}:{self.name}" if self.name else self.kind
        return text if self.trusted or self.kind == "model" else text + NOT_TRUSTED

    @classmethod
    def parse(cls, text: str) -> Origin:
        """Read an origin back from its text; what is none becomes `model`, which nothing trusts."""
        body = text.removesuffix(NOT_TRUSTED)
        kind, _, name = body.partition(":")
        if kind not in get_args(Kind) or kind == "model" or bool(name) != (kind in ("tool", "memory", "input")):
            return MODEL
        return cls(cast("Kind", kind), name[:MAX_NAME], trusted=body == text and kind != "input")

    @property
    def named_by_people(self) -> bool:
        """Whether a person of this side wrote it, and not a tool: the only ones who open a sink to what is secret."""
        return self.trusted and self.kind in ("user", "operator", "person")


USER = Origin("user", trusted=True)
OPERATOR = Origin("operator", trusted=True)
PERSON = Origin("person", trusted=True)
MODEL = Origin("model")


def least(origins: Iterable[Origin]) -> Origin:
    """Return the least trusted of some origins: that of a value which is put together from all of them.

    Of those that are not trusted, one that tells where a value was read says more than `model`.
    """
    return max(origins, key=_distrust, default=OPERATOR)


def _distrust(origin: Origin) -> int:
    if origin.trusted:
        return _FROM_BEST.index(origin.kind)
    return {"model": 10, "memory": 11, "input": 12}.get(origin.kind, 13)


@dataclass(frozen=True, slots=True)
class Label:
    """What is kept beside a value that outlives its run, such as an item in memory.

    Attributes:
        origin: Where the value came from.
        sensitive: Whether it may hold what must not leave through an open sink.
    """

    origin: Origin
    sensitive: bool = False

    def as_data(self) -> dict[str, Any]:
        """Return the label as JSON-able data."""
        return {"origin": str(self.origin), "sensitive": self.sensitive}

    @classmethod
    def from_data(cls, data: Any) -> Label:
        """Read a label back; one that is missing or damaged trusts nothing and keeps everything in."""
        if not isinstance(data, dict) or not isinstance(data.get("origin"), str):
            return cls(MODEL, sensitive=True)
        return cls(Origin.parse(data["origin"]), data.get("sensitive") is not False)

    def __str__(self) -> str:
        """Return the label as text, such as memory keeps it: the origin, and whether it may be sensitive."""
        return f"{self.origin}{SENSITIVE}" if self.sensitive else str(self.origin)

    @classmethod
    def parse(cls, text: str) -> Label:
        """Read a label back from its text; what is none trusts nothing."""
        return cls(Origin.parse(text.removesuffix(SENSITIVE)), text.endswith(SENSITIVE))

    def remembered(self) -> Origin:
        """Return the origin of the value once it is read back from memory: never more trusted than before."""
        name = str(self.origin).removesuffix(NOT_TRUSTED)
        return Origin("memory", name[:MAX_NAME], self.origin.trusted)
