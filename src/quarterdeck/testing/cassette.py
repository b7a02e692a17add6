"""Records what a real model answered, once, and plays it back in every test after that."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import orjson

from quarterdeck.errors import ModelError
from quarterdeck.models.port import ModelReply, ModelRequest, ToolRequest, Usage
from quarterdeck.models.wire import reply_to_json, request_to_json

if TYPE_CHECKING:
    from quarterdeck.models.port import OnText, Provider

Mode = Literal["record", "replay", "auto"]
MAX_FILE_BYTES = 50_000_000
_SECRET = re.compile(r"(KEY|TOKEN|SECRET|PASSWORD)$")


class Cassette:
    """A provider that stands before another one and keeps its answers as JSON lines.

    A request is found again by the hash of all that it says. Values of environment variables that look like secrets
    (`*_KEY`, `*_TOKEN`, `*_SECRET`, `*_PASSWORD`) are replaced before anything is hashed or written.

    Args:
        path: The file, made when something is recorded.
        provider: Who answers while recording; not needed to replay.
        mode: `record` asks for everything anew and replaces the file; `replay` never asks; `auto` asks for what is
            missing.
        environ: Where secrets are looked up.
    """

    def __init__(
        self,
        path: Path | str,
        provider: Provider | None = None,
        *,
        mode: Mode = "replay",
        environ: Mapping[str, str] = os.environ,
    ) -> None:
        if mode != "replay" and provider is None:
            raise ValueError(f"mode {mode!r} needs a provider to record from")
        self._path = Path(path)
        self._provider = provider
        self._mode = mode
        self._secrets = [value for name, value in environ.items() if _SECRET.search(name) and len(value) >= 8]
        self._tape: dict[str, list[dict[str, Any]]] = {} if mode == "record" else _load(self._path)
        self._played: dict[str, int] = {}
        self._fresh = mode == "record"

    async def answer(self, request: ModelRequest, on_text: OnText | None = None) -> ModelReply:
        """Play the answer back, or ask for it and record it.

        Raises:
            ModelError: Nothing is recorded for this request (`no_model`), or the real model failed.
        """
        body = self._redacted(request_to_json(request))
        key = hashlib.sha256(orjson.dumps(body, option=orjson.OPT_SORT_KEYS)).hexdigest()
        takes = self._tape.get(key, [])
        number = self._played.get(key, 0)
        self._played[key] = number + 1
        if takes and (number < len(takes) or self._mode == "replay") and self._mode != "record":
            reply = _reply(takes[min(number, len(takes) - 1)])
            if on_text is not None and reply.text:
                on_text(reply.text)
            return reply
        if self._provider is None or self._mode == "replay":
            raise ModelError(self._missing(request, key), "no_model")
        reply = await self._provider.answer(request, on_text)
        self._record(key, body, reply)
        return reply

    async def close(self) -> None:
        """Close the provider behind."""
        if self._provider is not None:
            await self._provider.close()

    def _record(self, key: str, body: dict[str, Any], reply: ModelReply) -> None:
        take = self._redacted({
            **reply_to_json(reply),
            "model": reply.model,
            "usage": [reply.usage.prompt_tokens, reply.usage.completion_tokens, reply.usage.cached_tokens],
            "cost_usd": None if reply.cost_usd is None else str(reply.cost_usd),
        })  # fmt: skip
        self._tape.setdefault(key, []).append(take)
        self._path.parent.mkdir(parents=True, exist_ok=True)
        line = orjson.dumps({"key": key, "request": body, "reply": take}) + b"\n"
        with self._path.open("wb" if self._fresh else "ab") as file:
            file.write(line)
        self._fresh = False

    def _redacted(self, data: dict[str, Any]) -> dict[str, Any]:
        if not self._secrets:
            return data
        redacted: dict[str, Any] = _without(data, self._secrets)
        return redacted

    def _missing(self, request: ModelRequest, key: str) -> str:
        last = request.messages[-1].content[:120] if request.messages else ""
        return (
            f"{self._path} has no recording ({key[:12]}) of this request to {request.model}, which ends {last!r}: "
            f"record it once with mode='auto' and a real model, or look at what changed in the prompt."
        )


def _without(data: Any, secrets: list[str]) -> Any:
    if isinstance(data, str):
        for secret in secrets:
            data = data.replace(secret, "***")
        return data
    if isinstance(data, list):
        return [_without(part, secrets) for part in data]
    if isinstance(data, dict):
        return {name: _without(part, secrets) for name, part in data.items()}
    return data


def _load(path: Path) -> dict[str, list[dict[str, Any]]]:
    tape: dict[str, list[dict[str, Any]]] = {}
    if not path.exists():
        return tape
    if path.stat().st_size > MAX_FILE_BYTES:
        raise ValueError(f"{path} is larger than {MAX_FILE_BYTES} bytes: record fewer calls a file")
    for number, line in enumerate(path.read_bytes().splitlines(), start=1):
        try:
            take = orjson.loads(line)
            tape.setdefault(take["key"], []).append(take["reply"])
        except (orjson.JSONDecodeError, KeyError, TypeError) as error:
            raise ValueError(f"{path}:{number} is no recording: delete the line or record anew ({error!r})") from None
    return tape


def _reply(take: dict[str, Any]) -> ModelReply:
    return ModelReply(
        text=take["text"],
        tool_calls=tuple(ToolRequest(one["id"], one["name"], one["arguments"], one["raw"])
                         for one in take.get("tool_calls", ())),
        usage=Usage(*take["usage"]),
        cost_usd=None if take["cost_usd"] is None else Decimal(take["cost_usd"]),
        model=take["model"],
        finish=take["finish"],
    )  # fmt: skip
