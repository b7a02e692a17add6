"""What became of a tool that raised: its class of error, and whether anything had left this machine by then."""

from __future__ import annotations

import re
import socket
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from quarterdeck.errors import ToolError

MAX_TEXT = 4000
PASSING = ("timeout", "unavailable", "rate_limited", "killed")
"""Classes that speak of the tool's health and not of what it was asked: for the breaker and a substitute."""
BROKEN = (*PASSING, "bug")
LOST = ("timeout", "unavailable", "killed", "lost")
"""Classes after which nobody knows whether what was asked was done, unless nothing had been sent."""

_UNSENT = frozenset({"ConnectError", "ConnectTimeout", "PoolTimeout", "ClientConnectorError", "NameResolutionError"})
"""Names of what HTTP clients raise before a request is sent; by name, because no client is imported here."""
_UNAVAILABLE = frozenset(
    {"NetworkError", "ClientConnectionError", "ServerDisconnectedError", "RemoteProtocolError", "ConnectionError"}
)
_TIMEOUT = frozenset({"TimeoutException", "ServerTimeoutError", "Timeout"})


@dataclass(frozen=True, slots=True)
class Failure:
    """How a call failed.

    Attributes:
        error_class: As in `ToolResult.error_class`.
        text: For the agent.
        unsent: Nothing had left this machine, or the other side has said that it took nothing: nothing was done.
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


def of_status(text: str, status: int, retry_after: str = "") -> ToolError:
    """Return the error of an HTTP answer that says that the request failed.

    Args:
        text: For the agent.
        status: 400 or more.
        retry_after: What the header of that name says, if anything.
    """
    seconds = _seconds(retry_after)
    if status == 429 or (status == 503 and seconds is not None):
        return ToolError(text, error_class="rate_limited", retry_after=seconds)
    if status == 408:
        return ToolError(text, error_class="timeout")
    return ToolError(text, error_class="unavailable" if status >= 500 else "tool")


def _seconds(retry_after: str) -> float | None:
    """Return the seconds that a Retry-After header names, as a number or a date; None if it names none."""
    if re.fullmatch(r"[0-9]{1,9}", retry_after.strip()):
        return float(retry_after)
    try:
        then = parsedate_to_datetime(retry_after)
        return max(0.0, (then.replace(tzinfo=then.tzinfo or UTC) - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError, OverflowError, IndexError):
        return None
