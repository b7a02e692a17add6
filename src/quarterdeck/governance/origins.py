"""Origins: everything a run was given and has read, and where a value in it comes from."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from enum import Enum
from functools import cached_property
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from quarterdeck.governance.given import Given
from quarterdeck.governance.labels import MODEL, OPERATOR, USER, Label, Origin, least
from quarterdeck.governance.tokens import (
    APART,
    MAX_LEAVES,
    MAX_TOKEN,
    amounts_in,
    is_common,
    leaves,
    names,
    number_of,
    numbers_in,
)

if TYPE_CHECKING:
    from quarterdeck.journal.events import ToolStatus

MAX_BYTES = 16_000_000
MAX_RESULTS = 2000
MAX_WORDS = 8_000_000
MAX_SEARCHED = 200
"""How many of the latest untrusted results are searched, only to say where an untrusted value was read."""


class Source:
    """One thing that a run was given or has read; looked into only when a value is looked for.

    Args:
        origin: Where it comes from.
        value: JSON-able data.
        given: What was put into the call whose result it is: its echo proves nothing.
    """

    def __init__(self, origin: Origin, value: Any, given: Given | None = None) -> None:
        self.origin = origin
        self._value = value
        self._given = given

    @cached_property
    def size(self) -> int:
        """About how many bytes it holds."""
        try:
            return len(orjson.dumps(self._value, default=str))
        except TypeError:  # such as a number beyond 64 bits
            return len(str(self._value))

    @cached_property
    def _leaves(self) -> tuple[Any, ...]:
        return tuple(islice(leaves(self._value), MAX_LEAVES))

    @cached_property
    def _texts(self) -> frozenset[str]:
        return frozenset(leaf for leaf in self._leaves if isinstance(leaf, str))

    @cached_property
    def _numbers(self) -> frozenset[Decimal]:
        return self._exact.union(number for text in self._texts for number in numbers_in(text))

    @cached_property
    def _exact(self) -> frozenset[Decimal]:
        numbers = (number_of(leaf) for leaf in self._leaves if not isinstance(leaf, str))
        return frozenset(number for number in numbers if number is not None)

    @cached_property
    def _amounts(self) -> frozenset[Decimal]:
        return self._exact.union(number for text in self._texts for number in amounts_in(text))

    def is_echo(self, value: Any) -> bool:
        """Say whether a value may only be what an agent itself put into the call."""
        return self._given is not None and self._given.echoes(value)

    @cached_property
    def _whole(self) -> str:
        return APART.join(self._texts)

    def proves(self, value: Any, number: Decimal | None, kind: str = "other") -> bool:
        """Say whether a value stands here: as a whole value or as a whole token, never as a part of something.

        Args:
            value: A scalar.
            number: The number that it is, if it is one.
            kind: Of the sink that it is for; a command has to be a whole value, and an amount has its currency.
        """
        found = number is not None and number in (self._amounts if kind == "amount" else self._numbers)
        if not found and isinstance(value, str):
            whole = kind == "command" or (kind == "amount" and number is not None)
            found = value in self._texts or (not whole and any(names(text, value) for text in self._texts))
        return found and not self.is_echo(value)

    def contains(self, value: Any, number: Decimal | None) -> bool:
        """Say whether a value stands here in any form, to tell people where it was read; as `proves`."""
        if isinstance(value, str) and len(value) <= MAX_TOKEN:
            return value in self._whole and APART not in value
        return value in self._texts if isinstance(value, str) else number is not None and number in self._numbers


class Origins:
    """Where the values of one run come from. Bounded: what no longer fits is forgotten, and then proves nothing.

    Args:
        user: The inputs of the run.
        operator: What the operator wrote for it: texts of the crew's file.
        untrusted: Inputs that hold what others wrote, by name.

    Attributes:
        sensitive: The tools and memories from which the run has read something sensitive, in their order.
    """

    def __init__(self, user: Any = None, operator: Any = None, untrusted: Mapping[str, Any] | None = None) -> None:
        self._words: list[Source] = []
        self._words_size = 0
        self._results: OrderedDict[str, Source] = OrderedDict()
        self._proving: dict[str, Source] = {}  # those of the results that are trusted
        self._doubtful: dict[str, Source] = {}  # and those that are not
        self._results_size = 0
        self.sensitive: dict[str, None] = {}
        self._say(Source(USER, user))
        self._say(Source(OPERATOR, operator))
        for name, value in (untrusted or {}).items():
            self._say(Source(Origin("input", name), value))

    def hear(self, text: str) -> None:
        """Take in what a person in charge has told the run."""
        self._say(Source(USER, text))

    def remember(self, value: Any, label: Label) -> None:
        """Take in what was read from memory, with the label that it was stored with."""
        self._say(Source(label.remembered(), value))
        if label.sensitive:
            self.sensitive["memory"] = None

    def returned(
        self,
        path: str,
        tool: str,
        value: Any,
        arguments: Mapping[str, Any],
        *,
        status: ToolStatus = "ok",
        trusted: bool = False,
        sensitive: bool = False,
    ) -> None:
        """Take in what a tool returned; a second time for the same path it changes nothing.

        Args:
            path: The logical path of the call.
            tool: The tool.
            value: What it returned, as the agent reads it.
            arguments: What it was called with. A value that only echoes them is as little trusted as they are.
            status: How the call ended; what never ran has told nothing, and what failed proves nothing.
            trusted: Whether what the tool returns may be acted upon.
            sensitive: Whether it must not leave through an open sink.
        """
        if path in self._results or status in ("denied", "shadowed"):
            return
        trusted = trusted and status == "ok"
        given = None
        if trusted:
            parts = [scalar(part) for part in leaves(list(arguments.values()))]
            given = Given((part for part in parts if not self.of(part).trusted), parts, arguments)
        source = self._results[path] = Source(Origin("tool", tool[:128], trusted), value, given)
        (self._proving if trusted else self._doubtful)[path] = source
        self._results_size += source.size
        while len(self._results) > MAX_RESULTS or self._results_size > MAX_BYTES:
            oldest, dropped = self._results.popitem(last=False)
            (self._proving if dropped.origin.trusted else self._doubtful).pop(oldest)
            self._results_size -= dropped.size
        if sensitive:
            self.sensitive[tool] = None

    def of(self, value: Any, kind: str = "other") -> Origin:
        """Return where a scalar comes from: the most trusted source that names it.

        Args:
            value: The scalar. A short or frequent one, such as `1` or `true`, comes from nowhere in particular.
            kind: Of the sink that it is for.
        """
        if is_common(value):
            return MODEL
        number = number_of(value)
        for source in chain(self._words, reversed(self._proving.values())):
            if source.origin.trusted and source.proves(value, number, kind):
                return source.origin
        for source in chain(islice(reversed(self._doubtful.values()), MAX_SEARCHED), self._words):
            if not source.origin.trusted and source.contains(value, number):
                return source.origin
        return MODEL

    def at(self, path: str, value: Any) -> Origin | None:
        """Return where a value comes from that is known to be the result of a call; None when that is not there."""
        source = self._results.get(path)
        if source is None:
            return None
        return MODEL if source.origin.trusted and source.is_echo(value) else source.origin

    def label(self, value: Any) -> Label:
        """Return what is to be kept beside a value that outlives the run: the label of its least trusted part."""
        origin = least(self.of(scalar(part)) for part in islice(leaves(value), MAX_LEAVES))
        return Label(origin, bool(self.sensitive) and not origin.named_by_people)

    def _say(self, source: Source) -> None:
        self._words_size += source.size
        if self._words_size <= MAX_WORDS:
            self._words.append(source)


def scalar(value: Any) -> Any:
    """Return a leaf of valid arguments as plain data: a date, path or enum as what it stands for."""
    if isinstance(value, Enum):
        return scalar(value.value)
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, date):
        return value.isoformat()
    return value if value is None or isinstance(value, str | bool | int | float | Decimal) else str(value)
