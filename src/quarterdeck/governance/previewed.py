"""The stage that has a call which destroys something first say what it would do."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from quarterdeck.governance.result import noted
from quarterdeck.journal.fingerprint import fingerprint

if TYPE_CHECKING:
    from quarterdeck.governance.call import Proceed, ToolCall
    from quarterdeck.governance.result import ToolResult
    from quarterdeck.journal.call import CallContext

MAX_PREVIEWS = 1000


class Previewed:
    """Turns the first call of a tool that declares `dry_run` into a preview, whatever the model asks for.

    Only a call with the same other arguments as a preview that was shown in this run can really be made, once; then
    its tier decides as for any call. A preview changes nothing, so it counts as reading.
    """

    def __init__(self) -> None:
        self._shown: dict[str, None] = {}

    async def __call__(self, call: ToolCall, context: CallContext, proceed: Proceed) -> ToolResult:
        """Make it a preview, unless it was previewed before."""
        assert call.tool is not None and call.arguments is not None
        parameter = call.tool.manifest.dry_run
        if not parameter or call.tool.manifest.effect == "read":
            return await proceed(call, context)
        others = {name: value for name, value in call.arguments.items() if name != parameter}
        key = fingerprint({"tool": call.tool.name, "arguments": {name: str(value) for name, value in others.items()}})
        call.preview = call.arguments.get(parameter) is not False or key not in self._shown
        call.arguments = {**call.arguments, parameter: call.preview}
        result = await proceed(call, context)
        if call.preview and result.status == "ok":
            while len(self._shown) >= MAX_PREVIEWS:
                self._shown.pop(next(iter(self._shown)))
            self._shown[key] = None
            note = (
                f"A preview: nothing was changed. To do it, call it again with {parameter} false and nothing else new."
            )
            return replace(result, value=noted(result.value, note))
        elif result.status in ("ok", "unverified", "unknown"):
            self._shown.pop(key, None)
        return result
