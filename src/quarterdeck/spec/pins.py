"""Pins: whether a model's name always means the same model, and where names that can change are refused."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from quarterdeck.errors import InputError

if TYPE_CHECKING:
    from quarterdeck.spec.models import ModelsConfig

PROFILE: Final = "QUARTERDECK_PROFILE"
"""The environment variable that wins over `profile` in config/models.yaml."""
PROFILES: Final = ("development", "production")
HOW_TO_PIN: Final = "name a dated or numbered version of it, or declare it with `pinned: true` in config/models.yaml"

_MONTH, _DAY = r"(?:0[1-9]|1[0-2])", r"(?:0[1-9]|[12]\d|3[01])"
_DATES = (
    rf"20\d\d-{_MONTH}-{_DAY}",  # 2024-07-18
    rf"20\d\d{_MONTH}{_DAY}",  # 20241022
    rf"2\d{_MONTH}{_DAY}",  # 251201
    rf"{_MONTH}-20\d\d",  # 08-2024
    rf"{_MONTH}-{_DAY}",  # preview-05-20
    rf"2[2-9]{_MONTH}",  # 2411
    rf"(?!1024){_MONTH}{_DAY}",  # 0613; 1024 is rather a size
    r"0\d\d",  # gemini-1.5-pro-002
)
_VERSION = re.compile(
    rf"(?<![A-Za-z0-9])(?:{'|'.join(_DATES)})(?![A-Za-z0-9])"
    r"|@\d[\w.-]*$"  # Vertex: claude-3-5-sonnet@20240620, codestral-2@001
    r"|^(?:[a-z-]+\.)?(?:[a-z-]+|ai21)\.[\w.-]+-(?:v\d+(?::\d+)?|\d+:\d+)(?::\w+)?$"  # Bedrock: nova-pro-v1:0
    r"|[:@](?:sha256:)?[0-9a-f]{40,64}$"  # a revision by its hash
)
_MOVES = re.compile(r"(?<![A-Za-z0-9])latest(?![A-Za-z0-9])|@default$")


def has_version(name: str) -> bool:
    """Return whether a model's name says which version it is: by a date, a release number or a hash.

    Args:
        name: LiteLLM's name, with its provider or without. `gpt-4o` and `claude-sonnet-4-5` are names of products:
            whoever serves them may put another model behind them.
    """
    last = name.rsplit("/", 1)[-1]
    return _MOVES.search(last) is None and _VERSION.search(last) is not None


def is_pinned(name: str, config: ModelsConfig) -> bool:
    """Return whether a name of a models file always means the same model: embedded, declared so, or with a version."""
    entry = config.models.get(name)
    if entry is not None and (entry.pinned or entry.provider == "embedded"):
        return True
    return has_version(name)


def in_production(config: ModelsConfig, environ: Mapping[str, str]) -> bool:
    """Return whether names that can change their meaning are refused: `profile`, unless the environment says otherwise.

    Raises:
        InputError: The environment names a profile that there is not.
    """
    profile = environ.get(PROFILE, "").strip() or config.profile
    if profile not in PROFILES:
        raise InputError(f'{PROFILE} is "{profile[:40]}"; it can be {" or ".join(PROFILES)}.')
    return profile == "production"
