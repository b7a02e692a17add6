"""What became of a tool that raised: its class of error, and whether anything had left this machine by then."""

from __future__ import annotations

import socket
from dataclasses import dataclass

from quarterdeck.errors import ToolError

MAX_TEXT = 4000
PASSING = ("timeout", "unavailable", "rate_limited", "killed")
"""Classes that speak of the tool's health and not of what it was asked: for the breaker and a substitute."""
BROKEN = (*PASSING, "bug")

_UNSENT = frozenset({"ConnectError", "ConnectTimeout", "PoolTimeout", "ClientConnectorError", "NameResolutionError"})
"""Names of what HTTP clients raise before a request is sent; by name, because no client is imported here."""
_UNAVAILABLE = frozenset({"NetworkError", "ClientConnectionError", "ServerDisconnectedError", "RemoteProtocolError"})
_TIMEOUT = frozenset({"TimeoutException", "ServerTimeoutError"})


@dataclass(frozen=True, slots=True)
class Failure:
    """How a call failed.

    Attributes:
        error_class: As in `ToolResult.error_class`.
        text: For the agent.
        unsent: Nothing had left this machine, so nothing was done.
        retry_after: Seconds after which the other side wants to be asked again.
    """

    error_class: str
    text: str
    unsent: bool = False
    retry_after: float | None = None


def failure_of(name: str, error: Exception) -> Failure:
    """Return what an exception means.

    Args:
        name: Of the tool.
        error: What it raised.
    """
    if isinstance(error, ToolError):
        return Failure(error.error_class, str(error)[:MAX_TEXT], error.unsent, error.retry_after)
    said = f"{name} failed: {type(error).__name__}: {error}"[:MAX_TEXT]
    kinds = {kind.__name__ for kind in type(error).__mro__}
    if isinstance(error, ConnectionRefusedError | socket.gaierror) or kinds & _UNSENT:
        return Failure("unavailable", said, unsent=True)
    if isinstance(error, TimeoutError) or kinds & _TIMEOUT:
        return Failure("timeout", said)
    if isinstance(error, ConnectionError) or kinds & _UNAVAILABLE:
        return Failure("unavailable", said)
    return Failure("bug", said)
