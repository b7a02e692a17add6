"""The stage that has a call which destroys something first say what it would do."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from quarterdeck.errors import Waiting
from quarterdeck.governance.approvals import arguments_hash
from quarterdeck.governance.result import noted
from quarterdeck.journal.events import EffectStarted, ToolCalled
from quarterdeck.journal.fingerprint import fingerprint

if TYPE_CHECKING:
    from quarterdeck.governance.call import Proceed, ToolCall
    from quarterdeck.governance.result import ToolResult
    from quarterdeck.journal.call import CallContext

MAX_PREVIEWS = 1000


class Previewed:
    """Turns the first call of a tool that declares `dry_run` into a preview, whatever the model asks for.

    Only a call with the same other arguments as a preview that was shown in this run can really be made, once; then
    its tier decides as for any call. A preview changes nothing, so it counts as reading; a person who approved it has
    not approved the real call.
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
        wanted = call.arguments.get(parameter) is False
        shown = key in self._shown or _was_real(call, context, parameter)
        call.preview = not (wanted and shown)
        call.arguments = {**call.arguments, parameter: call.preview}
        if not call.preview:  # used up before it is made: of two calls side by side one is real
            self._shown.pop(key, None)
        try:
            result = await proceed(call, context)
        except Waiting as waiting:
            if not call.preview and waiting.code == "approval":  # it was not begun: what was shown still holds
                self._show(key)
            raise
        if call.preview and result.status in ("ok", "shadowed"):  # in shadow the real call is to be recorded too
            self._show(key)
            note = (
                f"A preview: nothing was changed. To do it, call it again with {parameter} false and nothing else new."
            )
            return replace(result, value=noted(result.value, note))
        if not call.preview and result.status not in ("ok", "unverified", "unknown"):
            self._show(key)  # nothing came of it: what was shown still holds
        return result

    def _show(self, key: str) -> None:
        while len(self._shown) >= MAX_PREVIEWS:
            self._shown.pop(next(iter(self._shown)))
        self._shown[key] = None


def _was_real(call: ToolCall, context: CallContext, parameter: str) -> bool:
    """Say whether the real call was made, begun or put before a person at this path already, and not a preview."""
    assert call.arguments is not None
    journal = context.journal
    made = journal.recorded(ToolCalled, context.path) or journal.recorded(EffectStarted, context.path)
    if made is not None:
        return made.arguments.get(parameter) is False
    try:
        real = arguments_hash(call.name, {**call.arguments, parameter: False})
    except ValueError:
        return False
    return any(asked.arguments_hash == real for asked in journal.dialogue.asked(context.path))
