"""The stage that asks of each argument which decides anything where it comes from."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from typing import TYPE_CHECKING, Any

from quarterdeck.governance.approvals import arguments_hash
from quarterdeck.governance.labels import MODEL, NOT_TRUSTED, OPERATOR, PERSON, Origin, least
from quarterdeck.governance.origins import Origins
from quarterdeck.governance.printable import printable, quoted
from quarterdeck.governance.spots import MAX_SPOTS, declared_names, spots

if TYPE_CHECKING:
    from quarterdeck.governance.call import Proceed, ToolCall
    from quarterdeck.governance.result import ToolResult
    from quarterdeck.journal.call import CallContext
    from quarterdeck.journal.run import RunJournal
    from quarterdeck.spec.governance import Effect, SinkKind
    from quarterdeck.tools.tool import Tool

MAX_LABELS = 50
MAX_REASONS = 5
MAX_SHOWN = 80
MAX_PATH = 200
CALL = "call:"
"""Before the path of a call in an origin that is given: the value is known to be from its result."""
_CONFIRMED = ("tier", "provenance", "confidence", "incomplete")
_AGAIN = ("read", "write")
"""Effects of calls for which an approval may hold once more; what reaches others, or cannot be undone, asks anew."""


class Provenance:
    """Labels the arguments of a call, and has a person asked where a sink gets what nobody trustworthy wrote.

    Rules, from what is declared of the tool alone: reading is free unless an argument says where to or sends something
    out; a sink takes values of the user, the operator, a trusted tool, or a person who approved the same sinks of the
    same tool before; once the run has read something sensitive, what leaves it goes only where people said; what cannot
    be undone always needs a person.

    Args:
        origins: Where the values of the run come from.
        tools: All tools, with what the operator says of them.
        clock: Gives seconds since 1970.
    """

    def __init__(self, origins: Origins, tools: Mapping[str, Tool], *, clock: Callable[[], float] = time.time) -> None:
        self._origins = origins
        self._tools = tools
        self._clock = clock
        self._restored = False
        self._heard: set[str] = set()
        self._declared: dict[str, frozenset[str]] = {}

    async def __call__(self, call: ToolCall, context: CallContext, proceed: Proceed) -> ToolResult:
        """Label the arguments, proceed, and take in what came back."""
        assert call.tool is not None and call.arguments is not None
        self._catch_up(context.journal)
        request = {"tool": call.name, "arguments": call.arguments}
        recorded = context.journal.recorded_tool(context.path, call.request_hash, request)
        if recorded is not None:  # it was judged when it was made; what was read since must not judge it again
            call.origins = dict(recorded.origins)
        else:
            self._judge(call, context)
        result = await proceed(call, context)
        self._take_in(call.tool, context.path, result.status, result.value, call.arguments)
        return result

    def _catch_up(self, journal: RunJournal) -> None:
        """Take in what an earlier process of the run has read, and what people have told the run since."""
        if not self._restored:
            self._restored = True
            for event in journal.recorded_tools_below(""):
                if event.status == "denied":
                    continue  # it has told nothing, and its file must not be imported for that
                tool = self._tools.get(event.tool)
                if tool is not None:
                    self._take_in(tool, event.path, event.status, event.result, event.arguments)
                else:  # nobody can say any more what it was
                    self._origins.returned(
                        event.path, event.tool, event.result, {}, status=event.status, sensitive=True
                    )
        for said in journal.dialogue.instructions:
            if said.id not in self._heard:
                self._heard.add(said.id)
                self._origins.hear(said.text)

    def _take_in(self, tool: Tool, path: str, status: Any, value: Any, arguments: Mapping[str, Any]) -> None:
        manifest = tool.manifest
        self._origins.returned(
            path, tool.name, value, arguments, status=status, trusted=manifest.trusted, sensitive=manifest.sensitive
        )

    def _judge(self, call: ToolCall, context: CallContext) -> None:
        assert call.tool is not None and call.arguments is not None
        manifest = call.tool.manifest
        effect: Effect | None = "read" if call.preview else manifest.effect
        if effect == "read" and manifest.sinks is not None and not manifest.sinks:
            call.origins = {}
            return
        given, call.origins = call.origins, {}
        declared = self._declared.get(call.tool.name)
        if declared is None:
            declared = self._declared[call.tool.name] = declared_names(call.tool.parameters)
        reasons = ["it cannot be undone"] if effect == "irreversible" else []
        agreed = self._agreed(call, context, effect)
        for name, value in call.arguments.items():
            kind = "other" if manifest.sinks is None else manifest.sinks.get(name)
            if kind is None:
                _note(call, name, least(self._origins.of(one) for one in _some(name, value, declared)))
                continue
            for path, one, origin in self._sink(call, name, kind, given.get(name, ""), declared):
                if agreed and not origin.trusted:
                    origin = PERSON
                _note(call, path, origin)
                if not self._may(origin, kind, effect, open_list=manifest.sinks is None):
                    reasons.append(self._reason(path, one, origin))
        if len(reasons) > MAX_REASONS:
            reasons[MAX_REASONS:] = [f"and {len(reasons) - MAX_REASONS} more"]
        call.needs_approval = "; ".join(filter(None, (call.needs_approval, *reasons)))

    def _sink(
        self, call: ToolCall, name: str, kind: SinkKind, given: str, declared: frozenset[str]
    ) -> Iterator[tuple[str, Any, Origin]]:
        """Yield each scalar of a sink argument with its path and origin."""
        assert call.tool is not None and call.arguments is not None
        value = call.arguments[name]
        properties = call.tool.parameters.get("properties", {})
        default = properties.get(name, {})
        if "default" in default and type(default["default"]) is type(value) and default["default"] == value:
            yield name, value, OPERATOR  # the tool's own word, as when it is left out
            return
        try:
            found = list(islice(spots(name, value, declared), MAX_SPOTS + 1))
        except ValueError:
            found = []
        if len(found) > MAX_SPOTS or (not found and _depth_unknown(value)):
            yield name, f"more than {MAX_SPOTS} values, or nested too deep", MODEL
            return
        for path, one in found:
            origin, known = self._origins.of(one, kind), self._known(given, one)
            if known is not None and not known.trusted and not given.startswith(CALL):
                origin = known  # the program around the gate knows better than what the value looks like
            elif not origin.trusted:
                origin = known or origin
            yield path, one, origin

    def _known(self, given: str, value: Any) -> Origin | None:
        """Return the origin that the caller (a plan, or the program around the gate) knows a value to have."""
        if given.startswith(CALL):
            return self._origins.at(given.removeprefix(CALL), value)
        if not given:
            return None
        origin = Origin.parse(given)
        if origin.kind != "tool":
            return origin
        tool = self._tools.get(origin.name)  # whether it is trusted is the operator's word, not the caller's
        return Origin("tool", origin.name, tool is not None and tool.manifest.trusted)

    def _agreed(self, call: ToolCall, context: CallContext, effect: Effect | None) -> bool:
        """Say whether a person has approved all that this call decides, at one other call of the same tool.

        Each sink has to be exactly as it was there: values that were approved apart are not approved together. What
        acts outside, cannot be undone or has an amount is approved anew each time.
        """
        assert call.tool is not None and call.arguments is not None
        sinks = call.tool.manifest.sinks
        if effect not in _AGAIN or "amount" in (sinks or {}).values():
            return False
        wanted: str | None = None
        for asked, answer in context.journal.dialogue.approvals:
            if asked.tool != call.name or asked.reason not in _CONFIRMED or answer.answer == "rejected":
                continue
            # At its own path an approval is used up by `Approved`. A preview was shown to the person as reading.
            if asked.path == context.path or asked.effect != effect or self._clock() > asked.expires_at:
                continue
            wanted = _decided(call.name, call.arguments, sinks) if wanted is None else wanted
            arguments = answer.arguments if answer.answer == "edited" else asked.arguments
            if wanted and _decided(call.name, arguments or {}, sinks) == wanted:
                return True
        return False

    def _may(self, origin: Origin, kind: SinkKind, effect: Effect | None, *, open_list: bool) -> bool:
        """Say whether a value of this origin may go into a sink of this kind without a person."""
        sensitive = bool(self._origins.sensitive)
        if effect == "read" and not open_list:
            if kind in ("path", "amount") or (kind == "other" and not sensitive):
                return True  # it says what is read, and nothing of it leaves
        if sensitive and kind not in ("path", "amount"):
            return origin.named_by_people
        return origin.trusted

    def _reason(self, path: str, value: Any, origin: Origin) -> str:
        shown = str(value) if len(str(value)) <= MAX_SHOWN else f"{str(value)[:MAX_SHOWN]}..."
        place = quoted(path[:MAX_PATH])
        if origin.trusted:
            read = ", ".join(list(self._origins.sensitive)[:3])
            return f"{place} = {shown!r} comes from {origin}, and the run has read what is sensitive ({read})"
        if origin == MODEL:
            return f"{place} = {shown!r} is the model's own word{NOT_TRUSTED}"
        return f"{place} = {shown!r} comes from {origin}"


def _decided(tool: str, arguments: Mapping[str, Any], sinks: Mapping[str, SinkKind] | None) -> str:
    """Return what the sinks of a call are, with exact types; empty where JSON cannot say that."""
    try:
        return arguments_hash(tool, {name: one for name, one in arguments.items() if sinks is None or name in sinks})
    except ValueError:
        return ""


def _note(call: ToolCall, path: str, origin: Origin) -> None:
    """Record an origin; when there are too many, the least trusted stands for the rest of an argument."""
    key = printable(path)[:MAX_PATH]  # keys of a dict are in it, which a model wrote: people read it
    if key not in call.origins and len(call.origins) >= MAX_LABELS:
        key = "..."
    before = call.origins.get(key)
    call.origins[key] = str(origin if before is None else least((Origin.parse(before), origin)))


def _some(name: str, value: Any, declared: frozenset[str]) -> list[Any]:
    """Return the scalars of an argument that decides nothing: as many as it takes to say where it comes from."""
    try:
        return [one for _, one in islice(spots(name, value, declared), MAX_LABELS)]
    except ValueError:
        return [None]


def _depth_unknown(value: Any) -> bool:
    return bool(value) and isinstance(value, Mapping | list | tuple | set | frozenset)
