"""Reads declared files: YAML and JSON with comments, to plain data with the place of every key.

What can make a reader slow, large or dangerous is refused on the way: tags, alias bombs, deep nesting, large files.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import yaml

from quarterdeck.errors import SpecError
from quarterdeck.spec.problem import Problem

MAX_BYTES = 1_000_000
MAX_JSON_BYTES = 250_000  # comments are blanked in Python, at some 0.3 s a megabyte in the worst case
MAX_NODES = 10_000
MAX_DEPTH = 32
_MAX_DUPLICATES = 50

Place = tuple[str | int, ...]
"""Where in a file something stands: keys and list indexes from the top."""

# YAML 1.2 core schema: in 1.1 `on` would be true, `12:30` 750 and `2024-01-01` no text.
_NULL = frozenset({"", "~", "null", "Null", "NULL"})
_BOOL = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_INT = re.compile(r"[-+]?[0-9]{1,18}")
_FLOAT = re.compile(r"[-+]?(?:[0-9]{1,18}\.[0-9]{0,30}|\.?[0-9]{1,18})(?:[eE][-+]?[0-9]{1,3})?")

# Each alternative matches to its end or to the end of the text, so no input makes the search quadratic.
_STRING = r'"(?:[^"\\\n]++|\\.)*+"?'
_NO_JSON = re.compile(rf"{_STRING}|//[^\n]*+|/\*.*?(?:\*/|\Z)|\t", re.DOTALL)
_TRAILING_COMMA = re.compile(rf"{_STRING}|,(?=\s*+[}}\]])")
_SURROGATES = re.compile(r"\\u([dD][89abAB][0-9a-fA-F]{2})\\u([dD][c-fC-F][0-9a-fA-F]{2})")


@dataclass(frozen=True, slots=True)
class Document:
    """A declared file, read.

    Attributes:
        file: The path as it is shown to the user.
        data: Mappings, lists, text, numbers, booleans and None.
        positions: Line and column, from 1, of each key and list item by its place.
    """

    file: str
    data: Any
    positions: dict[Place, tuple[int, int]]

    def position(self, place: Place) -> tuple[int, int]:
        """Return line and column of the place, or of the nearest thing around it that is in the file."""
        for end in range(len(place), -1, -1):
            if place[:end] in self.positions:
                return self.positions[place[:end]]
        return (1, 1)

    def problem(self, place: Place, what: str, *, at: Place | None = None) -> Problem:
        """Return a problem with what stands at `place`; `at` points elsewhere, such as at an unknown key in it."""
        line, column = self.position(place if at is None else at)
        return Problem(self.file, line, column, ".".join(str(part) for part in place), what)


def read_document(path: Path, shown: str | None = None) -> Document:
    """Read a `.yaml`, `.yml`, `.json` or `.jsonc` file.

    Args:
        path: The file.
        shown: How problems name it; the path itself by default.

    Raises:
        SpecError: The file cannot be read, is too large, or is not plain data.
    """
    shown = shown or str(path)
    json = path.suffix.lower() in (".json", ".jsonc")
    limit = MAX_JSON_BYTES if json else MAX_BYTES
    try:
        with path.open("rb") as stream:
            raw = stream.read(limit + 1)
    except OSError as error:
        _refuse(shown, 1, 1, f"cannot be read: {error.strerror or error}")
    if len(raw) > limit:
        _refuse(shown, 1, 1, f"larger than {limit:,} bytes; a declared file is kept small")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = raw[: error.start].decode("utf-8", "replace")
        line, column = before.count("\n") + 1, len(before) - before.rfind("\n")
        _refuse(shown, line, column, f"not UTF-8 (byte 0x{raw[error.start]:02x}); save the file as UTF-8")
    return read_text(text, shown, json=json)


def read_text(text: str, shown: str, *, json: bool = False) -> Document:
    """Read declared text; like `read_document` for what is already in memory.

    Args:
        text: YAML, or JSON with comments and trailing commas.
        shown: How problems name the text.
        json: Whether it is JSON.

    Raises:
        SpecError: The text is too large or is not plain data.
    """
    limit = MAX_JSON_BYTES if json else MAX_BYTES
    if len(text) > limit:
        _refuse(shown, 1, 1, f"larger than {limit:,} characters; a declared file is kept small")
    reader = _Reader(shown)
    try:
        data = reader.read(_json_as_yaml(text) if json else text)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        # A tab is libyaml's most frequent complaint and its least understandable one.
        tab = "; indent with spaces, not tabs" if "cannot start any token" in str(error.problem) else ""
        _refuse(shown, line, column, f"not valid {'JSON' if json else 'YAML'}: {error.problem or error.context}{tab}")
    except yaml.YAMLError as error:
        _refuse(shown, 1, 1, f"not valid {'JSON' if json else 'YAML'}: {str(error).splitlines()[0][:200]}")
    if reader.problems:
        raise SpecError(reader.problems)
    return Document(shown, data, reader.positions)


def _refuse(shown: str, line: int, column: int, what: str) -> NoReturn:
    raise SpecError([Problem(shown, line, column, "", what)])


def _json_as_yaml(text: str) -> str:
    """Blank what YAML's flow style does not know, each line and column staying where it was."""

    def blank(match: re.Match[str]) -> str:
        found = match.group()
        if found.startswith('"'):
            return _SURROGATES.sub(_join_surrogates, found)
        return re.sub(r"[^\n]", " ", found)

    without_comments = _NO_JSON.sub(blank, text)
    return _TRAILING_COMMA.sub(lambda match: " " if match.group() == "," else match.group(), without_comments)


def _join_surrogates(match: re.Match[str]) -> str:
    high, low = (int(half, 16) for half in match.groups())
    return f"\\U{0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00):08x}"


def _value(text: str) -> Any:
    if text in _NULL:
        return None
    if text in _BOOL:
        return _BOOL[text]
    if _INT.fullmatch(text):
        return int(text)
    if _FLOAT.fullmatch(text):
        number = float(text)
        return number if math.isfinite(number) else text
    return text


@dataclass(slots=True)
class _Reader:
    """Builds data from libyaml's events, and stops as soon as a bound is passed."""

    shown: str
    positions: dict[Place, tuple[int, int]] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    nodes: int = 0
    anchors: dict[str, tuple[Any, int] | None] = field(default_factory=dict)
    events: Iterator[Any] = field(default_factory=lambda: iter(()))

    def read(self, text: str) -> Any:
        self.events = iter(yaml.parse(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)))
        data = None
        for event in self.events:
            if isinstance(event, yaml.DocumentStartEvent):
                if () in self.positions:
                    self._stop(event, "a second document in one file; keep one a file")
                first = next(self.events)
                self.positions[()] = self._place(first)
                data = self._node(first, ())
        return data

    def _place(self, event: Any) -> tuple[int, int]:
        return event.start_mark.line + 1, event.start_mark.column + 1

    def _stop(self, event: Any, what: str) -> NoReturn:
        _refuse(self.shown, *self._place(event), what)

    def _count(self, event: Any, nodes: int = 1) -> None:
        self.nodes += nodes
        if self.nodes > MAX_NODES:
            self._stop(event, f"more than {MAX_NODES:,} values, those that aliases repeat included; split the file")

    def _node(self, event: Any, place: Place) -> Any:
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event)
        self._count(event)
        if event.tag is not None and event.tag != "!":
            self._stop(event, f'tag "{event.tag[:80]}" is not allowed; declared files hold plain data')
        if len(place) > MAX_DEPTH:
            self._stop(event, f"nested deeper than {MAX_DEPTH} levels")
        before = self.nodes
        if event.anchor:
            self.anchors[event.anchor] = None
        if isinstance(event, yaml.ScalarEvent):
            value: Any = _value(event.value) if event.implicit[0] else event.value
        elif isinstance(event, yaml.SequenceStartEvent):
            value = self._sequence(place)
        else:
            value = self._mapping(place)
        if event.anchor:
            self.anchors[event.anchor] = (value, self.nodes - before + 1)
        return value

    def _alias(self, event: Any) -> Any:
        if event.anchor not in self.anchors:
            self._stop(event, f'alias "*{event.anchor}" has no anchor "&{event.anchor}" before it')
        found = self.anchors[event.anchor]
        if found is None:
            self._stop(event, f'alias "*{event.anchor}" contains itself')
        self._count(event, found[1])
        return found[0]

    def _sequence(self, place: Place) -> list[Any]:
        items: list[Any] = []
        while not isinstance(event := next(self.events), yaml.SequenceEndEvent):
            here = (*place, len(items))
            self.positions[here] = self._place(event)
            items.append(self._node(event, here))
        return items

    def _mapping(self, place: Place) -> dict[str, Any]:
        own: dict[str, Any] = {}
        merged: dict[str, Any] = {}
        while not isinstance(event := next(self.events), yaml.MappingEndEvent):
            if not isinstance(event, yaml.ScalarEvent):
                self._stop(event, "a key must be plain text")
            # Keys are names: `on`, `no` and `2024` stay the text that was written.
            key, here = event.value, (*place, event.value)
            self._count(event)
            value = self._node(next(self.events), here)
            if key == "<<" and event.implicit[0]:
                self._merge(event, merged, value)
                continue
            if key in own:
                self._duplicate(event, place, key)
                continue
            self.positions[here] = self._place(event)
            own[key] = value
        return {**merged, **own} if merged else own

    def _merge(self, event: Any, merged: dict[str, Any], value: Any) -> None:
        for source in value if isinstance(value, list) else [value]:
            if not isinstance(source, dict):
                self._stop(event, '"<<" takes over the keys of a mapping, such as "<<: *name"')
            for key, inherited in source.items():
                merged.setdefault(key, inherited)

    def _duplicate(self, event: Any, place: Place, key: str) -> None:
        if len(self.problems) < _MAX_DUPLICATES:
            first = self.positions[(*place, key)][0]
            what = f'key "{key[:80]}" stands twice, first in line {first}; keep one'
            self.problems.append(Problem(self.shown, *self._place(event), ".".join(map(str, place)), what))
