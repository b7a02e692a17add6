"""What tools say of themselves in `@tool(...)`, read from a file's text without running any of it."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, get_args

from quarterdeck.spec.governance import Effect, SinkKind
from quarterdeck.spec.problem import Problem, did_you_mean
from quarterdeck.tools.manifest import Manifest
from quarterdeck.tools.outline import Outline, outlines
from quarterdeck.tools.places import Place, declared_place
from quarterdeck.tools.versions import FIRST, names_of

MAX_BYTES = 1_000_000
UNKNOWN = object()
"""What is declared by something else than plain data, such as a call."""
_KEYS = tuple(one.name for one in fields(Manifest))


@dataclass(frozen=True, slots=True)
class Declaration:
    """One tool as its file has it.

    Attributes:
        name: As agents are granted it.
        file: The path as the user would type it.
        line: Where it is declared: its `@tool`, else its `def`.
        column: Of that.
        parameters: The names of its parameters.
        said: What `@tool` is given, by keyword; `UNKNOWN` where that is no plain data.
        doc: The docstring.
        is_async: Whether it is an async function.
        found: Whether another process can find its function.
    """

    name: str
    file: str
    line: int
    column: int
    parameters: tuple[str, ...]
    said: Mapping[str, Any] = field(default_factory=dict)
    doc: str = ""
    is_async: bool = False
    found: bool = True

    @property
    def base(self) -> str:
        """The name without a version."""
        return self.name.partition("@")[0]

    @property
    def version(self) -> str:
        """Of its behaviour."""
        version = self.said.get("version")
        return version if isinstance(version, str) else FIRST

    def place(self, isolated: bool | None) -> Place:
        """Return where it runs.

        Args:
            isolated: As the operator says, else as it says itself.
        """
        return declared_place(is_async=self.is_async, isolated=isolated, found=self.found)

    def problem(self, what: str) -> Problem:
        """Return a problem at the place where the tool is declared."""
        return Problem(self.file, self.line, self.column, self.name, what)

    def mistakes(self) -> Iterator[Problem]:
        """Yield what is wrong with what it says; not what it leaves open."""
        for key, value in self.said.items():
            if key not in _KEYS:
                yield self.problem(f"@tool has no {key}{did_you_mean(key, _KEYS)}")
            elif key == "effect" and value not in (*get_args(Effect), None, UNKNOWN):
                yield self.problem(f"effect must be one of {', '.join(get_args(Effect))}, not {value!r}"[:200])
            elif key == "sinks" and isinstance(value, dict):
                yield from self._wrong_sinks(value)

    def _wrong_sinks(self, sinks: Mapping[Any, Any]) -> Iterator[Problem]:
        for name, kind in sinks.items():
            if name not in self.parameters:
                yield self.problem(f"sinks: it has no parameter {name!r}{did_you_mean(str(name), self.parameters)}")
            if kind not in get_args(SinkKind):
                yield self.problem(f"sinks: {name} must be one of {', '.join(get_args(SinkKind))}, not {kind!r}"[:200])


def declarations(files: Iterable[Path], shown: Mapping[Path, str]) -> dict[str, Declaration]:
    """Return the tools in some files by name; a file that cannot be read has none, and problems of its own.

    Args:
        files: Python files.
        shown: How problems name them.
    """
    found: dict[str, Declaration] = {}
    for file in files:
        try:
            data = file.read_bytes()[: MAX_BYTES + 1]
            tree = ast.parse(data) if len(data) <= MAX_BYTES else ast.Module([], [])
        except (OSError, ValueError, SyntaxError, RecursionError, MemoryError):
            continue
        named = names_of(file.stem, outlines(tree))
        functions = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
        constants = _constants(tree)
        for name, outline in named.items():
            found[name] = _declaration(name, outline, functions[outline.function], constants, shown[file])
    return found


def _declaration(
    name: str,
    outline: Outline,
    node: ast.FunctionDef | ast.AsyncFunctionDef,
    constants: Mapping[str, Any],
    file: str,
) -> Declaration:
    decorator = _decorator(node)
    said = {
        keyword.arg: _value(keyword.value, constants)
        for keyword in (decorator.keywords if decorator else ())
        if keyword.arg is not None
    }
    place: ast.expr | ast.stmt = decorator or node
    parameters = tuple(parameter.name for parameter in outline.parameters)
    is_async = isinstance(node, ast.AsyncFunctionDef)
    return Declaration(name, file, place.lineno, place.col_offset + 1, parameters, said, outline.doc, is_async)


def _decorator(node: ast.FunctionDef | ast.AsyncFunctionDef) -> ast.Call | None:
    for decorator in node.decorator_list:
        if isinstance(decorator, ast.Call) and ast.unparse(decorator.func).rpartition(".")[2] == "tool":
            return decorator
    return None


def _constants(tree: ast.Module) -> dict[str, Any]:
    """Return the plain data that a file gives a name to at its top."""
    found: dict[str, Any] = {}
    for node in tree.body:
        if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            value = _value(node.value, found)
            found |= {target.id: value for target in targets if isinstance(target, ast.Name)}
    return found


def _value(node: ast.expr, constants: Mapping[str, Any]) -> Any:
    if isinstance(node, ast.Name):
        return constants.get(node.id, UNKNOWN)
    try:
        return ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return UNKNOWN
