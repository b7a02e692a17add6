"""Making a tool of a typed function, or of a CrewAI tool."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator
from typing import Annotated, Any, NotRequired, cast, get_type_hints

from pydantic import BaseModel, ConfigDict, Field, PydanticUserError, TypeAdapter
from pydantic.errors import PydanticSchemaGenerationError
from typing_extensions import TypedDict

from quarterdeck.errors import SpecError
from quarterdeck.spec.problem import Problem, did_you_mean
from quarterdeck.tools.manifest import Manifest, manifest_of
from quarterdeck.tools.outline import CONTEXT, mistakes, outline_of, read_docstring
from quarterdeck.tools.tool import Tool, ToolContext

_RULES = ConfigDict(extra="forbid", coerce_numbers_to_str=True, allow_inf_nan=False, hide_input_in_errors=True)


def tool_from_function(
    function: Callable[..., Any], name: str | None = None, *, file: str = "", timeout: float | None = None
) -> Tool:
    """Make a tool of a function; its schema comes from type hints and the docstring's `Args:`.

    What it does to the world comes from `@tool` above the function.

    Args:
        function: Typed and documented, sync or async. A parameter `context: ToolContext` is filled in by the engine.
        name: What agents call it; `module.function` by default.
        file: The file to name in problems; where the function was defined by default.
        timeout: Seconds a call may take; what `@tool` says when None.

    Raises:
        SpecError: Types or descriptions are missing, or a type cannot be told to a model; names every place.
    """
    code = getattr(inspect.unwrap(function), "__code__", None)
    line = code.co_firstlineno if code else 1
    place = file or (code.co_filename if code else "<python>")
    outline = outline_of(function)
    manifest = manifest_of(function)
    if found := [*mistakes(outline), *_undeclarable(function, manifest)]:
        raise SpecError([Problem(place, at or line, 1, where, what) for at, where, what in found])
    try:
        validator, schema = _arguments(function)
        parameters = tidy(schema)
    except (NameError, TypeError, ValueError, PydanticUserError, PydanticSchemaGenerationError) as error:
        what = f"the type of a parameter cannot be told to a model: {str(error).splitlines()[0]}"
        raise SpecError([Problem(place, line, 1, outline.function, what)]) from error
    return Tool(
        name=name or f"{function.__module__.rsplit('.', 1)[-1]}.{outline.name}",
        description=read_docstring(outline.doc).text,
        parameters=parameters,
        function=function,
        takes_context=CONTEXT in inspect.signature(function).parameters,
        timeout=manifest.timeout if timeout is None else timeout,
        manifest=manifest,
        validator=validator,
    )


def _undeclarable(function: Callable[..., Any], manifest: Manifest) -> Iterator[tuple[int, str, str]]:
    """Yield what `@tool` says and the function does not bear out, each as (line, where, what)."""
    name = getattr(function, "__name__", type(function).__name__)
    parameters = inspect.signature(function).parameters
    for sink in manifest.sinks or ():
        if sink not in parameters:
            yield 0, name, f'sinks names "{sink}", which is no parameter{did_you_mean(sink, parameters)}'
    if manifest.dry_run and (
        manifest.dry_run not in parameters or not isinstance(parameters[manifest.dry_run].default, bool)
    ):
        yield 0, name, f"dry_run names no parameter that is true or false; add `{manifest.dry_run}: bool = True`"
    if manifest.isolated and getattr(function, "__qualname__", ".") != name:
        yield 0, name, "isolated tools are functions at the top level of a file; another process has to find it"
    if manifest.isolated and manifest.calls:
        yield 0, name, "a composite tool cannot be isolated: its calls go through this process's gate"


def tool_from_crewai(tool: Any, name: str | None = None, *, timeout: float = 60.0) -> Tool:
    """Make a tool of a CrewAI `BaseTool`, as it comes from `crewai` or `crewai-tools`.

    It counts as `external` until the operator says in `config/governance.yaml` what it does.

    Args:
        tool: Anything with `name`, `description`, `args_schema` and `_run`. Its own `run` is not used, because
            what that adds (a usage count, a printed panel) the gate has too.
        name: What agents call it; made from the tool's own name by default.
        timeout: Seconds a call may take.

    Raises:
        TypeError: It does not look like a CrewAI tool.
    """
    schema = getattr(tool, "args_schema", None)
    if not hasattr(tool, "_run") or not (isinstance(schema, type) and issubclass(schema, BaseModel)):
        raise TypeError(f"{tool!r} is no CrewAI tool: it needs name, description, args_schema and _run.")
    owner = next((base for base in type(tool).__mro__ if "_arun" in vars(base)), None)
    own_arun = owner is not None and not owner.__module__.startswith("crewai.")
    parameters = tidy(schema.model_json_schema())
    parameters.pop("description", None)
    return Tool(
        name=name or _name_from(str(tool.name)),
        description=" ".join(str(tool.description).split()) or str(tool.name),
        parameters={**parameters, "additionalProperties": False},
        function=tool._arun if own_arun else tool._run,
        timeout=timeout,
        manifest=Manifest(effect="external", owner="crewai", timeout=timeout),
        validator=TypeAdapter(schema),
    )


def tidy(schema: dict[str, Any]) -> dict[str, Any]:
    """Return a JSON Schema without titles and references, so that it can stand inside another one.

    Raises:
        ValueError: A type contains itself.
    """
    definitions = schema.get("$defs", {})

    def walk(node: Any, inside: tuple[str, ...], named: bool = False) -> Any:
        if isinstance(node, list):
            return [walk(part, inside) for part in node]
        if not isinstance(node, dict):
            return node
        if "$ref" in node:
            key = str(node["$ref"]).rsplit("/", 1)[-1]
            if key in inside:
                raise ValueError(f"{key} contains itself")
            rest = {name: part for name, part in node.items() if name != "$ref"}
            return walk({**definitions[key], **rest}, (*inside, key))
        return {
            name: walk(part, inside, named=name == "properties")
            for name, part in node.items()
            # below `properties` these are names of arguments, not keywords
            if named or name not in ("title", "$defs")
        }

    return cast(dict[str, Any], walk(schema, ()))


def _arguments(function: Callable[..., Any]) -> tuple[TypeAdapter[Any], dict[str, Any]]:
    hints = get_type_hints(function, localns={"ToolContext": ToolContext}, include_extras=True)
    described = read_docstring(inspect.getdoc(function) or "").arguments
    fields: dict[str, Any] = {}
    defaults: dict[str, Any] = {}
    for name, parameter in inspect.signature(function).parameters.items():
        if name == CONTEXT:
            continue
        hint = hints[name]
        if name in described:
            hint = Annotated[hint, Field(description=described[name])]
        if parameter.default is not parameter.empty:
            hint = NotRequired[hint]
            defaults[name] = parameter.default
        fields[name] = hint
    # a TypedDict, not a model: it has no attributes that an argument's name could shadow, and it leaves out what
    # was not given, so that the function's own defaults hold
    arguments = cast(Any, TypedDict)("Arguments", fields)
    arguments.__pydantic_config__ = _RULES
    validator: TypeAdapter[Any] = TypeAdapter(arguments)
    schema = validator.json_schema()
    schema.setdefault("properties", {})
    for name, default in defaults.items():
        if isinstance(default, str | int | float | bool):
            schema["properties"][name]["default"] = getattr(default, "value", default)
    return validator, {**schema, "additionalProperties": False}


def _name_from(words: str) -> str:
    name = re.sub(r"[^A-Za-z0-9_.-]+", "_", words.strip()).strip("_.-").lower()[:128]
    return name if name[:1].isalpha() or name[:1] == "_" else f"tool_{name}"
