"""The inputs of a run: typed, complete, and checked before anything runs or costs."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from quarterdeck.errors import InputError
from quarterdeck.spec.problem import did_you_mean

if TYPE_CHECKING:
    from quarterdeck.spec.crew import CrewSpec, InputSpec

MAX_INPUT_CHARACTERS = 100_000


def check_inputs(spec: CrewSpec, given: Mapping[str, Any], root: Path) -> dict[str, Any]:
    """Return the inputs of a run with their declared types, defaults filled in.

    Args:
        spec: The crew.
        given: What the user gave; text is converted to the declared type.
        root: The workspace; relative defaults of files and folders are taken from here, given paths from the
            current folder.

    Raises:
        InputError: Something is missing, unknown or of the wrong kind; names all of it.
    """
    problems = [
        f'"{name}" is no input of {spec.crew}{did_you_mean(name, spec.inputs) or "."} '
        f"Inputs: {', '.join(spec.inputs) or 'none'}."
        for name in given
        if name not in spec.inputs
    ]
    values: dict[str, Any] = {}
    for name, declared in spec.inputs.items():
        try:
            if name in given:
                values[name] = _typed(name, declared, given[name], Path.cwd())
            elif declared.default is not None:
                values[name] = _typed(name, declared, declared.default, root)
            else:
                what = f" ({declared.description.rstrip('.')})" if declared.description else ""
                problems.append(f"{name} is missing{what}; give --input {name}=...")
        except ValueError as error:
            problems.append(f"{name}: {error}.")
    if problems:
        raise InputError(f"{spec.crew}: " + " ".join(problems) + " Nothing was run.")
    return values


def _typed(name: str, declared: InputSpec, value: Any, base: Path) -> Any:
    match declared.type:
        case "string":
            text = value if isinstance(value, str) else str(value)
            if len(text) > MAX_INPUT_CHARACTERS:
                raise ValueError(f"longer than {MAX_INPUT_CHARACTERS} characters; give a file instead")
            return text
        case "integer" | "number":
            try:
                return int(value) if declared.type == "integer" else float(value)
            except (TypeError, ValueError):
                raise ValueError(f"{value!r} is no {declared.type}") from None
        case "boolean":
            known = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
            if str(value).lower() not in known:
                raise ValueError(f"{value!r} is neither true nor false")
            return known[str(value).lower()]
        case "file" | "folder":
            return _path(declared.type, value, base)


def _path(kind: str, value: Any, base: Path) -> str:
    path = Path(os.path.expanduser(str(value)))
    path = path if path.is_absolute() else base / path
    if not path.exists():
        raise ValueError(f"there is no {kind} {path}")
    if kind == "folder" and not path.is_dir():
        raise ValueError(f"{path} is no folder")
    if kind == "file" and not path.is_file():
        raise ValueError(f"{path} is no file")
    if not os.access(path, os.R_OK | (os.X_OK if kind == "folder" else 0)):
        raise ValueError(f"{path} cannot be read; check its permissions")
    return str(path.resolve())
