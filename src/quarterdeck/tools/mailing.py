"""Sending one e-mail over SMTP. No text in it can become a header, and a password goes over TLS only."""

from __future__ import annotations

import hashlib
import mimetypes
import re
import smtplib
from collections.abc import Sequence
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import formatdate
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from quarterdeck.errors import ToolError
from quarterdeck.tools.secrets import Masker
from quarterdeck.tools.services import secret
from quarterdeck.tools.smtp import Line, NoServer, connected

if TYPE_CHECKING:
    from quarterdeck.spec.services import MailSpec

MAX_SUBJECT = 300
_ADDRESS = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)*"
                      r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?")  # fmt: skip


def receivers(spec: MailSpec, to: Sequence[str], cc: Sequence[str]) -> list[str]:
    """Return whom a message goes to, each once.

    Raises:
        ToolError: An address is none, may not be written to, or there are too many.
    """
    every = list(dict.fromkeys([*to, *cc]))
    if not to or len(every) > spec.max_recipients:
        raise ToolError(f"A message goes to 1 to {spec.max_recipients} addresses, this one to {len(every)}.")
    for address in every:
        if len(address) > 254 or not _ADDRESS.fullmatch(address):
            raise ToolError(f"{address[:100]!r} is no plain e-mail address such as name@example.org.")
        if not any(fnmatchcase(address.lower(), pattern.lower()) for pattern in spec.recipients):
            raise ToolError(f"{address} may not be written to: see mail.recipients in config/services.yaml.")
    return every


def message_of(
    spec: MailSpec,
    to: Sequence[str],
    cc: Sequence[str],
    subject: str,
    body: str,
    attachments: Sequence[tuple[str, bytes]],
    key: str,
) -> EmailMessage:
    """Return a message; its Message-ID is made from the key, so that the same call always sends the same message.

    Raises:
        ToolError: The subject has line breaks, or the message is too large.
    """
    if len(subject) > MAX_SUBJECT or any(
        ord(letter) < 32 or ord(letter) in (127, 0x85, 0x2028, 0x2029) for letter in subject
    ):
        raise ToolError(f"The subject must be one line of at most {MAX_SUBJECT} characters.")
    message = EmailMessage(policy=SMTP)
    message["From"] = Address(addr_spec=spec.sender)
    message["To"] = [Address(addr_spec=address) for address in to]
    if cc:
        message["Cc"] = [Address(addr_spec=address) for address in cc]
    message["Subject"] = subject
    message["Date"] = formatdate()
    message["Message-ID"] = message_id(spec, key)
    message.set_content(body.replace("\0", " "))
    for name, content in attachments:
        kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
        main, _, sub = kind.partition("/")
        message.add_attachment(content, maintype=main, subtype=sub, filename=name)
    if (size := len(message.as_bytes())) > spec.max_bytes:
        raise ToolError(f"The message has {size:,} bytes, more than {spec.max_bytes:,}; send less.")
    return message


def message_id(spec: MailSpec, key: str) -> str:
    """Return the Message-ID of the message that a call sends."""
    return f"<{hashlib.sha256(key.encode()).hexdigest()[:40]}@{spec.sender.partition('@')[2]}>"


def deliver(spec: MailSpec, message: EmailMessage, to: Sequence[str]) -> list[str]:
    """Hand a message to the server; return the addresses that it did not take.

    Raises:
        ToolError: It cannot be reached, offers no TLS for the password, or refuses; the text holds no secret. The class
            is `unavailable` or `timeout` for what may pass, `unsent` where the server has certainly not taken it.
    """
    url = secret(spec.smtp_env)
    masker = Masker({"url": url})
    masker.add(spec.smtp_env, url)
    line: Line | None = None
    try:
        with connected(url, spec.seconds) as line:
            return sorted(line.send_message(message, from_addr=spec.sender, to_addrs=list(to)))
    except NoServer:
        raise ToolError(f"env:{spec.smtp_env} holds no URL such as smtps://user:password@mail.example.org.") from None
    except (OSError, smtplib.SMTPException, ValueError) as error:
        unsent = _refused(error) or line is None or not line.handed_over
        what = "was not taken by" if unsent else "was on its way, and nobody knows whether it was taken by"
        said = masker.mask(_reason(error))
        raise ToolError(
            f"The message {what} the mail server: {said}", error_class=_class_of(error, unsent=unsent), unsent=unsent
        ) from None


def _codes(error: Exception) -> list[int]:
    """Return the codes with which the server answered, if it did."""
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        return [code for code, _ in error.recipients.values()]
    return [error.smtp_code] if isinstance(error, smtplib.SMTPResponseException) else []


def _refused(error: Exception) -> bool:
    """Return whether the server itself has said that it does not take the message."""
    return bool(codes := _codes(error)) and all(400 <= code < 600 for code in codes)


def _class_of(error: Exception, *, unsent: bool) -> str:
    """Return the class of a failure. Codes from 400 on are for the moment, those from 500 on for good (RFC 5321)."""
    if _refused(error):
        return "unavailable" if max(_codes(error)) < 500 else "tool"
    if _late(error):
        return "timeout"
    # every SMTPException is an OSError, but most of them say what the server does not offer
    gone = isinstance(error, smtplib.SMTPServerDisconnected) or not isinstance(error, smtplib.SMTPException)
    if isinstance(error, OSError) and gone:
        return "unavailable"
    return "tool" if unsent else "lost"


def _late(error: Exception) -> bool:
    return isinstance(error, TimeoutError) or isinstance(error.__context__, TimeoutError)  # in smtplib's own error


def _reason(error: Exception) -> str:
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        return f"it takes none of the addresses: {', '.join(error.recipients)[:500]}."
    if isinstance(error, smtplib.SMTPAuthenticationError):
        return "it does not accept the user name and password."
    if isinstance(error, smtplib.SMTPResponseException):
        said = error.smtp_error.decode("utf-8", "replace") if isinstance(error.smtp_error, bytes) else error.smtp_error
        return f"it answered {error.smtp_code} {' '.join(said.split())[:300]}"
    if isinstance(error, smtplib.SMTPNotSupportedError):
        return f"{str(error).rstrip('.')[:300]}."
    if _late(error):
        return "it did not answer in time."
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
