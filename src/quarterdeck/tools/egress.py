"""The one HTTP client of tools: it connects only to addresses that were checked, and takes in only so much.

What is checked is the numeric address of the socket itself, at each connection and so at each redirect: a name that
resolves otherwise a moment later gains nothing.
"""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, cast

from quarterdeck.errors import ToolError
from quarterdeck.tools.addresses import Network, refusal

if TYPE_CHECKING:
    from aiohttp import ClientResponse
    from yarl import URL

MAX_URL = 2048
MAX_REDIRECTS = 5
MAX_BYTES = 5_000_000
MAX_ADDRESSES = 16
_CHUNK = 65_536
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_HOST = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,62})(\.[a-z0-9_][a-z0-9_-]{0,62})*\.?")
_NUMBER = re.compile(r"(0x[0-9a-f]*|[0-9]+)\.?")
_IPV4 = re.compile(r"(?:(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)(?:\.(?!$)|$)){4}")

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
"""Returns the numeric addresses of a host."""
Permit = Callable[[str], Awaitable[None]]
"""Called with each URL before it is asked for; raises `ToolError` where it must not be."""


@dataclass(frozen=True, slots=True)
class Reach:
    """What a client may connect to. It is made from configuration; no argument of a model becomes part of it.

    Attributes:
        hosts: Patterns of host names, such as `*.example.org`.
        ports: Allowed ports.
        networks: Networks that are open although they are not public.
    """

    hosts: tuple[str, ...] = ("*",)
    ports: frozenset[int] = frozenset({80, 443})
    networks: tuple[Network, ...] = ()


@dataclass(frozen=True, slots=True)
class Response:
    """What came back.

    Attributes:
        url: Where from, after redirects.
        kind: The media type, in small letters and without parameters.
        charset: As the server declares it; empty if it does not.
        headers: By name in small letters.
    """

    url: str
    status: int
    kind: str
    charset: str
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)

    def text(self) -> str:
        """Return the body as text; what cannot be decoded is replaced."""
        try:
            return self.body.decode(self.charset or "utf-8", "replace")
        except LookupError:
            return self.body.decode("utf-8", "replace")


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked for.

    Attributes:
        body: Sent as it is; its media type stands in the headers.
        redirects: How many are followed, 5 at most; with 0, as where headers carry a secret, a redirect is the answer.
        kinds: Media types that are taken in; empty for all.
        max_bytes: What the body may be at most, after it is decompressed.
        seconds: What all of it may take, redirects included.
    """

    method: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    redirects: int = 0
    kinds: frozenset[str] = frozenset()
    max_bytes: int = MAX_BYTES
    seconds: float = 20.0


class _Refused(PermissionError):
    """A connection that must not be made."""


class Egress:
    """Sends requests within a reach.

    Args:
        reach: What it may connect to.
        resolve: Finds the addresses of a host; the system's resolver by default.
    """

    def __init__(self, reach: Reach, resolve: Resolve | None = None) -> None:
        self._reach = reach
        self._resolve = resolve or _system_resolver

    async def send(self, request: Request, permit: Permit | None = None) -> Response:
        """Send a request and take in the answer, whatever its status.

        Args:
            request: What is asked for.
            permit: Asked before each request, those after a redirect included.

        Raises:
            ToolError: The URL or an address behind it is not allowed (class `tool`); nobody answers, or the answer
                breaks off (`unavailable`) or is too late (`timeout`), each `unsent` where no request had left; or the
                answer is too long or of the wrong kind, see `unread`.
        """
        from aiohttp import ClientError, ClientSession, ClientTimeout, DummyCookieJar, TraceConfig

        left: list[bool] = []  # a request that has left this machine, or at least its first bytes

        async def leaves(*_: Any) -> None:
            left.append(True)

        trace = TraceConfig()
        trace.on_request_headers_sent.append(leaves)
        try:
            async with (
                asyncio.timeout(request.seconds),
                ClientSession(
                    connector=self._connector(),
                    cookie_jar=DummyCookieJar(),
                    timeout=ClientTimeout(total=None),
                    trust_env=False,
                    max_line_size=16_384,
                    max_field_size=16_384,
                    trace_configs=[trace],
                ) as session,
            ):
                session._retry_connection = False  # how often something is asked is the gate's to say
                return await self._follow(session, request, permit)
        except TimeoutError:
            late = f"{_shown(request.url)} did not answer within {request.seconds:g} s."
            raise ToolError(late, error_class="timeout", unsent=not left) from None
        except (ClientError, OSError, ValueError) as error:
            said = f"{_shown(request.url)} could not be read: {_reason(error)}."
            raise ToolError(said, error_class=_class_of(error, left=bool(left)), unsent=not left) from None

    async def _follow(self, session: Any, request: Request, permit: Permit | None) -> Response:
        url = checked_url(request.url, self._reach)
        method, body = request.method, request.body
        for left in range(min(request.redirects, MAX_REDIRECTS), -1, -1):
            if permit is not None:
                await permit(str(url))
            asked = session.request(method, url, headers=request.headers, data=body, allow_redirects=False)
            async with asked as response:
                target = response.headers.get("location", "")
                if response.status not in _REDIRECTS or not target or not request.redirects:
                    return await _taken_in(response, request)
            if left:
                url = checked_url(_joined(url, target), self._reach)
        raise ToolError(f"{_shown(request.url)} sends on to other addresses more than {MAX_REDIRECTS} times.")

    def _connector(self) -> Any:
        from aiohttp import TCPConnector

        # `resolve` sees names; the socket factory sees what is really connected to, literal addresses included
        return TCPConnector(
            resolver=cast(Any, _CheckedResolver(self._resolve, self._reach)),
            socket_factory=self._socket,
            use_dns_cache=False,
            force_close=True,
            limit=8,
        )

    def _socket(self, address: Any) -> socket.socket:
        family, kind, protocol, _, place = address
        _check_address(place[0], place[1], self._reach)
        made = socket.socket(family, kind, protocol)
        made.setblocking(False)
        return made


class _CheckedResolver:
    """Finds addresses for aiohttp; one address that is not allowed spoils the name."""

    def __init__(self, resolve: Resolve, reach: Reach) -> None:
        self._resolve = resolve
        self._reach = reach

    async def resolve(self, host: str, port: int = 0, family: int = 0) -> list[dict[str, Any]]:
        addresses = list(await self._resolve(host, port))[:MAX_ADDRESSES]
        for address in addresses:
            _check_address(address, port, self._reach)
        if not addresses:
            raise OSError(f"{host} has no address")
        return [
            {
                "hostname": host,
                "host": address,
                "port": port,
                "family": socket.AF_INET6 if ":" in address else socket.AF_INET,
                "proto": 0,
                "flags": socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            }
            for address in addresses
        ]

    async def close(self) -> None:
        """Nothing is kept open."""


def unread(request: Request, why: str) -> ToolError:
    """Return the error of an answer that came and is not taken in.

    Args:
        request: What was asked for. If it only reads, it will fail again (class `tool`); else it may have been done
            (class `lost`).
        why: For the agent.
    """
    return ToolError(why, error_class="tool" if request.method in ("GET", "HEAD") else "lost")


def checked_url(text: str, reach: Reach) -> URL:
    """Return a URL as it will be asked for.

    Args:
        text: The URL as a model, a page or a person wrote it.
        reach: What may be connected to.

    Raises:
        ToolError: It is no plain web address, or lies out of reach; the text says why.
    """
    from yarl import URL

    if not 1 <= len(text) <= MAX_URL:
        raise ToolError(f"A URL has 1 to {MAX_URL:,} characters, this one {len(text):,}.")
    if any(letter.isspace() or ord(letter) < 33 or ord(letter) == 127 or letter == "\\" for letter in text):
        raise ToolError("A URL holds no spaces, control characters or backslashes; write them as %20 and the like.")
    if "@" in re.split(r"[/?#]", text.partition("://")[2], maxsplit=1)[0]:
        raise ToolError("A URL with a user name or password is not asked for; leave what stands before @ out.")
    try:
        url = URL(text).with_fragment(None)
        host, port = (url.raw_host or "").lower(), url.port
    except (ValueError, TypeError) as error:
        raise ToolError(f"{_shown(text)} is no URL: {str(error)[:200]}") from None
    if url.scheme not in ("http", "https") or not host:
        raise ToolError(f"{_shown(text)} is no web address: it must start with http:// or https:// and name a host.")
    if port not in reach.ports:
        raise ToolError(f"Port {port} of {host} is not open to tools; the ports are {sorted(reach.ports)}.")
    _check_host(host, reach)
    return url


def _check_host(host: str, reach: Reach) -> None:
    if ":" in host or _IPV4.fullmatch(host):
        _refuse_address(host, host, reach)
    elif not _HOST.fullmatch(host) or _NUMBER.fullmatch(host.rstrip(".").rpartition(".")[2]):
        # octal, hexadecimal, short and whole-number forms: parsers disagree on what they mean
        raise ToolError(f'"{host[:100]}" is no plain host name or address.')
    if not any(fnmatchcase(host.rstrip("."), pattern.lower()) for pattern in reach.hosts):
        raise ToolError(f"{host[:100]} is not among the hosts that tools may reach here.")


def _refuse_address(address: str, host: str, reach: Reach) -> None:
    if why := refusal(address, reach.networks):
        raise ToolError(f"{host[:100]} must not be connected to: {why}.")


def _check_address(address: str, port: int, reach: Reach) -> None:
    if why := refusal(address, reach.networks):
        raise _Refused(f"it must not be connected to: {why}")
    if port not in reach.ports:
        raise _Refused(f"port {port} is not open to tools")


def _joined(url: URL, target: str) -> str:
    """Return where a redirect leads; checked anew like any other URL."""
    from yarl import URL

    if len(target) > MAX_URL or any(ord(letter) < 33 or letter == "\\" for letter in target):
        raise ToolError("A redirect leads to something that is no URL.")
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]*:", target):
        return target
    if target.startswith("//"):
        return f"{url.scheme}:{target}"
    try:
        return str(url.join(URL(target)))
    except ValueError:
        raise ToolError("A redirect leads to something that is no URL.") from None


async def _taken_in(response: ClientResponse, request: Request) -> Response:
    kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()[:100]
    if request.kinds and response.status < 300 and kind not in request.kinds:
        what = f"of the kind {kind}" if kind else "of an unknown kind"
        raise unread(request, f"{_shown(request.url)} is {what}, which is not read here.")
    body = bytearray()
    failed = response.status >= 400  # its status says what matters; the beginning of its text is enough
    if (response.content_length or 0) > request.max_bytes and not failed:
        raise _too_long(request)
    async for chunk in response.content.iter_chunked(_CHUNK):
        body += chunk
        if len(body) > request.max_bytes:
            if failed:
                del body[request.max_bytes :]
                break
            raise _too_long(request)
    headers = {name.lower(): value[:1000] for name, value in list(response.headers.items())[:100]}
    try:
        charset = response.charset or ""
    except (LookupError, ValueError):
        charset = ""
    return Response(str(response.url), response.status, kind, charset, bytes(body), headers)


def _too_long(request: Request) -> ToolError:
    most = f"{request.max_bytes:,} bytes, which is what is taken in"
    return unread(request, f"{_shown(request.url)} has more than {most}.")


def _shown(url: str) -> str:
    """Return a URL without its query, which may hold a key."""
    return re.split(r"[?#]", url, maxsplit=1)[0][:200]


def _class_of(error: BaseException, *, left: bool) -> str:
    """Return the class of a request that failed: what is not allowed, or no request at all, will fail again."""
    from aiohttp import ClientConnectionError, ClientConnectorError

    if isinstance(error.os_error if isinstance(error, ClientConnectorError) else error, _Refused):
        return "tool"
    return "unavailable" if left or isinstance(error, ClientConnectionError | OSError) else "tool"


def _reason(error: BaseException) -> str:
    """Return why a request failed, in words that hold nothing of the request."""
    from aiohttp import ClientConnectorCertificateError, ClientConnectorError, ClientSSLError

    inner = error.os_error if isinstance(error, ClientConnectorError) else error
    if isinstance(inner, _Refused):
        return str(inner)
    if isinstance(error, ClientConnectorCertificateError | ClientSSLError):
        return "its certificate does not hold"
    if isinstance(inner, socket.gaierror):
        return "there is no such host"
    if isinstance(inner, OSError):
        return f"no connection ({inner.strerror or type(inner).__name__})"
    return f"the answer breaks off or is no HTTP ({type(error).__name__})"


async def _system_resolver(host: str, port: int) -> Sequence[str]:
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(place[0]) for *_, place in found))
