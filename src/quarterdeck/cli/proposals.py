"""What `quarterdeck approvals` does with a call that a run in shadow proposed: carry it out, or reject it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

import typer

from quarterdeck.cli import options
from quarterdeck.errors import InputError

if TYPE_CHECKING:
    from quarterdeck.governance.proposals import Proposal
    from quarterdeck.journal.store import Store

WAITING = 11


def carry_out(store: Store, proposal: Proposal, *, reason: str, json: bool) -> None:
    """Have the call made, and say what became of it; a person's answer is exit code 0 when it succeeded."""
    from quarterdeck.cli.screen import Screen
    from quarterdeck.cli.text import one_line
    from quarterdeck.engine import proposed
    from quarterdeck.spec.workspace import Workspace

    screen, asked = Screen(), proposal.asked
    work = proposed.carry_out(proposal, store, Workspace.find(), by=options.user_name(), reason=reason.strip())
    import asyncio

    result = asyncio.run(work)
    if json:
        screen.data(_told(proposal, "approved") | {"status": result.status, "value": result.value})
    elif result.status == "waiting":
        screen.line(f"{result.value}. Then: quarterdeck approvals approve {asked.id}")
    else:
        screen.line(
            f"Approved once, for exactly these arguments. {asked.tool}: {result.status}: "
            f"{one_line(result.text(), 200)}   run {asked.id}"
        )
    if result.status != "ok":
        raise typer.Exit(WAITING if result.status == "waiting" else 1)


def reject(store: Store, proposal: Proposal, *, reason: str, json: bool) -> None:
    """Take it off the list."""
    from quarterdeck.cli.screen import Screen
    from quarterdeck.engine import proposed

    screen = Screen()
    import asyncio

    asyncio.run(proposed.reject(proposal, store, by=options.user_name(), reason=reason.strip()))
    if json:
        screen.data(_told(proposal, "rejected"))
    else:
        screen.line(f"Rejected. {proposal.asked.tool} is not called.")


def refuse_edit(proposal: Proposal) -> NoReturn:
    """Say that it is carried out as it was proposed, or not at all.

    Raises:
        InputError: Always.
    """
    raise InputError(
        f"{proposal.asked.id} was proposed in shadow, by a run that has ended: it is carried out as it is, or not at "
        f"all. Approve it, or reject it: quarterdeck approvals reject {proposal.asked.id} --reason TEXT"
    )


def _told(proposal: Proposal, answer: str) -> dict[str, Any]:
    return {"id": proposal.asked.id, "run_id": proposal.run.id, "answer": answer, "recorded": True}
