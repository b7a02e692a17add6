"""What a tool function looks like from outside: read from a file's text, without running any of it."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

CONTEXT = "context"
"""The parameter through which a tool gets its `ToolContext`; a model never sees it."""
EVIDENCE = "evidence"
"""The parameter that marks a function as a check or a `run:` function."""

_SECTION = re.compile(r"^(Args|Arguments|Returns|Return|Raises|Yields|Example|Examples|Note|Notes|Attributes):\s*$")
_ENTRY = re.compile(r"^\*{0,2}(\w+)(?: ?\([^)]*\))?:\s*(.*)$")
_OCCASION = re.compile(r"\b(?:use|when|whenever|if|unless|before|after|instead)\b|[.!?] +\S", re.IGNORECASE)
"""A word that begins to say when something is of use, or a second sentence."""
MIN_WORDS = 5
"""Of a description that tells a tool from others."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter of a function: whether it has a type, and a description beside it."""

    name: str
    line: int
    typed: bool
    described: bool = False
    plain: bool = True


@dataclass(frozen=True, slots=True)
class Outline:
    """One function.

    Attributes:
        name: As agents are granted it, without the file: what `@tool(name=...)` says, else the function's own name.
            A trailing underscore, which Python's own names (`list_`) make necessary, is no part of it.
        function: As Python knows it.
        doc: The docstring.
        version: What `@tool(version=...)` says; empty when it says nothing.
        deprecated: What `@tool(deprecated=...)` says.
    """

    name: str
    function: str
    line: int
    doc: str
    parameters: tuple[Parameter, ...]
    version: str = ""
    deprecated: str = ""


@dataclass(frozen=True, slots=True)
class Docstring:
    """A Google-style docstring: the text before the sections, what `Args:` says of each parameter, and the sections."""

    text: str
    arguments: dict[str, str]
    sections: frozenset[str] = frozenset()


def read_docstring(doc: str) -> Docstring:
    """Read a Google-style docstring."""
    text: list[str] = []
    arguments: dict[str, str] = {}
    sections: set[str] = set()
    section = name = ""
    indent: int | None = None
    for line in inspect.cleandoc(doc).splitlines():
        if found := _SECTION.match(line):
            section, name, indent = found[1], "", None
            sections.add(section)
        elif not section:
            text.append(line)
        elif section in ("Args", "Arguments") and line.strip():
            depth = len(line) - len(line.lstrip())
            indent = depth if indent is None else indent
            entry = _ENTRY.match(line.strip()) if depth <= indent else None
            if entry:
                name = entry[1]
                arguments[name] = entry[2]
            elif name:
                arguments[name] = f"{arguments[name]} {line.strip()}".strip()
    told = {key: value for key, value in arguments.items() if value}
    return Docstring(" ".join(" ".join(text).split()), told, frozenset(sections))


def outlines(tree: ast.Module) -> list[Outline]:
    """Return the functions of a file that are tools.

    They are its public functions, or, where the file has an `__all__`, those and no others.
    A function that takes `evidence` is a guardrail or the function of a `run:` task, never a tool.
    """
    only = _declared(tree)
    functions = [
        node
        for node in tree.body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and not node.name.startswith("_")
    ]
    return [
        _outline(node)
        for node in functions
        if (only is None or node.name in only)
        and all(argument.arg != EVIDENCE for argument in (*node.args.args, *node.args.kwonlyargs))
    ]


def _outline(node: ast.FunctionDef | ast.AsyncFunctionDef) -> Outline:
    declared = _tool_decorator(node)
    return Outline(
        name=declared.get("name") or node.name.rstrip("_"),
        function=node.name,
        line=node.lineno,
        doc=ast.get_docstring(node) or "",
        parameters=tuple(_parameters(node.args)),
        version=declared.get("version", ""),
        deprecated=declared.get("deprecated", ""),
    )


def _tool_decorator(node: ast.FunctionDef | ast.AsyncFunctionDef) -> dict[str, str]:
    """Return the plain texts that a function's `@tool(...)` is given, by keyword."""
    for decorator in node.decorator_list:
        if isinstance(decorator, ast.Call) and ast.unparse(decorator.func).rpartition(".")[2] == "tool":
            return {
                keyword.arg: keyword.value.value
                for keyword in decorator.keywords
                if keyword.arg and isinstance(keyword.value, ast.Constant) and isinstance(keyword.value.value, str)
            }
    return {}


def outline_of(function: Callable[..., Any]) -> Outline:
    """Return the outline of a function that is loaded."""
    parameters = tuple(
        Parameter(
            parameter.name,
            0,
            parameter.annotation is not parameter.empty,
            "description=" in str(parameter.annotation),
            parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY),
        )
        for parameter in inspect.signature(function).parameters.values()
    )
    name = getattr(function, "__name__", type(function).__name__)
    return Outline(name.rstrip("_"), name, 0, inspect.getdoc(function) or "", parameters)


def mistakes(outline: Outline) -> list[tuple[int, str, str]]:
    """Return what keeps a function from being a tool, each as (line, where, what)."""
    doc = read_docstring(outline.doc)
    found = []
    if not doc.text:
        found.append((outline.line, outline.function, "no docstring; say what the tool does, agents choose by it"))
    for parameter in outline.parameters:
        where, line = f"{outline.function}.{parameter.name}", parameter.line or outline.line
        if not parameter.plain:
            found.append((line, where, "a tool takes named parameters only, no *args or **kwargs"))
        elif not parameter.typed:
            found.append((line, where, f"no type; write `{parameter.name}: str`, or what it is"))
        elif parameter.name != CONTEXT and not parameter.described and parameter.name not in doc.arguments:
            found.append((line, where, f"no description; add `{parameter.name}: ...` below `Args:` in the docstring"))
    return found


def advice(doc: str) -> list[str]:
    """Return what a tool's docstring leaves unsaid that an agent chooses by; none of it keeps the tool from working.

    Whether words say when a tool is of use cannot be told by code: a second sentence, or a word such as `when`, is
    taken for it.

    Args:
        doc: The docstring; an empty one is a mistake already.
    """
    read = read_docstring(doc)
    if not read.text:
        return []
    found = []
    if (words := len(read.text.split())) < MIN_WORDS:
        found.append(f"its description has {words} of at least {MIN_WORDS} words")
    if not _OCCASION.search(read.text):
        found.append("it does not say when to use it; add a short sentence, such as: Use it when ...")
    if not read.sections & {"Returns", "Return", "Yields"}:
        found.append("it does not say what it returns; add `Returns:` to the docstring")
    return found


def definitions(tree: ast.Module) -> list[str]:
    """Return the names that a file defines at its top level."""
    names: list[str] = []
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.append(node.name)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            names += _targets(node)
    return names


def _declared(tree: ast.Module) -> Iterable[str] | None:
    for node in tree.body:
        if isinstance(node, ast.Assign | ast.AnnAssign) and "__all__" in _targets(node):
            names = node.value.elts if isinstance(node.value, ast.Tuple | ast.List) else []
            return {name.value for name in names if isinstance(name, ast.Constant) and isinstance(name.value, str)}
    return None


def _targets(node: ast.Assign | ast.AnnAssign) -> list[str]:
    targets = node.targets if isinstance(node, ast.Assign) else [node.target]
    return [target.id for target in targets if isinstance(target, ast.Name)]


def _parameters(arguments: ast.arguments) -> Iterable[Parameter]:
    for argument in (*arguments.args, *arguments.kwonlyargs):
        yield _parameter(argument, plain=True)
    for argument in (*arguments.posonlyargs, *filter(None, (arguments.vararg, arguments.kwarg))):
        yield _parameter(argument, plain=False)


def _parameter(argument: ast.arg, *, plain: bool) -> Parameter:
    described = argument.annotation is not None and any(
        isinstance(node, ast.keyword) and node.arg == "description" for node in ast.walk(argument.annotation)
    )
    return Parameter(argument.arg, argument.lineno, argument.annotation is not None, described, plain)
