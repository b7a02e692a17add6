"""One notice as an e-mail, over SMTP."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from email.message import EmailMessage
from email.utils import formatdate
from typing import Any

from quarterdeck.tools.smtp import connected

_TIMEOUT = 10.0


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
        NoServer: The URL is none of a mail server.
    """
    with connected(server, _TIMEOUT) as connection:
        connection.send_message(message_of(sender, receivers, notice))
