"""The stage that asks of each argument which decides anything where it comes from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import TYPE_CHECKING, Any

from quarterdeck.governance.labels import MODEL, NOT_TRUSTED, OPERATOR, PERSON, Origin, least
from quarterdeck.governance.origins import Origins, scalar
from quarterdeck.governance.spots import MAX_SPOTS, declared_names, field_of, spots

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
CALL = "call:"
"""Before the path of a call in an origin that is given: the value is known to be from its result."""
_CONFIRMED = ("tier", "provenance", "confidence", "incomplete")


class Provenance:
    """Labels the arguments of a call, and has a person asked where a sink gets what nobody trustworthy wrote.

    Rules, from what is declared of the tool alone: reading is free unless an argument says where to or sends something
    out; a sink takes values of the user, the operator, a trusted tool, or a person who approved the value for it; once
    the run has read something sensitive, what leaves it goes only where people said; what cannot be undone always
    needs a person.

    Args:
        origins: Where the values of the run come from.
        tools: All tools, with what the operator says of them.
    """

    def __init__(self, origins: Origins, tools: Mapping[str, Tool]) -> None:
        self._origins = origins
        self._tools = tools
        self._restored = False
        self._heard: set[str] = set()

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
                tool = self._tools.get(event.tool)
                if tool is not None:
                    self._take_in(tool, event.path, event.status, event.result, event.arguments)
                elif event.status != "denied":  # nobody can say any more what it was
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
        declared = declared_names(call.tool.parameters)
        reasons = ["it cannot be undone"] if effect == "irreversible" else []
        for name, value in call.arguments.items():
            kind = "other" if manifest.sinks is None else manifest.sinks.get(name)
            if kind is None:
                _note(call, name, least(self._origins.of(one) for one in _some(name, value, declared)))
                continue
            for path, one, origin in self._sink(call, context, name, kind, given.get(name, ""), declared):
                _note(call, path, origin)
                if not self._may(origin, kind, effect, open_list=manifest.sinks is None):
                    reasons.append(self._reason(path, one, origin))
        if len(reasons) > MAX_REASONS:
            reasons[MAX_REASONS:] = [f"and {len(reasons) - MAX_REASONS} more"]
        call.needs_approval = "; ".join(filter(None, (call.needs_approval, *reasons)))

    def _sink(
        self, call: ToolCall, context: CallContext, name: str, kind: SinkKind, given: str, declared: frozenset[str]
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
            if not origin.trusted:
                origin = self._confirmed(call, context, path, one) or origin
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

    def _confirmed(self, call: ToolCall, context: CallContext, path: str, value: Any) -> Origin | None:
        """Return `person` where somebody has approved exactly this value for this field at another call of this run."""
        assert call.tool is not None
        dialogue = context.journal.dialogue
        for asked, answer in dialogue.approvals:
            # at its own path an approval is used up by `Approved`, which also knows when it has expired
            if asked.path == context.path or asked.tool != call.tool.name or asked.reason not in _CONFIRMED:
                continue
            if answer.answer == "rejected":
                continue
            arguments = answer.arguments if answer.answer == "edited" else asked.arguments
            for name, part in (arguments or {}).items():
                try:
                    agreed = [(field_of(at), scalar(one)) for at, one in spots(name, part, frozenset())]
                except ValueError:
                    continue
                if any(at == field_of(path) and type(one) is type(value) and one == value for at, one in agreed):
                    return PERSON
        return None

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
        if origin.trusted:
            read = ", ".join(list(self._origins.sensitive)[:3])
            return f"{path[:200]} = {shown!r} comes from {origin}, and the run has read what is sensitive ({read})"
        if origin == MODEL:
            return f"{path[:200]} = {shown!r} is the model's own word{NOT_TRUSTED}"
        return f"{path[:200]} = {shown!r} comes from {origin}"


def _note(call: ToolCall, path: str, origin: Origin) -> None:
    """Record an origin; when there are too many, the least trusted stands for the rest of an argument."""
    key = path[:200]
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
