"""The house rules that no linter knows: the layout, the size of files, the public names, the two waists."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest

import quarterdeck

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "src" / "quarterdeck"
FILES = sorted(SOURCE.rglob("*.py"))
DECLARED = ("crews", "roles", "tools", "memory", "config")
MAX_FILE = 400
MAX_FUNCTION = 60
MAX_PUBLIC = 12

ASKS_A_PROVIDER = {
    "models/stages.py",  # Answer: the end of the port
    "cli/models.py",  # `models test`: there is no run to which the call belongs
    "memory/embedder.py",  # a hosted embedding outside of a run, such as `memory search`; within one it is the port
    "memory/rerank.py",  # a hosted reranker, likewise
    "testing/cassette.py",  # a provider that records another one
}
EXECUTES_A_TOOL = {
    "governance/executed.py",  # Executed: the end of the gate
    "governance/verified.py",  # what a tool's manifest names to look whether the world has changed
    "engine/tasks.py",  # the function of a `run:` task, under the same deadline
    "engine/loop.py",  # guardrails, likewise
    "evaluation/checks.py",  # guardrails of cases, likewise
    "governance/undo.py",  # the undo of a tool, which is no call of it, likewise
}
CALLS_A_FUNCTION = {"tools/execution.py"}
"""Where a tool's own function is called."""
FINDS_A_FUNCTION = {"tools/worker.py"}
"""Where it is found again, in the other process, to be called there."""


@cache
def tree(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"))


def where(found: Callable[[ast.Call], bool]) -> set[str]:
    """Return the files that hold a call of some kind."""
    return {
        file.relative_to(SOURCE).as_posix()
        for file in FILES
        if any(isinstance(node, ast.Call) and found(node) for node in ast.walk(tree(file)))
    }


def method(call: ast.Call, name: str, of: str = "") -> bool:
    """Say whether a call is `....name(...)`, of something whose own name ends in `of`."""
    return (
        isinstance(call.func, ast.Attribute)
        and call.func.attr == name
        and ast.unparse(call.func.value).lower().endswith(of)
    )


def functions(file: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(tree(file)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


@pytest.mark.parametrize("folder", [*DECLARED, "src/quarterdeck", "tests", "docs", "bench"])
def test_the_rooms_are_there(folder: str) -> None:
    assert any((ROOT / folder).iterdir())


def test_ci_is_one_script() -> None:
    assert (ROOT / ".ci" / "run").stat().st_mode & 0o111


@pytest.mark.parametrize("folder", DECLARED)
def test_what_is_declared_is_no_package(folder: str) -> None:
    assert not list((ROOT / folder).rglob("__init__.py")), "users have folders of these names"


def test_no_file_is_two_nouns() -> None:
    sizes = {str(file.relative_to(SOURCE)): len(file.read_text(encoding="utf-8").splitlines()) for file in FILES}
    assert not {name: lines for name, lines in sizes.items() if lines > MAX_FILE}


def test_no_function_is_two_verbs() -> None:
    long = {
        f"{file.relative_to(SOURCE)}:{function.lineno} {function.name}": lines
        for file in FILES
        for function in functions(file)
        if (lines := _lines(function)) > MAX_FUNCTION
    }
    assert not long


def _lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Count the lines of a function, without its docstring and without functions and classes within it."""
    skipped = sum(
        (part.end_lineno or part.lineno) - part.lineno + 1
        for part in ast.walk(function)
        if part is not function
        and (
            isinstance(part, ast.ClassDef)
            or (isinstance(part, ast.Expr) and part is function.body[0] and isinstance(part.value, ast.Constant))
        )
    )
    return (function.end_lineno or function.lineno) - function.lineno + 1 - skipped


def test_the_public_names_are_few_and_pinned() -> None:
    assert len(quarterdeck.__all__) <= MAX_PUBLIC
    assert quarterdeck.__all__ == [
        "Crew", "Gate", "Member", "Memory", "ModelError", "QuarterdeckError", "Rejected", "Result", "SpecError",
        "ToolError", "__version__", "tool",
    ]  # fmt: skip


def test_only_the_port_asks_a_model() -> None:
    assert where(lambda call: method(call, "answer")) == ASKS_A_PROVIDER


def test_only_the_gate_executes_a_tool() -> None:
    assert where(lambda call: method(call, "execute", of="executor")) == EXECUTES_A_TOOL
    assert where(lambda call: method(call, "function", of="tool")) == CALLS_A_FUNCTION
    assert where(lambda call: isinstance(call.func, ast.Name) and call.func.id == "function_at") == FINDS_A_FUNCTION


def test_nothing_is_evaluated_or_unpickled() -> None:
    def dangerous(call: ast.Call) -> bool:
        return isinstance(call.func, ast.Name) and call.func.id in ("eval", "exec", "compile")

    assert where(dangerous) == set()
    imported = {
        alias.name.split(".")[0]
        for file in FILES
        for node in ast.walk(tree(file))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in ([ast.alias(node.module or "")] if isinstance(node, ast.ImportFrom) else node.names)
    }
    assert not imported & {"pickle", "marshal", "shelve", "dill"}
