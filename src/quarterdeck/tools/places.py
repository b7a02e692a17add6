"""Where a tool runs, and how another process finds it again."""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Literal

import orjson

from quarterdeck import optouts
from quarterdeck.errors import ToolError
from quarterdeck.spec.workspace import starter
from quarterdeck.tools.loading import PREFIX, load_module

if TYPE_CHECKING:
    from quarterdeck.tools.tool import Tool

Place = Literal["event loop", "process", "own process", "thread: cannot be killed"]
LOOP: Place = "event loop"
PROCESS: Place = "process"
OWN_PROCESS: Place = "own process"
THREAD: Place = "thread: cannot be killed"

Address = dict[str, Any]
"""How to find a function again, as JSON: its module, with the file that this was loaded from, and its name there. Of a
method of an object: the object's name, or its class and fields."""


def place_of(tool: Tool) -> Place:
    """Return where a tool runs: by what its manifest says, else by whether another process can find it."""
    found = tool.manifest.isolated is None and not is_async(tool.function) and address_of(tool.function) is not None
    return declared_place(is_async=is_async(tool.function), isolated=tool.manifest.isolated, found=found)


def declared_place(*, is_async: bool, isolated: bool | None, found: bool = True) -> Place:
    """Return where a tool runs.

    Args:
        is_async: Whether it is an async function.
        isolated: As its manifest has it.
        found: Whether another process can find it, as it can the functions in the files of `tools/`.
    """
    if isolated:
        return OWN_PROCESS
    if is_async:
        return LOOP
    return PROCESS if found and isolated is None else THREAD


def comes_along(tool: Tool) -> bool:
    """Return whether a tool is one that comes with Quarterdeck: none of the workspace's, a program's or a server's."""
    code = getattr(inspect.unwrap(tool.function), "__code__", None)
    return code is not None and Path(code.co_filename).resolve().is_relative_to(starter() / "tools")


def is_async(function: Callable[..., Any]) -> bool:
    """Return whether a call of it has to be awaited."""
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(
        getattr(function, "__call__", None)  # noqa: B004 - an instance may have an async __call__
    )


def address_of(function: Callable[..., Any]) -> Address | None:
    """Return how another process finds a function again; None where it cannot, or must not.

    Found are functions at the top level of a tools file, and CrewAI tools whose state is plain data. All other
    functions came from the program itself, with which they may share state.
    """
    if isinstance(function, partial):
        return address_of(function.func)
    owner = getattr(function, "__self__", None)
    if owner is not None:
        method = getattr(function, "__name__", "")
        is_crewai = hasattr(owner, "args_schema") and method in ("_run", "_arun")
        found = _object(owner) if is_crewai else None
        return None if found is None else {**found, "method": method}
    name, module = getattr(function, "__name__", ""), getattr(function, "__module__", None) or ""
    place = _module_address(module) if module.startswith(PREFIX) else None
    if place is None or getattr(sys.modules[module], name, None) is not function:
        return None
    return {**place, "name": name}


def address_outright(function: Callable[..., Any]) -> Address:
    """Return how another process finds a function which is said to be isolated: if need be, by running its file again.

    Raises:
        ToolError: It has no file and name.
    """
    found = address_of(function)
    if found is not None:
        return found
    plain = inspect.unwrap(function)
    code = getattr(plain, "__code__", None)
    if code is None or getattr(plain, "__qualname__", "") != getattr(plain, "__name__", "."):
        raise ToolError(
            "It is said to be isolated, but no other process can find it: make it a function at the top level of a "
            "file, or take `isolated` away.",
            error_class="bug",
            unsent=True,
        )
    return {"module": "", "file": code.co_filename, "name": plain.__name__}


def function_at(address: Address) -> Callable[..., Any]:
    """Return the function at an address; in the other process.

    Raises:
        ToolError: Its file has changed since the run loaded it.
        SpecError: Its file cannot be loaded.
        ImportError: Its module is not there.
        AttributeError: Its module has no such name.
    """
    if "method" in address:
        optouts.apply()  # its module imports CrewAI
    module = _module(address["module"], address["file"])
    if "class" not in address:
        found = getattr(module, address["name"])
        return getattr(found, address["method"]) if "method" in address else found  # type: ignore[no-any-return]
    # its constructor is not called: that may do anything, and these are the fields as they came out of it
    made = getattr(module, address["class"]).model_construct(**address["fields"])
    return getattr(made, address["method"])  # type: ignore[no-any-return]


def _module(name: str, file: str) -> ModuleType:
    if name in sys.modules:
        return sys.modules[name]
    if name and not name.startswith(PREFIX):
        return importlib.import_module(name)
    path = Path(file)
    module = load_module(path, path.parent)
    if name and module.__name__ != name:
        raise ToolError(
            f"{path.name} has changed since this run loaded it. Resume the run, or start it again, to use it as it "
            "stands now.",
            unsent=True,
        )
    return module


def _module_address(name: str) -> Address | None:
    """Return how a module is found again; the program's own file is not, nor one that is not imported to its end."""
    module = sys.modules.get(name)
    parts = name.split(".")
    for end in range(1, len(parts) + 1):
        spec = getattr(sys.modules.get(".".join(parts[:end])), "__spec__", None)
        # importing it there would begin anew what is just going on here
        if spec is None or getattr(spec, "_initializing", False):
            return None
    file = getattr(module, "__file__", None)
    return None if name == "__main__" or not file else {"module": name, "file": file}


def _object(tool: Any) -> Address | None:
    """Return how a CrewAI tool is found again: it stands at the top level of a module, or can be built from its fields.

    None where its fields or private attributes hold more than plain data, such as a connection.
    """
    function = getattr(tool, "func", None)  # of one made by CrewAI's decorator, in whose place it stands
    module, name = getattr(function, "__module__", None) or "", getattr(function, "__name__", "")
    place = _module_address(module)
    if place is not None and getattr(sys.modules[module], name, None) is tool:
        return {**place, "name": name}
    kind = type(tool)
    place = _module_address(kind.__module__)
    if place is None or getattr(sys.modules[kind.__module__], kind.__name__, None) is not kind:
        return None
    fields = dict(_changed(tool))
    renamed = any(field.alias or field.validation_alias for field in kind.model_fields.values())
    if renamed or getattr(tool, "__pydantic_extra__", None) or not is_plain(fields) or any(_private(tool)):
        return None
    return {**place, "class": kind.__name__, "fields": fields}


def _changed(tool: Any) -> Iterator[tuple[str, Any]]:
    """Yield the fields that do not have their default; not the schemas, by which only this process judges a call."""
    for name, field in type(tool).model_fields.items():
        value = getattr(tool, name, None)
        if name not in ("args_schema", "result_schema") and not _equal(value, field.get_default, True):
            yield name, value


def _private(tool: Any) -> Iterator[str]:
    """Yield the private attributes that are not as at first; CrewAI's own, such as a lock, do not count."""
    base = next((one for one in type(tool).__mro__ if one.__module__.startswith("crewai.")), None)
    own = getattr(base, "__private_attributes__", {})
    values = getattr(tool, "__pydantic_private__", None) or {}
    for name, attribute in type(tool).__private_attributes__.items():
        if name not in own and name in values and not _equal(values[name], attribute.get_default):
            yield name


def _equal(value: Any, get_default: Callable[..., Any], call_factory: bool = False) -> bool:
    try:
        return bool(value == (get_default(call_default_factory=True) if call_factory else get_default()))
    except Exception:  # a default that depends on others, or something that does not compare
        return False


def is_plain(value: Any) -> bool:
    """Return whether JSON keeps a value exactly as it is."""
    try:
        return _is_plain(value) and bool(orjson.dumps(value))
    except (TypeError, ValueError, RecursionError):
        return False


def _is_plain(value: Any) -> bool:
    kind = type(value)
    if kind is float:
        return bool(value - value == 0)  # JSON knows no infinity
    if kind is list:
        return all(map(_is_plain, value))
    if kind is dict:
        return all(type(key) is str for key in value) and all(map(_is_plain, value.values()))
    return kind in (str, int, bool, type(None))
