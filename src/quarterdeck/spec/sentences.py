"""Turns what pydantic finds wrong with declared data into sentences for the person who wrote it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import UnionType
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from quarterdeck.spec.problem import did_you_mean
from quarterdeck.spec.text import Place

Model = TypeVar("Model", bound=BaseModel)

_ROUNDS = 6

_SYNONYMS = {
    "max_iter": "max_turns",
    "llm": "model",
    "depends_on": "needs",
    "requires": "needs",
    "if": "when",
    "output_pydantic": "output",
    "output_json": "output",
    "output_file": "save_as",
    "function": "run",
    "name": "crew",
    "manager_agent": "manager",
    "budget": "limits",
}
_MISSING = {
    "role": "say in a few words who this is",
    "goal": "say in one sentence what this role is after",
    "backstory": "say in one or two sentences what this role knows and how it works",
    "description": "say what is to be done",
    "expected_output": "say what a good result looks like",
    "crew": "give the crew a name",
    "manager": "name the agent that delegates",
    "agents": "name at least one agent",
    "tasks": "name at least one task",
}
_KINDS = {
    "string": "text",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "dict": "a mapping",
    "model": "a mapping",
    "tuple": "a list such as [a, b]",
    "list": "a list such as [a, b]",
}
_FORMS = {
    r"^[a-zA-Z_][a-zA-Z0-9_-]{0,63}$": "a name: a letter, then at most 63 letters, digits, _ or -",
    r"^[a-zA-Z_][a-zA-Z0-9_.-]{0,127}$": "a tool's name, such as documents.search",
    r"^[A-Za-z][A-Za-z0-9_]{0,39}$": "a step's id: a letter, then at most 39 letters, digits or _",
    r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$": "a file name such as report.md; it is written into the run's own folder",
    r"^https?://[^\s]{1,500}$": "an address that begins with http:// or https://",
    r"^[A-Za-z_][A-Za-z0-9_]{0,99}$": "the name of an environment variable, never the key itself",
}

MAX_KEYS_TOLD = 8
"""A model of so few keys has them told where none is near to what was written."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something wrong at a place of a file; `at` is where to point when that is elsewhere."""

    place: Place
    what: str
    at: Place | None = None


def missing(field: str) -> str:
    """Return the sentence for a key that is not there."""
    return f"missing; {_MISSING[field]}" if field in _MISSING else "missing"


def covered(finding: Finding, others: list[Finding]) -> bool:
    """Return whether a finding is at or below one of the others, which is then the cause to mend first."""
    return any(finding.place[: len(other.place)] == other.place for other in others if other.at is None)


def findings(
    model: type[Model], data: Any, fallback: Mapping[str, Any] | None = None
) -> tuple[Model | None, list[Finding]]:
    """Check data against a model, and read as much of it as is right, so that other checks can go on.

    Args:
        model: What the data should be.
        data: As `Document.data` holds it; it is not changed.
        fallback: What takes the place of keys that are missing at the top.

    Returns:
        The model without the wrong parts, or None when too little is left; and everything that is wrong.
    """
    if not isinstance(data, dict):
        return None, [Finding((), "must be a mapping of keys to values" if data is not None else "the file is empty")]
    rest: dict[str, Any] = _copy(data)
    found: list[Finding] = []
    for _ in range(_ROUNDS):
        try:
            return model.model_validate(rest), found
        except ValidationError as error:
            new = dict(_sentences(model, rest, error))
            found += [finding for finding in new.values() if finding not in found and not covered(finding, found)]
            for place in sorted(new, key=lambda p: tuple(map(str, p)), reverse=True):
                _prune(rest, place, fallback or {})
            _drop_pruned(rest)
    return None, found


_PRUNED = object()


def _copy(value: Any) -> Any:
    # Not `deepcopy`: what an alias repeats must be pruned at one place without the other.
    if isinstance(value, dict):
        return {key: _copy(item) for key, item in value.items()}
    return [_copy(item) for item in value] if isinstance(value, list) else value


def _sentences(model: type[BaseModel], data: Any, error: ValidationError) -> Iterator[tuple[Place, Finding]]:
    grouped: dict[Place, list[ErrorDetails]] = {}
    for detail in error.errors(include_url=False):
        grouped.setdefault(_place(detail, data), []).append(detail)
    for place, details in grouped.items():
        # Where a union offers a mapping and one was written, what is wrong inside it is the better news.
        if isinstance(details[0]["input"], dict) and any(p[: len(place)] == place for p in grouped if p != place):
            continue
        if details[0]["type"] == "extra_forbidden":
            known = _known_keys(model, place[:-1])
            word = str(place[-1])
            synonym = _SYNONYMS.get(word)
            hint = f'; did you mean "{synonym}"?' if synonym in known else did_you_mean(word, known)
            hint = hint or (f"; there are {', '.join(known)}" if len(known) <= MAX_KEYS_TOLD else "")
            yield place, Finding(place[:-1], f'unknown key "{word[:80]}"{hint}', at=place)
        elif "[key]" in details[0]["loc"]:
            pattern = str(details[0].get("ctx", {}).get("pattern", ""))
            what = f'"{str(place[-1])[:80]}" is not {_FORMS.get(pattern, "a name that can stand here")}'
            yield place, Finding(place[:-1], what, at=place)
        else:
            yield place, Finding(place, _sentence(details))


def _place(detail: ErrorDetails, data: Any) -> Place:
    """Where in the data an error is: pydantic's location without the members of unions, which it names too."""
    place: list[str | int] = []
    node = data
    last = len(detail["loc"]) - 1
    for index, part in enumerate(detail["loc"]):
        inside = isinstance(node, dict) and part in node
        if inside or (isinstance(node, list) and isinstance(part, int) and part < len(node)):
            place.append(part)
            node = node[part]
        elif detail["type"] == "missing" and index == last:
            place.append(part)
    return tuple(place)


def _sentence(details: list[ErrorDetails]) -> str:
    detail = details[0]
    kind, context, value = detail["type"], detail.get("ctx", {}), detail["input"]
    if kind == "missing":
        return missing(str(detail["loc"][-1]))
    if value is None:
        return "is empty; fill it in or leave the key out"
    expected = list(dict.fromkeys(_KINDS[k] for d in details if (k := d["type"].split("_")[0]) in _KINDS))
    if kind == "literal_error":
        options = re.findall(r"'([^']*)'", context.get("expected", ""))
        hint = did_you_mean(value, options) if isinstance(value, str) else ""
        return f"must be one of {', '.join(options)}{_not(value)}{hint}"
    bounds = _bounds(kind, context)
    if bounds:
        return f"must be {bounds}{_not(value)}"
    if kind == "string_pattern_mismatch":
        form = _FORMS.get(context.get("pattern", ""))
        return f"{_quoted(value)} is not {form}" if form else f"{_quoted(value)} cannot stand here"
    if expected:
        quotes = "; put it in quotes" if expected == ["text"] and isinstance(value, int | float) else ""
        return f"must be {' or '.join(expected)}{_not(value)}{quotes}"
    return detail["msg"]


def _bounds(kind: str, context: Mapping[str, Any]) -> str:
    match kind:
        case "greater_than_equal":
            return f"at least {context['ge']:.12g}"
        case "less_than_equal":
            return f"at most {context['le']:.12g}"
        case "greater_than":
            return f"more than {context['gt']:.12g}"
        case "finite_number":
            return "a finite number"
        case "string_too_short" | "too_short":
            return "filled in"
        case _:
            return ""


def _not(value: Any) -> str:
    return f", not {_quoted(value)}" if isinstance(value, str | int | float) and value != "" else ""


def _quoted(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f'"{value[:60]}"' if isinstance(value, str) else str(value)[:60]


def _known_keys(model: type[BaseModel], place: Place) -> list[str]:
    """Return the keys that may stand at a place, by walking the model's annotations."""
    annotation: Any = model
    for part in place:
        for option in _options(annotation):
            if isinstance(option, type) and issubclass(option, BaseModel) and part in option.model_fields:
                annotation = option.model_fields[str(part)].annotation
                break
            if get_origin(option) in (dict, tuple, list):
                arguments = get_args(option)
                annotation = arguments[1] if get_origin(option) is dict else arguments[0]
                break
        else:
            return []
    models = [o for o in _options(annotation) if isinstance(o, type) and issubclass(o, BaseModel)]
    return [name for found in models for name in found.model_fields]


def _options(annotation: Any) -> Iterator[Any]:
    origin = get_origin(annotation)
    if origin is Annotated:
        yield from _options(get_args(annotation)[0])
    elif origin in (Union, UnionType):
        for option in get_args(annotation):
            yield from _options(option)
    else:
        yield annotation


def _prune(data: Any, place: Place, fallback: Mapping[str, Any]) -> None:
    """Take what is wrong out of the data."""
    parent = data
    for part in place[:-1]:
        if not isinstance(parent, dict | list) or (isinstance(parent, dict) and part not in parent):
            return  # something around it is gone already
        parent = parent[part]  # type: ignore[index]
    last = place[-1]
    if isinstance(parent, dict) and last in parent and not (len(place) == 1 and last in fallback):
        # An agent or task that is no mapping stays as an empty one, so that its name is still known.
        is_entry = len(place) == 2 and place[0] in ("agents", "tasks", "inputs", "models")
        if is_entry and not isinstance(parent[last], dict):
            parent[last] = {}
        else:
            del parent[last]
    elif isinstance(parent, list):
        parent[int(last)] = _PRUNED
    elif len(place) == 1 and last in fallback:
        data[last] = _copy(fallback[str(last)])
    elif len(place) > 1:  # a key that is required here is missing: what needs it goes
        _prune(data, place[:-1], fallback)


def _drop_pruned(value: Any) -> None:
    if isinstance(value, list):
        value[:] = [item for item in value if item is not _PRUNED]
    for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        _drop_pruned(item)
