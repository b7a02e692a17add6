"""A connection to a mail server: a password goes over TLS only, or to this machine."""

from __future__ import annotations

import smtplib
import ssl
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any
from urllib.parse import unquote, urlsplit

GOODBYE_SECONDS = 5.0
_ON_THIS_MACHINE = frozenset({"127.0.0.1", "::1", "localhost"})


class NoServer(ValueError):
    """A URL that names no mail server."""


class Line(smtplib.SMTP):
    """A connection that knows whether a message has begun to leave."""

    handed_over = False

    def data(self, msg: Any) -> tuple[int, bytes]:
        """Send the message itself; whatever breaks off from here on, the server may have taken it."""
        self.handed_over = True
        return super().data(msg)


class _SecureLine(Line, smtplib.SMTP_SSL):
    """The same with TLS from the start."""


@contextmanager
def connected(url: str, seconds: float) -> Iterator[Line]:
    """Open a connection, logged in where the URL has a user, and end it with the block.

    Args:
        url: `smtp://user:password@host:port` (TLS where the server offers it), or `smtps://...` for TLS from the start.
        seconds: How long the server may take for each answer.

    Raises:
        OSError: The server cannot be reached.
        smtplib.SMTPException: It refuses, or offers no TLS for the password. No text of ours holds the URL.
        NoServer: The URL is none of these.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise NoServer("its address has no port that is a number") from None
    if parts.scheme not in ("smtp", "smtps") or not host:
        raise NoServer("smtp:// or smtps:// and a host are wanted")
    tls = ssl.create_default_context()
    if parts.scheme == "smtps":
        connection: Line = _SecureLine(host, port or 465, timeout=seconds, context=tls)
    else:
        connection = Line(host, port or 587, timeout=seconds)
    try:
        connection.ehlo()
        if parts.scheme == "smtp" and connection.has_extn("starttls"):
            connection.starttls(context=tls)
            connection.ehlo()
        elif parts.scheme == "smtp" and parts.username and host not in _ON_THIS_MACHINE:
            raise smtplib.SMTPNotSupportedError(
                "it offers no TLS, so no password is sent; use smtps:// or another port"
            )
        if parts.username:
            connection.login(unquote(parts.username), unquote(parts.password or ""))
        yield connection
    finally:
        if connection.sock is not None:
            connection.sock.settimeout(min(seconds, GOODBYE_SECONDS))
        with suppress(OSError, smtplib.SMTPException):  # how the server says goodbye changes nothing
            connection.quit()
        connection.close()
