"""One notice as an e-mail, over SMTP."""

from __future__ import annotations

import smtplib
import ssl
from collections.abc import Mapping, Sequence
from email.message import EmailMessage
from email.utils import formatdate
from typing import Any
from urllib.parse import unquote, urlsplit

_TIMEOUT = 10.0
_ON_THIS_MACHINE = frozenset({"127.0.0.1", "::1", "localhost"})


def message_of(sender: str, receivers: Sequence[str], notice: Mapping[str, Any]) -> EmailMessage:
    """Return a notice as a message; no text in it can become a header.

    Args:
        sender: The address it comes from.
        receivers: The addresses it goes to.
        notice: Its fields, `text` among them.
    """
    message = EmailMessage()
    message["From"] = sender or "quarterdeck@localhost"
    message["To"] = ", ".join(receivers)
    message["Subject"] = " ".join(f"[quarterdeck] {notice['crew']} run {notice['run_id']}: {notice['kind']}".split())[
        :200
    ]
    message["Date"] = formatdate()
    message["Message-ID"] = f"<{notice['delivery']}@quarterdeck>"
    message.set_content(f"{notice['text']}\n\nrun {notice['run_id']} of {notice['crew']}\n")
    return message


def deliver(server: str, sender: str, receivers: Sequence[str], notice: Mapping[str, Any]) -> None:
    """Send a notice; a password only over TLS, or to this machine.

    Args:
        server: `smtp://user:password@host:port`, or `smtps://...` for TLS from the start.
        sender: The address it comes from.
        receivers: The addresses it goes to.
        notice: Its fields.

    Raises:
        OSError: The server cannot be reached.
        smtplib.SMTPException: It refused the message, or offers no TLS.
    """
    parts = urlsplit(server)
    host = parts.hostname or ""
    tls = ssl.create_default_context()
    if parts.scheme == "smtps":
        connection: smtplib.SMTP = smtplib.SMTP_SSL(host, parts.port or 465, timeout=_TIMEOUT, context=tls)
    elif parts.scheme == "smtp":
        connection = smtplib.SMTP(host, parts.port or 587, timeout=_TIMEOUT)
    else:
        raise smtplib.SMTPException("smtp:// or smtps:// is wanted")
    with connection:
        connection.ehlo()
        if parts.scheme == "smtp" and connection.has_extn("starttls"):
            connection.starttls(context=tls)
            connection.ehlo()
        elif parts.scheme == "smtp" and parts.username and host not in _ON_THIS_MACHINE:
            raise smtplib.SMTPNotSupportedError("the server offers no TLS, so no password is sent")
        if parts.username:
            connection.login(unquote(parts.username), unquote(parts.password or ""))
        connection.send_message(message_of(sender, receivers, notice))
