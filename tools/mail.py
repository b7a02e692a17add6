"""Sending e-mail, to addresses that the operator allows."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from quarterdeck.errors import ToolError
from quarterdeck.tools import mailing
from quarterdeck.tools.confined import Root
from quarterdeck.tools.manifest import tool
from quarterdeck.tools.services import services_of
from quarterdeck.tools.tool import ToolContext

__all__ = ["send"]

MAX_BODY = 200_000


@tool(
    effect="irreversible",
    owner="quarterdeck",
    sinks={"to": "recipient", "cc": "recipient", "attachments": "path"},
    timeout=330.0,
)
def send(
    context: ToolContext,
    to: Annotated[list[Annotated[str, Field(max_length=254)]], Field(min_length=1, max_length=100)],
    subject: Annotated[str, Field(min_length=1, max_length=mailing.MAX_SUBJECT)],
    body: Annotated[str, Field(max_length=MAX_BODY)],
    cc: Annotated[list[Annotated[str, Field(max_length=254)]], Field(max_length=100)] = [],  # noqa: B006 - never changed
    attachments: Annotated[list[Annotated[str, Field(max_length=255)]], Field(max_length=10)] = [],  # noqa: B006
) -> dict[str, Any]:
    """Send an e-mail of plain text. It cannot be taken back.

    Args:
        context: The run that sends; filled in by the engine.
        to: The addresses, such as name@example.org.
        subject: One line.
        body: The text.
        cc: More addresses that everybody sees.
        attachments: Names of files in this run's own folder.

    Returns:
        `sent_to`, the addresses that were `refused`, and `message_id`.
    """
    spec = services_of(context).mail
    if spec is None:
        raise ToolError("No mail is sent from here: config/services.yaml declares no `mail`.")
    every = mailing.receivers(spec, to, cc)
    files = _files(context, attachments, spec.max_bytes)
    message = mailing.message_of(spec, to, cc, subject, body, files, context.idempotency_key)
    refused = mailing.deliver(spec, message, every)
    sent = [address for address in every if address not in refused]
    return {"sent_to": sent, "refused": refused, "message_id": str(message["Message-ID"])}


def _files(context: ToolContext, names: list[str], limit: int) -> list[tuple[str, bytes]]:
    if not names:
        return []
    found: list[tuple[str, bytes]] = []
    with Root.open(context.folder, "run") as root:
        for name in dict.fromkeys(names):
            content = root.read(name, limit)
            limit -= len(content)
            found.append((name.rpartition("/")[2], content))
    return found
