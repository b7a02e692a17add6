"""What must not leave with a prompt: secrets are masked for good, personal data is replaced and put back.

Both stages stand outside `Replay`, so the journal, the cache and the provider all have the text without it.
"""

from __future__ import annotations

import asyncio
import re
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from quarterdeck.models.personal import Span, by_reading, find, finders

if TYPE_CHECKING:
    from quarterdeck.journal.call import CallContext
    from quarterdeck.models.catalog import ResolvedModel
    from quarterdeck.models.port import ModelReply, ModelRequest, ToolRequest
    from quarterdeck.models.stages import Stage
    from quarterdeck.spec.governance import RedactSpec

MAX_KNOWN_BYTES = 8_000_000
"""How much text is remembered with what was found in it: a conversation is sent again with each turn."""

Rewrite = Callable[[str], str]


class Mask:
    """Masks secrets in requests and replies.

    Args:
        proceed: The next stage.
        mask: Returns a text without secrets, the very same object where it holds none; None for no masking.
    """

    def __init__(self, proceed: Stage, mask: Rewrite | None) -> None:
        self._proceed = proceed
        self._mask = mask

    async def complete(self, request: ModelRequest, context: CallContext) -> ModelReply:
        """Mask, proceed, mask."""
        if self._mask is None:
            return await self._proceed.complete(request, context)
        if not _is_clean(request, self._mask):
            request = rewritten_request(request, self._mask)
        reply = await self._proceed.complete(request, context)
        if reply.tool_calls or self._mask(reply.text) is not reply.text:
            reply = rewritten_reply(reply, self._mask)
        return reply


class Redactor:
    """Replaces personal data in requests by placeholders such as `<EMAIL_1>`.

    Args:
        spec: What to look for, and for which models.
        chain: All models that may answer a request to one, by name and group.

    Raises:
        SpecError: Something is to be redacted that cannot be found.
    """

    def __init__(self, spec: RedactSpec, chain: Callable[[str, str], tuple[ResolvedModel, ...]]) -> None:
        self._how = finders(spec.pii, spec.regions)
        self._slow = bool(by_reading(spec.pii))
        self._globs = spec.models
        self._chain = chain
        self._found: OrderedDict[str, list[Span]] = OrderedDict()
        self._bytes = 0

    def concerns(self, model: str, group: str) -> bool:
        """Say whether a request may reach a model outside this machine for which personal data is redacted."""
        return bool(self._how) and any(
            one.kind != "embedded" and any(fnmatchcase(one.name, glob) for glob in self._globs)
            for one in self._chain(model, group)
        )

    async def spans(self, text: str) -> list[Span]:
        """Return the personal data in a text; remembered, within limits, for the next turn.

        Raises:
            ModelError: `no_weights`: the model that finds names cannot be loaded.
        """
        if (known := self._found.get(text)) is not None:
            self._found.move_to_end(text)
            return known
        # a model takes its time, and other runs go on meanwhile
        found = await asyncio.to_thread(find, text, self._how) if self._slow else find(text, self._how)
        if text not in self._found:
            self._bytes += len(text)
            self._found[text] = found
        while self._bytes > MAX_KNOWN_BYTES:
            oldest, _ = self._found.popitem(last=False)
            self._bytes -= len(oldest)
        return found


class Redact:
    """Takes personal data out of requests that leave this machine, and puts it back into the replies.

    Placeholders are numbered as they come up in the conversation, so the same request is always redacted alike.

    Args:
        proceed: The next stage.
        redactor: Finds it; None for no redaction.
    """

    def __init__(self, proceed: Stage, redactor: Redactor | None) -> None:
        self._proceed = proceed
        self._redactor = redactor

    async def complete(self, request: ModelRequest, context: CallContext) -> ModelReply:
        """Redact, proceed, restore."""
        if self._redactor is None or not self._redactor.concerns(request.model, context.group):
            return await self._proceed.complete(request, context)
        texts = _texts(request)
        places = _Placeholders({text: await self._redactor.spans(text) for text in dict.fromkeys(texts)})
        redacted = rewritten_request(request, places.redact)
        return rewritten_reply(await self._proceed.complete(redacted, context), places.restore)


class _Placeholders:
    """What stands for what in one request.

    Args:
        spans: Each of its texts with the personal data in it.
    """

    def __init__(self, spans: Mapping[str, list[Span]]) -> None:
        self._spans = spans
        self._taken = {name for text in spans for name in re.findall(r"<[A-Z_]+_\d+>", text)}
        self._names: dict[tuple[str, str], str] = {}
        self._values: dict[str, str] = {}
        self._counts: dict[str, int] = {}

    def redact(self, text: str) -> str:
        parts, at = [], 0
        for start, end, kind in self._spans[text]:
            parts += [text[at:start], self._name(kind, text[start:end])]
            at = end
        return "".join([*parts, text[at:]]) if parts else text

    def restore(self, text: str) -> str:
        if not self._values or "<" not in text:
            return text
        return re.sub(r"<[A-Z_]+_\d+>", lambda match: self._values.get(match[0], match[0]), text)

    def _name(self, kind: str, value: str) -> str:
        name = self._names.get((kind, value))
        while name is None:
            self._counts[kind] = self._counts.get(kind, 0) + 1
            name = f"<{kind}_{self._counts[kind]}>"
            if name in self._taken:  # somebody wrote it: it must not turn into somebody's address
                name = None
        self._names[kind, value] = name
        self._values[name] = value
        return name


def _is_clean(request: ModelRequest, mask: Rewrite) -> bool:
    """Return whether no text of a plain request changes; it is asked of every request, so without a copy."""
    if request.tools or request.schema is not None:
        return False
    return all(
        not message.tool_calls and mask(message.content) is message.content and mask(message.name) is message.name
        for message in request.messages
    )


def rewritten_request(request: ModelRequest, rewrite: Rewrite) -> ModelRequest:
    """Return a request with each of its texts rewritten: messages, proposed calls, tools and schema."""
    return replace(
        request,
        messages=tuple(
            replace(
                message,
                content=rewrite(message.content),
                tool_calls=_calls(message.tool_calls, rewrite),
                name=rewrite(message.name),
            )
            for message in request.messages
        ),
        tools=tuple(
            replace(tool, description=rewrite(tool.description), parameters=rewritten(tool.parameters, rewrite))
            for tool in request.tools
        ),
        schema=rewritten(request.schema, rewrite),
    )


def rewritten_reply(reply: ModelReply, rewrite: Rewrite) -> ModelReply:
    """Return a reply with each of its texts rewritten."""
    return replace(reply, text=rewrite(reply.text), tool_calls=_calls(reply.tool_calls, rewrite))


def rewritten(value: Any, rewrite: Rewrite) -> Any:
    """Return JSON-able data with each of its texts rewritten, keys too."""
    if isinstance(value, str):
        return rewrite(value)
    if isinstance(value, dict):
        return {rewrite(key): rewritten(part, rewrite) for key, part in value.items()}
    return [rewritten(part, rewrite) for part in value] if isinstance(value, list | tuple) else value


def _calls(calls: Sequence[ToolRequest], rewrite: Rewrite) -> tuple[ToolRequest, ...]:
    return tuple(
        replace(call, name=rewrite(call.name), arguments=rewritten(call.arguments, rewrite), raw=rewrite(call.raw))
        for call in calls
    )


def _texts(request: ModelRequest) -> list[str]:
    """Return every text of a request."""
    found: list[str] = []

    def note(text: str) -> str:
        found.append(text)
        return text

    rewritten_request(request, note)
    return found
