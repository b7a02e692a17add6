"""The stage that keeps an agent from going round in circles, and tells it what it has tried."""

from __future__ import annotations

import re
from collections import Counter, OrderedDict, deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import orjson

from quarterdeck.governance.escalation import ESCALATE
from quarterdeck.governance.result import ToolResult
from quarterdeck.journal.events import Decision
from quarterdeck.journal.fingerprint import fingerprint

if TYPE_CHECKING:
    from quarterdeck.governance.call import Proceed, ToolCall
    from quarterdeck.journal.call import CallContext

EQUAL_FAILURES = 3
"""After so many failures of one tool for the same reason, what has failed is not tried again."""
ESCALATE_AFTER = 2
MAX_TRIED = 20
MAX_PLACES = 1000
_SHOWN = 8


@dataclass(slots=True)
class _Attempt:
    near: str
    shown: str
    outcome: str = ""
    failure: str = ""


@dataclass(slots=True)
class _Place:
    """What was tried in one task, or in one item of it."""

    exact: deque[str] = field(default_factory=lambda: deque(maxlen=4))
    near: deque[str] = field(default_factory=lambda: deque(maxlen=4))
    tried: deque[_Attempt] = field(default_factory=lambda: deque(maxlen=MAX_TRIED))
    denied: int = 0


class NotRepeated:
    """Denies what goes round in circles within one task, and says what was tried.

    Circles are: the third call in a row that is equal or nearly so (blanks, case, punctuation and the order of words
    make no difference), the second round of two calls that alternate, and any call like one that failed before, once
    its tool has failed three times for the same reason. The second such denial in a task is an escalation: it is
    recorded, and people are told. Nobody has to answer: the agent gives what it has.
    """

    def __init__(self) -> None:
        self._places: OrderedDict[str, _Place] = OrderedDict()

    async def __call__(self, call: ToolCall, context: CallContext, proceed: Proceed) -> ToolResult:
        """Compare with the calls of the same task."""
        if call.within is not None:  # made by a tool's own code, which is trusted to end
            return await proceed(call, context)
        place = self._place(context.path.rsplit("/turn-", 1)[0])
        near = near_hash(call)
        place.exact.append(call.request_hash)
        place.near.append(near)
        # what was answered before is answered alike, in whatever order calls side by side come back in a replay
        recorded = context.journal.recorded_tool(context.path, call.request_hash) is not None
        if not recorded and (why := _circle(place, near, call)):
            return self._denied(place, call, context, why)
        attempt = _Attempt(near, f"{call.name}({_brief(call.arguments)})")
        place.tried.append(attempt)
        result = await proceed(call, context)
        attempt.outcome = result.error_class or result.status
        if result.status == "error":
            attempt.failure = f"{call.name}: {result.error_class}: {_normal(str(result.value))[:200]}"
        return result

    def _place(self, name: str) -> _Place:
        place = self._places.setdefault(name, _Place())
        self._places.move_to_end(name)
        while len(self._places) > MAX_PLACES:
            self._places.popitem(last=False)
        return place

    def _denied(self, place: _Place, call: ToolCall, context: CallContext, why: str) -> ToolResult:
        place.denied += 1
        if place.denied == ESCALATE_AFTER:
            context.journal.note(
                Decision(
                    path=f"{context.path}/escalated",
                    task=context.task,
                    agent=context.agent,
                    what="goes round in circles",
                    why=f"{call.name}: {why}"[:1000],
                    chosen=ESCALATE,
                    alternatives=tuple(_tried(place)),
                )
            )
        tried = "; ".join(_tried(place))
        return ToolResult(
            "denied",
            f"{why} Tried so far: {tried}. What you do next must differ from all of these: "
            "use another tool or other arguments, or give your answer with what you know.",
            "repeated",
        )


def near_hash(call: ToolCall) -> str:
    """Return what is the same for calls that differ only in blanks, case, punctuation and the order of words."""
    return fingerprint({"tool": call.name, "arguments": near(call.arguments)})


def near(value: Any) -> Any:
    """Return a value in which blanks, case, punctuation and the order of words make no difference."""
    if isinstance(value, str):
        words = re.findall(r"\w+", value.casefold())
        return " ".join(sorted(words)) if words else value
    if isinstance(value, dict):
        return {str(key): near(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [near(part) for part in value]
    return value if isinstance(value, int | float | bool) or value is None else str(value)


def _circle(place: _Place, near: str, call: ToolCall) -> str:
    """Return why a call goes round in a circle; empty when it does not."""
    if _alike(place.exact, 3):
        return f"You have made this very call of {call.name} before and know its result."
    if _alike(place.near, 3):
        return f"You have made nearly this call of {call.name} twice before and know its result."
    for last in (list(place.exact), list(place.near)):
        if len(last) == 4 and last[0] == last[2] != last[1] == last[3]:
            return f"You have made this very call of {call.name} before and know its result: you alternate."
    failures = Counter(attempt.failure for attempt in place.tried if attempt.failure)
    failed = next((attempt.failure for attempt in place.tried if attempt.near == near and attempt.failure), "")
    if failed and failures[failed] >= EQUAL_FAILURES:
        return f"{failures[failed]} calls have failed for the same reason, and this is one of them."
    return ""


def _alike(last: deque[str], count: int) -> bool:
    return len(last) >= count and len(set(list(last)[-count:])) == 1


def _tried(place: _Place) -> list[str]:
    seen = dict.fromkeys(f"{attempt.shown} -> {attempt.outcome or 'under way'}" for attempt in place.tried)
    return list(seen)[-_SHOWN:]


def _brief(arguments: dict[str, Any] | None) -> str:
    return orjson.dumps(arguments or {}, default=str).decode()[1:-1][:120]


def _normal(text: str) -> str:
    return " ".join(re.sub(r"\d+", "#", text.casefold()).split())
