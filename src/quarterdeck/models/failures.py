"""What a failed HTTP call to a model means, as one ModelError with one clear line."""

from __future__ import annotations

import email.utils
import re
import time
from collections.abc import Mapping, Set
from dataclasses import dataclass
from typing import Any

from quarterdeck.errors import ModelError, ModelErrorKind

MAX_WAIT = 86_400.0
_MAX_QUOTE = 300
_BY_CLASS: dict[str, ModelErrorKind] = {
    "AuthenticationError": "no_key",
    "PermissionDeniedError": "no_key",
    "NotFoundError": "no_model",
    "ContextWindowExceededError": "too_long",
    "ContentPolicyViolationError": "refused",
    "RateLimitError": "rate_limited",
    "Timeout": "timeout",
    "APITimeoutError": "timeout",
    "APIConnectionError": "unreachable",
    "ServiceUnavailableError": "server",
    "InternalServerError": "server",
    "BadGatewayError": "server",
    "MidStreamFallbackError": "server",
    "APIResponseValidationError": "malformed",
    "JSONSchemaValidationError": "malformed",
}
_BY_STATUS: dict[int, ModelErrorKind] = {
    401: "no_key", 402: "no_quota", 403: "no_key", 404: "no_model", 408: "timeout", 429: "rate_limited",
}  # fmt: skip
_NOT_CONNECTED = frozenset({
    "APIConnectionError", "ConnectError", "ConnectTimeout", "ClientConnectorError", "ClientConnectorDNSError",
    "ConnectionRefusedError", "ConnectionResetError", "ServerDisconnectedError", "gaierror", "RemoteProtocolError",
    "ReadError", "ClientOSError",
})  # fmt: skip
_NEVER_SENT = frozenset({
    "ConnectError", "ConnectTimeout", "ClientConnectorError", "ClientConnectorDNSError", "ConnectionRefusedError",
    "gaierror",
})  # fmt: skip
_TOO_LONG = ("context_length_exceeded", "maximum context length", "context window", "prompt is too long")
_NO_QUOTA = ("insufficient_quota", "billing_hard_limit", "credit balance is too low")


@dataclass(frozen=True, slots=True)
class Target:
    """Who was called, in the user's words.

    Attributes:
        model: As the user named it.
        provider: LiteLLM's name of the provider.
        api_base: The declared endpoint, or empty.
        key: The variable that holds the key, or empty.
    """

    model: str
    provider: str
    api_base: str = ""
    key: str = ""


def explain(error: BaseException, target: Target, secret: str = "") -> ModelError:
    """Return what a vendor's exception means.

    Args:
        error: Of LiteLLM, of an HTTP client, or anything else that came out of the call.
        target: Who was called.
        secret: The key that was sent; it is taken out of every quoted text.
    """
    said = _quote(error, secret)
    kind = _kind(error)
    retry_after = retry_after_of(_headers(error)) if kind in ("rate_limited", "server") else None
    # a connection that was lost after the question had gone out: the provider may have answered it
    billed = kind == "unreachable" and not _came_from(error, _NEVER_SENT)
    return ModelError(_line(kind, target, said, retry_after), kind, retry_after=retry_after, billed=billed)


def _kind(error: BaseException) -> ModelErrorKind:
    text = f"{error} {getattr(error, 'body', '')}".lower()  # the code of a provider's error stands in its body alone
    status = getattr(error, "status_code", None)
    name = next((cls.__name__ for cls in type(error).__mro__ if cls.__name__ in _BY_CLASS), "")
    kind: ModelErrorKind = _BY_CLASS.get(name) or _by_status(status)
    if kind in ("rate_limited", "refused") and any(word in text for word in _NO_QUOTA):
        return "no_quota"
    if kind == "refused" and any(word in text for word in _TOO_LONG):
        return "too_long"
    if kind in ("server", "malformed", "unreachable"):
        return "unreachable" if _came_from(error, _NOT_CONNECTED) else "server" if kind == "server" else "malformed"
    return kind


def _by_status(status: Any) -> ModelErrorKind:
    if not isinstance(status, int):
        return "malformed"
    if status >= 500:
        return "server"
    return _BY_STATUS.get(status, "refused" if status >= 400 else "malformed")


def _came_from(error: BaseException, names: Set[str]) -> bool:
    """Whether an error of one of these names stands at its root.

    LiteLLM reports a refused connection as a server's error, and its own mistakes as connection errors: so only what
    the HTTP client below it said counts.
    """
    seen: BaseException | None = error
    for _ in range(10):
        if seen is None:
            return False
        if type(seen).__name__ in names and not type(seen).__module__.startswith("litellm"):
            return True
        seen = seen.__cause__ or seen.__context__
    return False


def _line(kind: ModelErrorKind, target: Target, said: str, retry_after: float | None) -> str:
    model, key = target.model, target.key or "its key"
    where = target.api_base or target.provider
    match kind:
        case "no_key":
            return f"{where} refused the key for {model}: check {key}, or run on this machine with --model local."
        case "no_model":
            return f"{where} does not know {model} (or this key may not use it): check the name. It said: {said}"
        case "rate_limited":
            wait = f" It asks to wait {retry_after:.0f} s." if retry_after else ""
            return f"{where} limits the rate of calls to {model}.{wait} It said: {said}"
        case "no_quota":
            return f"The account at {where} has nothing left to pay {model}: fill it, or take another. It said: {said}"
        case "unreachable":
            return (
                f"Cannot reach {where} for {model}: check the network"
                f"{' and api_base in config/models.yaml' if target.api_base else ''}, "
                f"or run on this machine with --model local. ({said})"
            )
        case "timeout":
            return f"{model} did not answer in time: try again, or choose another model. ({said})"
        case "too_long":
            return f"The conversation is longer than {model} can read: use fewer or shorter texts. It said: {said}"
        case "server":
            return f"{where} failed while answering for {model}: try again later. It said: {said}"
        case "malformed":
            return f"{model} answered with something that is no chat completion: check api_base. ({said})"
        case _:
            return f"{where} refused the call to {model}. It said: {said}"


def _quote(error: BaseException, secret: str) -> str:
    """Return one short line of what the provider said, without LiteLLM's class names and without the key."""
    text = str(getattr(error, "message", "") or error)
    if len(secret) >= 4:
        text = text.replace(secret, "***")
    text = re.sub(r"\b(sk|key|Bearer)[-_ ][A-Za-z0-9*_-]{8,}", "***", text)
    text = re.sub(r"^(litellm\.)?(\w+Error|Timeout): ", "", text.strip())
    text = re.sub(r"^((litellm\.)?\w+(Error|Exception): |\w+Exception - )+", "", text)
    told = re.search(r'"message": ?"((?:[^"\\]|\\.)+)"', text)  # an error object in JSON, unread by LiteLLM
    text = told.group(1) if told else text
    text = re.sub(r" ssl:<[^>]*>| ssl:default|Handle with `litellm.*|This looks like a bug in LiteLLM.*", "", text)
    line = " ".join(text.split())
    return line[:_MAX_QUOTE] or type(error).__name__


def _headers(error: BaseException) -> Mapping[str, str]:
    """Return the headers of the answer; LiteLLM drops the response of a 429 and keeps its headers elsewhere."""
    kept = getattr(error, "litellm_response_headers", None)
    if kept:
        return {str(name).lower(): str(value) for name, value in dict(kept).items()}
    response = getattr(error, "response", None)
    headers = getattr(response, "headers", None)
    return {str(name).lower(): str(value) for name, value in dict(headers).items()} if headers else {}


def retry_after_of(headers: Mapping[str, str], now: float | None = None) -> float | None:
    """Return the seconds that a provider asks to wait, or None; at most a day.

    Args:
        headers: Of the answer, with lower-case names.
        now: Seconds since 1970; the clock by default.
    """
    wait = _seconds(headers.get("retry-after-ms"), 1000.0)
    text = headers.get("retry-after")
    if wait is None:
        wait = _seconds(text, 1.0)
    if wait is None and text:
        try:
            wait = email.utils.parsedate_to_datetime(text).timestamp() - (time.time() if now is None else now)
        except (ValueError, TypeError, OverflowError):
            return None
    return None if wait is None else min(max(wait, 0.0), MAX_WAIT)


def _seconds(text: str | None, divisor: float) -> float | None:
    try:
        number = float(text) / divisor if text else None
    except ValueError:
        return None
    return number if number is not None and number == number else None
