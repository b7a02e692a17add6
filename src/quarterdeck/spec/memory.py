"""`memory/*.yaml`: profiles of what a crew remembers, where, and for how long."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import Field

from quarterdeck.spec.crew import Declared
from quarterdeck.spec.sentences import Finding, findings
from quarterdeck.spec.text import Document

Reach = Literal["crew", "agent", "user"]
"""Within a tenant, whose memories a recall may see: the crew's, one agent's own, or those about one user."""


WITHOUT_USER = (
    "its memory is a user's own and no user is named, so nothing is kept or recalled: "
    "set QUARTERDECK_USER, or Crew.load(..., user=NAME)"
)
"""Said of a crew."""


class WindowSpec(Declared):
    """What stands in a model's context."""

    strategy: Literal["summarise", "truncate"] = Field(
        default="summarise", description="What becomes of the steps in the middle at 80 % of the context."
    )


class SessionSpec(Declared):
    """The session cache of a run: intermediate results that its agents share."""

    seconds: Annotated[float, Field(gt=0, le=30 * 86400)] = 3600.0
    max_bytes: Annotated[int, Field(ge=1024, le=1_000_000_000)] = 16_000_000
    tools: tuple[str, ...] = Field(default=(), description="Read tools whose results are kept by their arguments.")


class LongtermSpec(Declared):
    """What is remembered beyond a run."""

    reach: Reach = "crew"
    extract: bool = Field(default=False, description="Let a model extract facts at the end of a run.")
    manage: bool = Field(default=True, description="With `extract`: let a model say which memories new facts replace.")
    days: Annotated[float, Field(gt=0, le=3650)] | None = Field(default=None, description="Until they expire.")
    min_confidence: Annotated[float, Field(ge=0, le=1)] = 0.5
    deny: tuple[str, ...] = Field(default=(), description="Regular expressions; what matches is never remembered.")
    recall: Annotated[int, Field(ge=0, le=50)] = Field(default=6, description="Memories shown to an agent at most.")
    embedding: str = Field(default="embedded", description="`embedded`, or a LiteLLM embedding model.")
    rerank: str = Field(
        default="",
        description="A LiteLLM reranker, or an ONNX file, that puts what is recalled in order; empty for none.",
    )


class EpisodesSpec(Declared):
    """What is remembered of earlier runs of the crew."""

    recall: Annotated[int, Field(ge=0, le=20)] = 2
    days: Annotated[float, Field(gt=0, le=3650)] | None = None


class MemoryProfile(Declared):
    """One profile. A tier that is left out is not used, and nothing is written for it."""

    window: WindowSpec = WindowSpec()
    session: SessionSpec | None = None
    longterm: LongtermSpec | None = None
    episodes: EpisodesSpec | None = None
    private: bool = Field(
        default=False,
        description="Nothing of a run is read by another user's run; without a user nothing is kept or recalled.",
    )


def needs_user(profile: MemoryProfile) -> bool:
    """Say whether something of what a profile keeps is a user's own: without a user it is not kept at all."""
    if profile.private:
        return profile.longterm is not None or profile.episodes is not None
    return profile.longterm is not None and profile.longterm.reach == "user"


def read_memory(document: Document) -> tuple[MemoryProfile | None, list[Finding]]:
    """Check the data of a profile; return the profile as far as it can be read, and what is wrong."""
    profile, found = findings(MemoryProfile, document.data or {})
    deny = profile.longterm.deny if profile is not None and profile.longterm is not None else ()
    for number, pattern in enumerate(deny):
        try:
            re.compile(pattern)
        except re.error as error:
            found.append(Finding(("longterm", "deny", number), f"is no regular expression: {error}"))
    return profile, found
