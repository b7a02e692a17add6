"""Posting to Slack, into the channel of the incoming webhook that the operator declared."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from quarterdeck.errors import ToolError
from quarterdeck.tools.egress import Request
from quarterdeck.tools.manifest import tool
from quarterdeck.tools.services import Service, as_json, secret, service_reach, services_of
from quarterdeck.tools.tool import ToolContext

__all__ = ["post"]


@tool(effect="external", owner="quarterdeck", sinks={"text": "other"}, timeout=30.0)
async def post(context: ToolContext, text: Annotated[str, Field(min_length=1, max_length=4000)]) -> str:
    """Post a message to the team's Slack channel when people should see it.

    Args:
        context: The run that posts; filled in by the engine.
        text: The message; mentions and links in it stay plain text.

    Returns:
        That it is posted.
    """
    spec = services_of(context).slack
    if spec is None:
        raise ToolError("Nothing is posted from here: config/services.yaml declares no `slack`.")
    url = secret(spec.webhook_env)
    path = url.partition("://")[2].partition("/")[2]
    service = Service(
        "slack", service_reach(url, private=spec.private), [(spec.webhook_env, url), (spec.webhook_env, path)]
    )
    plain = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    headers = {"Content-Type": "application/json"}
    await service.send(Request("POST", url, headers, as_json({"text": plain}), max_bytes=10_000, seconds=20.0))
    return "posted"
