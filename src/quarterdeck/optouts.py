"""What the libraries below us must not do: report home, fetch tables, start traces, read `.env` files unasked."""

from __future__ import annotations

import os
from pathlib import Path

OFF = {
    "CREWAI_DISABLE_TELEMETRY": "true",
    "CREWAI_DISABLE_TRACKING": "true",
    "CREWAI_TRACING_ENABLED": "false",
    "CREWAI_DISABLE_VERSION_CHECK": "true",
    "CREWAI_TESTING": "true",  # else its trace listener keeps every event for ever
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "LITELLM_LOCAL_ANTHROPIC_BETA_HEADERS": "True",
    "LITELLM_LOCAL_BLOG_POSTS": "True",
    "LITELLM_LOCAL_POLICY_TEMPLATES": "True",
    "LITELLM_LOCAL_AUTOROUTER_PRESETS": "True",
    "ANONYMIZED_TELEMETRY": "False",
    "MEM0_TELEMETRY": "False",
}
"""Promises to the user: set whatever the environment says."""

DEFAULTS = {
    "LITELLM_MODE": "PRODUCTION",  # in its DEV mode litellm loads a `.env` from the working folder into the environment
    "OMP_WAIT_POLICY": "passive",  # threads that spin while they wait starve a machine of two cores
}
"""Settings that a user may have reasons to choose otherwise."""


def apply(storage: Path | None = None) -> None:
    """Set the opt-outs in this process's environment; call it right before a vendor is first imported.

    Args:
        storage: Where CrewAI may keep its own files; by default `crewai` in the user's cache folder.
    """
    os.environ.update(OFF)
    for name, value in DEFAULTS.items():
        os.environ.setdefault(name, value)
    os.environ.setdefault("CREWAI_STORAGE_DIR", str(storage or cache_folder() / "crewai"))


def cache_folder() -> Path:
    """Return where files of libraries may lie that nobody misses."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "quarterdeck"
