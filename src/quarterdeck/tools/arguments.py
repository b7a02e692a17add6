"""Checking the arguments of a call before the tool sees them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from typing import Any

import orjson
from pydantic import BaseModel, ValidationError

from quarterdeck.errors import ToolError
from quarterdeck.spec.problem import did_you_mean
from quarterdeck.tools.tool import Tool

MAX_BYTES = 64_000
MAX_PROBLEMS = 10


def validate(tool: Tool, arguments: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments as the function takes them, converted to its types.

    Args:
        tool: Whose arguments they are.
        arguments: As the model wrote them.

    Returns:
        What was given, and only that; defaults are left to the function.

    Raises:
        ToolError: They do not fit; the text lists every problem in words that a model can act on.
    """
    try:
        size = len(orjson.dumps(arguments))
    except (TypeError, ValueError) as error:
        raise ToolError(f"{tool.name}: the arguments are no JSON: {error}. Give one flat JSON object.") from None
    if size > MAX_BYTES and size > (allowed := _allowed_bytes(tool)):
        raise ToolError(f"{tool.name}: the arguments are {size:,} bytes, more than {allowed:,}. Send less at once.")
    valid, problems = _checked(tool, arguments)
    if problems:
        raise ToolError(_all_of(tool, [words for _, words in problems]))
    return valid


def mistakes(tool: Tool, arguments: dict[str, Any], later: Collection[str] = ()) -> list[str]:
    """Return what is wrong with arguments that are written before the call is made.

    Args:
        tool: Whose arguments they are.
        arguments: Those that are known.
        later: The names of those whose values are known when the call is made; only their names are checked.
    """
    known = tool.parameters.get("properties", {})
    unknown = [_unknown(name, known) for name in later if name not in known]
    return [*unknown, *(words for name, words in _checked(tool, arguments)[1] if name not in later)][:MAX_PROBLEMS]


def _checked(tool: Tool, arguments: dict[str, Any]) -> tuple[dict[str, Any], list[tuple[str, str]]]:
    """Return the arguments as the function takes them, and what is wrong with them, each with the argument's name."""
    known = tool.parameters.get("properties", {})
    problems = [(name, _unknown(name, known)) for name in arguments if name not in known]
    given = {name: value for name, value in arguments.items() if name in known} if problems else arguments
    if tool.validator is None:
        problems += _against_schema(tool.parameters, given)
        return given, problems
    try:
        valid = tool.validator.validate_python(given)
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False)
        return given, [*problems, *((_argument(problem), _in_words(problem)) for problem in found)]
    return (valid.model_dump() if isinstance(valid, BaseModel) else dict(valid)), problems


def _unknown(name: str, known: Iterable[str]) -> str:
    return f'unknown argument "{name[:60]}"{did_you_mean(name[:60], known).removesuffix("?")}'


def _allowed_bytes(tool: Tool) -> int:
    """Return the limit, wider for a tool that itself declares a longer text (`maxLength`), such as a file's content."""
    declared: list[int] = [part.get("maxLength", 0) for part in tool.parameters.get("properties", {}).values()]
    return MAX_BYTES + 4 * sum(length for length in declared if length > MAX_BYTES)


def _argument(problem: Any) -> str:
    return next((str(part) for part in problem["loc"] if not str(part).startswith("function-")), "")


def _in_words(problem: Any) -> str:
    where = ".".join(str(part) for part in problem["loc"] if not str(part).startswith("function-"))
    if problem["type"] == "missing":
        return f'"{where}" is missing'
    return f'"{where}": {problem["msg"][:1].lower()}{problem["msg"][1:300]}'


def _against_schema(schema: dict[str, Any], arguments: dict[str, Any]) -> Iterator[tuple[str, str]]:
    if not schema:
        return
    from jsonschema import Draft202012Validator  # only tools that bring a bare schema need it

    for problem in Draft202012Validator(schema).iter_errors(arguments):
        where = ".".join(map(str, problem.absolute_path))
        missing = problem.message.partition(" is a required")[0].strip("'") if problem.validator == "required" else ""
        yield where.split(".")[0] or missing, f'"{where}": {problem.message[:300]}' if where else problem.message[:300]


def _all_of(tool: Tool, problems: list[str]) -> str:
    shown = problems[:MAX_PROBLEMS]
    if len(problems) > MAX_PROBLEMS:
        shown.append(f"and {len(problems) - MAX_PROBLEMS} more")
    required = tool.parameters.get("required", [])
    takes = ", ".join(
        name if name in required else f"{name} (optional)" for name in list(tool.parameters.get("properties", {}))[:30]
    )
    return f"{tool.name}: {'; '.join(shown)}. It takes: {takes or 'no arguments'}."
