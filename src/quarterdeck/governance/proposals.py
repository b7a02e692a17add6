"""What a shadow leaves to people: calls that were recorded and not done, each to be carried out once, or rejected."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from pydantic_core import to_jsonable_python
from sqlalchemy import select

from quarterdeck.errors import InputError, JournalError
from quarterdeck.governance.approvals import arguments_hash
from quarterdeck.governance.dial import level_of
from quarterdeck.governance.escalation import uncertainty_of
from quarterdeck.governance.policy import Policy, Verdict
from quarterdeck.journal.events import ApprovalAsked, Proposed
from quarterdeck.journal.ids import new_id
from quarterdeck.journal.record import StoredEvent
from quarterdeck.journal.tables import events, runs

if TYPE_CHECKING:
    from quarterdeck.governance.call import ToolCall
    from quarterdeck.journal.call import CallContext
    from quarterdeck.journal.record import RunRecord
    from quarterdeck.journal.store import Store
    from quarterdeck.spec.governance import Effect, GovernanceConfig
    from quarterdeck.tools.tool import Tool

LETTER = "s"
"""The first letter of a proposal's id; that of a question is another."""
PROPOSED = Proposed.model_fields["kind"].default
MAX_LISTED = 1000
MAX_WHY = 2000
NEXT = (
    "Approved: {tool} is called once with exactly these arguments, in a run of its own. Rejected: it is never called. "
    "No agent is told of it, for the run that proposed it has ended."
)


@dataclass(frozen=True, slots=True)
class Proposal:
    """A call that a run would have made, and what a person made of it.

    Attributes:
        run: The run that proposed it.
        asked: The call, as a question to a person.
        carried_out: The run that an answer began, with its status; empty as long as nobody answered.
    """

    run: RunRecord
    asked: ApprovalAsked
    carried_out: str = ""
    answer: None = None
    is_call: bool = True

    @property
    def state(self) -> Literal["open", "expired", "running"] | str:
        """What became of it: `open`, `expired`, `running` as long as its run is not over, or how that run ended."""
        if self.carried_out:
            return self.carried_out
        if self.run.status in ("running", "waiting"):
            return "running"
        return "expired" if time.time() > self.asked.expires_at else "open"

    @property
    def bound(self) -> bool:
        """Whether what can be shown of its arguments is exactly what would be done."""
        return arguments_hash(self.asked.tool, self.asked.arguments) == self.asked.arguments_hash


class OnApproval(Policy):
    """The operator's policy for one tool of which nothing is done unless a person approves it.

    What the policy forbids stays forbidden. Calls that the tool makes itself are judged as in any run.

    Args:
        config: The operator's file.
        tool: The tool, by the name that the call has.
        crew: Whose call it is.
        autonomy: Where the dial stands. In `shadow` the call is judged as it was there: it is a person who acts.
        own: Where the crew's own file puts it.
    """

    def __init__(self, config: GovernanceConfig, tool: str, *, crew: str, autonomy: Any, own: Any = None) -> None:
        super().__init__(config, crew=crew, autonomy=level_of(autonomy, own, config.autonomy))
        self._tool = tool

    def judge(
        self, tool: Tool, arguments: Mapping[str, Any], agent: str = "", *, effect: Effect | None = None
    ) -> Verdict:
        """Return what becomes of a call. As in the class above."""
        verdict = super().judge(tool, arguments, agent, effect=effect)
        if tool.name == self._tool and verdict.tier in ("autonomous", "notify"):
            return replace(verdict, tier="approve", rule="shadow")
        return verdict


def proposed(call: ToolCall, context: CallContext, hours: float) -> Proposed | None:
    """Return a call in shadow as a proposal; None where there is nothing that a person could have carried out.

    That is a preview, a call that another tool makes, and one whose arguments JSON cannot carry exactly.

    Args:
        call: The call; its arguments are valid.
        context: Where in the run.
        hours: How long it can be carried out.
    """
    if call.preview or call.within is not None:
        return None
    try:
        bound = arguments_hash(call.name, call.arguments or {})
    except ValueError:
        return None
    return Proposed(
        path=context.path,
        task=context.task,
        agent=context.agent,
        id=LETTER + new_id(),
        needs=call.shadow,
        tool=call.name,
        arguments=to_jsonable_python(call.arguments or {}),
        arguments_hash=bound,
        effect=call.effect or "",
        tier=call.tier,
        why=call.why[:MAX_WHY],
        uncertainty=uncertainty_of(call.why),
        origins=call.origins,
        expires_at=time.time() + hours * 3600,
    )


def proposals(store: Store) -> list[Proposal]:
    """Return what can be carried out or will be once its run has ended, oldest first; of the newest `MAX_LISTED`."""
    found = _read(store, select(events).where(events.c.kind == PROPOSED).order_by(events.c.at.desc()).limit(MAX_LISTED))
    return [one for one in reversed(found) if one.state in ("open", "running")]


def find_proposal(store: Store, beginning: str) -> Proposal:
    """Return a proposal by its id, or by the beginning of it when no other begins so.

    Raises:
        InputError: None, or more than one, begins so.
    """
    same = events.c.body.contains(f'"id":"{beginning[:40]}', autoescape=True)
    query = select(events).where(events.c.kind == PROPOSED, same).order_by(events.c.at.desc()).limit(100)
    found = [one for one in _read(store, query) if one.asked.id.startswith(beginning)]
    found = [one for one in found if one.asked.id == beginning] or found
    if len(found) == 1:
        return found[0]
    if found:
        names = ", ".join(one.asked.id for one in found[:6])
        raise InputError(f"{beginning!r} begins more than one proposal: {names}. Type more of the id.")
    raise InputError(f"There is no proposal {beginning[:40]!r}. All: quarterdeck approvals list --shadowed")


def refuse(proposal: Proposal) -> None:
    """Refuse what cannot be carried out now.

    Raises:
        JournalError: Its run still goes on, it has expired, or its arguments cannot be shown exactly.
    """
    asked = proposal.asked
    if proposal.run.status in ("running", "waiting"):
        raise JournalError(
            f"Run {proposal.run.id}, which proposed {asked.id}, has not ended. Nothing was done. Approve it when it "
            f"has, or end it: quarterdeck runs cancel {proposal.run.id}",
            code="not_waiting",
        )
    if proposal.state == "expired":
        raise JournalError(
            f"{asked.id} has expired. Nothing was done. Let the crew propose it anew.", code="not_waiting"
        )
    if not proposal.bound:
        raise JournalError(
            f"{asked.id} cannot be carried out: what can be shown of its arguments is not exactly what would be done "
            "(a secret in it is masked, or it was changed in the database). Nothing was done.",
            code="corrupt",
        )


def _read(store: Store, query: Any) -> list[Proposal]:
    """Return each proposal once: what a fork took over is its parent's, which is older."""
    made: dict[str, tuple[RunRecord, Proposed]] = {}
    records: dict[str, RunRecord] = {}
    for row in store.read(query):
        stored = StoredEvent(*tuple(row))
        event = stored.event
        assert isinstance(event, Proposed)
        run = records[stored.run_id] = records.get(stored.run_id) or store.run(stored.run_id)
        if event.id not in made or run.created_at < made[event.id][0].created_at:
            made[event.id] = (run, event)
    answered: dict[str, str] = {}
    ids = list(made)
    for first in range(0, len(ids), 500):
        some = select(runs.c.id, runs.c.status).where(runs.c.id.in_(ids[first : first + 500]))
        answered |= {row.id: row.status for row in store.read(some)}
    return [Proposal(run, _asked(event), answered.get(key, "")) for key, (run, event) in made.items()]


def _asked(made: Proposed) -> ApprovalAsked:
    same = made.model_dump(exclude={"kind", "v", "at"})
    return ApprovalAsked(**same, reason="shadow", options=("do nothing",), next=NEXT.format(tool=made.tool))
