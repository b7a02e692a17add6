"""What tools need to use a service: its client, the secret that it is called with, and errors that hold neither."""

from __future__ import annotations

import json
from collections.abc import Iterable
from ipaddress import ip_network
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import orjson

from quarterdeck.errors import ToolError
from quarterdeck.tools.addresses import PRIVATE
from quarterdeck.tools.egress import Egress, Reach, Request, Response, unread
from quarterdeck.tools.failures import of_status
from quarterdeck.tools.secrets import Masker, resolve

if TYPE_CHECKING:
    from quarterdeck.spec.services import ServicesConfig, WebSpec
    from quarterdeck.tools.tool import ToolContext

SHOWN = 500
"""Characters of a service's own error text that are passed on."""


def services_of(context: ToolContext) -> ServicesConfig:
    """Return the services of the workspace that a call belongs to."""
    from quarterdeck.spec.services import ServicesConfig

    return context.services or ServicesConfig()


def web_reach(spec: WebSpec) -> Reach:
    """Return what the web tools may connect to."""
    return Reach(spec.hosts, frozenset(spec.ports), tuple(map(ip_network, spec.networks)))


def service_reach(url: str, *, private: bool) -> Reach:
    """Return a reach of one service: its own host and port, and nothing else.

    Args:
        url: Where the service stands, as the operator declared it.
        private: Whether it may stand at a private address.

    Raises:
        ToolError: It is no URL.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError:
        host, port = None, 0
    if not host:
        raise ToolError("The service's URL is no URL. Correct it in config/services.yaml or in the environment.")
    escaped = host.replace("[", "[[]").replace("*", "[*]").replace("?", "[?]")
    return Reach((escaped,), frozenset({port}), PRIVATE if private else ())


class Service:
    """A service at a fixed place, called with secrets that appear in nothing that comes back.

    Args:
        name: How errors call it.
        reach: What its client may connect to.
        secrets: What is masked in its answers and errors, as (name, value).
    """

    def __init__(self, name: str, reach: Reach, secrets: Iterable[tuple[str, str]] = ()) -> None:
        self._name = name
        self._egress = Egress(reach)
        self._masker = Masker({})
        for label, value in secrets:
            self._masker.add(label, value)

    async def json(self, request: Request) -> Any:
        """Send a request; return the answer, read as JSON where it is JSON, else as text; None when it is empty.

        Raises:
            ToolError: No answer, or one that says that it failed.
        """
        answer = await self.send(request)
        if not answer.body:
            return None
        if answer.kind == "application/json" or answer.kind.endswith("+json"):
            try:
                return self._masker.data(orjson.loads(answer.body))
            except orjson.JSONDecodeError:
                raise unread(request, f"{self._name} answered with broken JSON.") from None
        return self._masker.mask(answer.text())

    async def send(self, request: Request) -> Response:
        """Send a request; return an answer of success, unmasked.

        Raises:
            ToolError: No answer, or one that says that it failed; the text holds its status and no secret. Its class
                is as `Egress.send` and `of_status` have it.
        """
        try:
            answer = await self._egress.send(request)
        except ToolError as error:
            said = f"{self._name}: {self._masker.mask(str(error))}"
            raise ToolError(
                said, error_class=error.error_class, unsent=error.unsent, retry_after=error.retry_after
            ) from None
        if 200 <= answer.status < 300:
            return answer
        if 300 <= answer.status < 400:
            place = f"another address (HTTP {answer.status}), which is not followed"
            raise unread(request, f"{self._name} sends on to {place}.")
        said = " ".join(self._masker.mask(answer.text()[: 8 * SHOWN]).split())[:SHOWN]
        text = f"{self._name} answered HTTP {answer.status}{_advice(answer.status)}: {said or 'no text'}"
        raise of_status(text, answer.status, answer.headers.get("retry-after", ""))


def secret(env: str) -> str:
    """Return the value of an environment variable that a service names.

    Raises:
        ToolError: It is not set.
    """
    value = resolve(f"env:{env}").strip()
    if any(ord(letter) < 32 for letter in value):
        raise ToolError(f"The secret env:{env} holds line breaks or control characters; set it without them.")
    return value


def as_json(value: Any) -> bytes:
    """Return the JSON text of a request's body."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False).encode("utf-8", "replace")


def _advice(status: int) -> str:
    if status in (401, 403):
        return " (the key is missing, wrong or not allowed this)"
    if status == 429:
        return " (too many calls; try later)"
    return ""
