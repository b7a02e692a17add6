"""For the tests of crews: a scripted model, cassettes, a loopback server, and a guard against live calls."""

from __future__ import annotations

from quarterdeck.testing.cassette import Cassette
from quarterdeck.testing.catalog import ScriptedCatalog
from quarterdeck.testing.embedder import HashEmbedder
from quarterdeck.testing.live import block_live_calls
from quarterdeck.testing.scripted import ScriptedModel, UnexpectedCall, UnusedSteps
from quarterdeck.testing.server import HttpAnswer, OpenAIServer
from quarterdeck.testing.steps import (
    Step,
    answer,
    call,
    cut_off,
    delay,
    error,
    hang,
    malformed_call,
    stream,
    text,
    together,
)

__all__ = [
    "Cassette",
    "HashEmbedder",
    "HttpAnswer",
    "OpenAIServer",
    "ScriptedCatalog",
    "ScriptedModel",
    "Step",
    "UnexpectedCall",
    "UnusedSteps",
    "answer",
    "block_live_calls",
    "call",
    "cut_off",
    "delay",
    "error",
    "hang",
    "malformed_call",
    "stream",
    "text",
    "together",
]
