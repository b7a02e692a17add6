"""Asking a person: the question is recorded, the run stops, and whoever resumes it finds the answer in its journal."""

from __future__ import annotations

import asyncio
import hashlib
import json
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from pydantic_core import PydanticSerializationError, to_jsonable_python
from sqlalchemy import select

from quarterdeck.errors import JournalError, Waiting
from quarterdeck.governance.printable import printable
from quarterdeck.journal.dialogue import ASKED
from quarterdeck.journal.events import ApprovalAsked, EffectStarted, ToolCalled
from quarterdeck.journal.ids import LETTERS
from quarterdeck.journal.tables import events, runs

if TYPE_CHECKING:
    from quarterdeck.governance.call import ToolCall
    from quarterdeck.journal.call import CallContext
    from quarterdeck.journal.events import ApprovalAnswered
    from quarterdeck.journal.store import Store

ABOUT_CALLS = ("tier", "provenance", "confidence", "incomplete", "shadow")
"""Reasons for asking whether a call may be made; all others ask about something else."""
HOURS = 24.0
MAX_WHY = 2000
_ATTEMPTS = 8
_ID_LENGTH = 5


def arguments_hash(tool: str, arguments: dict[str, Any], about: str = "") -> str:
    """Return what an approval is bound to: the SHA-256 of a tool and its exact arguments in canonical JSON.

    The order of keys makes no difference; anything else does: a blank, an upper-case letter, `140` and `140.0`.

    Args:
        tool: Its name, with its version where the agent pins one.
        arguments: As the tool would get them.
        about: What is asked about them, where it is not whether the call may be made.

    Raises:
        ValueError: JSON cannot carry them exactly, so no person could be shown what would be done.
    """
    try:
        plain = to_jsonable_python(arguments)
        asked = {"about": about, "tool": tool, "arguments": plain} if about else {"tool": tool, "arguments": plain}
        text = json.dumps(asked, sort_keys=True, separators=(",", ":"), allow_nan=False)
    except (PydanticSerializationError, TypeError, RecursionError) as error:
        raise ValueError(str(error)) from None
    return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Question:
    """What a person is asked.

    Attributes:
        reason: The kind: `tier`, `provenance`, `confidence`, `incomplete` and `shadow` ask whether a call may be made;
            `answer`, `scope` and `unknown_effect` ask what is to be done about something that happened.
        needs: Which rule or doubt puts it before a person.
        tool: The tool; empty where it is not about a call.
        arguments: What it would get, or what the question is about.
        effect: What the call does to the world.
        tier: What the policy makes of it.
        why: The agent's own words.
        uncertainty: 0 for certain, 1 for a guess; None when the agent does not say.
        origins: Where each argument came from.
        options: What else could be done; where the answer is a choice, what can be chosen.
        next: What happens then.
    """

    reason: str
    needs: str
    tool: str = ""
    arguments: dict[str, Any] = field(default_factory=dict)
    effect: str = ""
    tier: str = ""
    why: str = ""
    uncertainty: float | None = None
    origins: dict[str, str] = field(default_factory=dict)
    options: tuple[str, ...] = ()
    next: str = ""

    @property
    def about(self) -> str:
        """What is asked about the arguments; empty for whether the call may be made."""
        return "" if self.reason in ABOUT_CALLS else self.reason

    @classmethod
    def about_call(cls, call: ToolCall, reason: str, needs: str, **more: Any) -> Question:
        """Return a question about a call: its fields are taken over.

        Args:
            call: The call; its arguments are valid.
            reason: As in the class.
            needs: As in the class.
            more: The other fields.
        """
        return cls(
            reason=reason,
            needs=needs,
            tool=call.name,
            arguments=dict(call.arguments or {}),
            effect=call.effect or "",
            tier=call.tier,
            why=call.why,
            origins=dict(call.origins),
            **more,
        )


async def ask(
    question: Question, context: CallContext, *, hours: float = HOURS, clock: Callable[[], float] = time.time
) -> ApprovalAnswered:
    """Return the answer of a person; where there is none, record the question and stop the run.

    An answer holds for this run, this path and exactly these arguments. The approval of a call that was not made
    before it expired holds no longer, and is asked for anew.

    Args:
        question: What is asked.
        context: Where in the run; the question stands at the path of the call.
        hours: How long the answer can be given and used.
        clock: Gives seconds since 1970.

    Raises:
        Waiting: Nobody has answered; the code is `approval`, or `unknown_effect`.
        ValueError: JSON cannot carry the arguments exactly.
        JournalError: The question could not be recorded.
    """
    bound = arguments_hash(question.tool, question.arguments, question.about)
    dialogue = context.journal.dialogue
    asked = next((one for one in reversed(dialogue.asked(context.path)) if one.arguments_hash == bound), None)
    answer = dialogue.answer_to(asked) if asked else None
    now = clock()
    if asked is not None and answer is not None:
        holds = question.about or now <= asked.expires_at or was_used(context)
        if answer.answer == "rejected" or (holds and _fits(answer, bound)):
            return answer
    expired = asked is not None and now > asked.expires_at
    if asked is None or expired or answer is not None:
        asked = await _record(question, context, bound, now + hours * 3600, expired=expired)
    raise _waiting(asked)


def was_used(context: CallContext) -> bool:
    """Return whether the call at this path was made, or begun, by an earlier process."""
    journal = context.journal
    return journal.recorded(ToolCalled, context.path) is not None or (
        journal.recorded(EffectStarted, context.path) is not None
    )


def _fits(answer: ApprovalAnswered, bound: str) -> bool:
    return answer.answer == "edited" or answer.arguments_hash == bound


async def _record(
    question: Question, context: CallContext, bound: str, expires_at: float, *, expired: bool
) -> ApprovalAsked:
    asked = ApprovalAsked(
        path=context.path,
        task=context.task,
        agent=context.agent,
        id=await asyncio.to_thread(_new_id, context.journal.store),
        reason="timeout" if expired and not question.about else question.reason,
        needs=printable(" ".join(f"{'Nobody answered in time. ' if expired else ''}{question.needs}".split())),
        tool=question.tool,
        arguments=to_jsonable_python(question.arguments),
        arguments_hash=bound,
        effect=question.effect,
        tier=question.tier,
        why=question.why[:MAX_WHY],
        uncertainty=question.uncertainty,
        origins=question.origins,
        options=question.options,
        next=f"{question.next} Expires {_date(expires_at)}; then it is asked anew when the run is resumed.".strip(),
        expires_at=expires_at,
    )
    await context.journal.append(asked)
    context.journal.dialogue.add(asked)
    return asked


def _waiting(asked: ApprovalAsked) -> Waiting:
    what = asked.tool or asked.reason
    text = f"{asked.agent or asked.task}: {what} needs a person ({asked.needs}). "
    text += f"See: quarterdeck approvals show {asked.id}"
    if asked.reason == "unknown_effect":
        return Waiting(text, code="unknown_effect")
    return Waiting(text, code="approval")


def _new_id(store: Store) -> str:
    """Return an id that no question of a run that goes on has: people name questions by it."""
    going_on = select(runs.c.id).where(runs.c.status.in_(("running", "waiting")))
    for _ in range(_ATTEMPTS):
        new = "a" + "".join(secrets.choice(LETTERS) for _ in range(_ID_LENGTH))
        same = events.c.body.contains(f'"id":"{new}"', autoescape=True)
        query = select(events.c.seq).where(events.c.run_id.in_(going_on), events.c.kind == ASKED, same).limit(1)
        if not store.read(query):
            return new
    raise JournalError(
        f"No free id for a question was found in {_ATTEMPTS} attempts. Answer some: quarterdeck approvals list"
    )


def _date(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M UTC")
