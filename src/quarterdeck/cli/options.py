"""What several commands take in the same way, and how they are read."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from quarterdeck.errors import InputError

if TYPE_CHECKING:
    from quarterdeck.spec.crew import CrewSpec

MAX_FILE_BYTES = 4_000_000

Json = Annotated[bool, typer.Option("--json", help="Write JSON for programs.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Agree to what would be asked, such as fetching weights.")]
Database = Annotated[
    str | None,
    typer.Option("--database", metavar="URL", help="The journal: sqlite:///FILE or postgresql://USER@HOST/NAME."),
]
Inputs = Annotated[
    list[str] | None, typer.Option("--input", "-i", metavar="NAME=VALUE", help="An input of the crew; repeatable.")
]
Tenant = Annotated[
    str, typer.Option("--tenant", metavar="NAME", help="On whose behalf it runs, for budgets; or QUARTERDECK_TENANT.")
]
Dial = Annotated[str, typer.Option("--autonomy", metavar="DIAL", help="Lower the autonomy: shadow, low or medium.")]
Sets = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Declare something else for this run, such as limits.usd=1."),
]
RunId = Annotated[str, typer.Argument(help="The run, a unique beginning of its id, or LAST.")]


def user_name() -> str:
    """Return who is at the keyboard, as the system knows them; empty when it does not."""
    import getpass

    try:
        return getpass.getuser()
    except (OSError, KeyError):  # an account without a name
        return ""


def make_app(about: str) -> typer.Typer:
    """Return a group of commands whose help is plain text and opens fast."""
    return typer.Typer(
        help=about,
        no_args_is_help=True,
        add_completion=False,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    )


def read_pairs(pairs: Iterable[str] | None, option: str) -> dict[str, str]:
    """Return `NAME=VALUE` arguments as a mapping.

    Args:
        pairs: As typed.
        option: The option they came by, for messages.

    Raises:
        InputError: One of them has no `=`, or a name comes twice.
    """
    values: dict[str, str] = {}
    for pair in pairs or ():
        name, equals, value = pair.partition("=")
        if not equals or not name.strip():
            raise InputError(f"{option} {pair[:100]}: write {option} NAME=VALUE. Nothing was run.")
        if name.strip() in values:
            raise InputError(f"{option} {name.strip()} is given twice. Nothing was run.")
        values[name.strip()] = value
    return values


def read_input_file(path: Path) -> dict[str, Any]:
    """Return the inputs in a JSON file.

    Raises:
        InputError: It cannot be read or is no JSON object.
    """
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise InputError(f"{path} is larger than {MAX_FILE_BYTES // 1_000_000} MB. Nothing was run.")
        values = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}. Nothing was run.") from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is no JSON: {error}. Nothing was run.") from None
    if not isinstance(values, dict):
        raise InputError(f"{path} must hold one JSON object, a name and a value an input. Nothing was run.")
    return values


def read_value(text: str) -> Any:
    """Return a value as typed: numbers, true, false, null, lists and objects as JSON, anything else as text."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def changed_spec(spec: CrewSpec, changes: dict[str, str]) -> CrewSpec:
    """Return a crew with the settings of `--set`, such as `limits.usd` or `agents.writer.max_turns`.

    Raises:
        InputError: There is no such setting, or the value does not fit it.
    """
    if not changes:
        return spec
    from pydantic import ValidationError

    from quarterdeck.spec.crew import CrewSpec

    data = spec.model_dump()
    for key, text in changes.items():
        *parents, last = key.split(".")
        place = data
        for parent in parents:
            place = place.get(parent) if isinstance(place, dict) else None  # type: ignore[assignment]
        if not isinstance(place, dict) or last not in place or not _may_change(key):
            known = "limits.*, concurrency, agents.NAME.(model, temperature, max_*), tasks.NAME.max_*"
            raise InputError(f"--set {key[:100]}: there is no such setting. Settings are {known}. Nothing was run.")
        place[last] = read_value(text)
    try:
        return CrewSpec.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        place_name = ".".join(map(str, first["loc"]))
        raise InputError(f"--set {place_name}: {first['msg']}. Nothing was run.") from None


def _may_change(key: str) -> bool:
    """Whether a setting is one of those that no other part of a declaration refers to."""
    parts = key.split(".")
    match parts:
        case ["limits", _] | ["concurrency"]:
            return True
        case ["agents", _, "model" | "temperature" | "max_tokens" | "max_turns"]:
            return True
        case ["tasks", _, "max_tokens" | "max_turns"]:
            return True
    return False
