"""`quarterdeck approvals`: what waits for a person, and what the person says."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NoReturn

import typer

from quarterdeck.cli import options
from quarterdeck.cli import proposals as cli_proposals
from quarterdeck.cli.runs import open_store
from quarterdeck.errors import InputError, JournalError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from quarterdeck.governance.proposals import Proposal
    from quarterdeck.governance.queue import Item
    from quarterdeck.journal.record import RunRecord
    from quarterdeck.journal.store import Store

app = options.make_app("See what waits for a person: list, show, approve, edit, reject.")
Id = Annotated[str, typer.Argument(metavar="ID", help="The question, or a unique beginning of its id.")]
Reason = Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why; recorded with the answer.")]
Resume = Annotated[bool, typer.Option("--resume", help="Let the run go on here at once.")]
ANSWERS = {
    "plan_review": "quarterdeck plans show {id}",
    "limit_usd": "quarterdeck runs resume {id} --usd AMOUNT",
    "limit_tokens": "quarterdeck runs resume {id} --tokens NUMBER",
}
"""How a run is answered that waits for something else than a question."""


@app.command("list")
def list_approvals(
    shadowed: Annotated[
        bool, typer.Option("--shadowed", help="List the calls that runs in shadow would have made.")
    ] = False,
    json: options.Json = False,
    database: options.Database = None,
) -> None:
    """List what waits for a person, the oldest first.

    Calls to approve, doubtful answers, plans to review, and runs that have used up what they may spend.
    """
    from quarterdeck.cli.screen import Screen
    from quarterdeck.governance.proposals import proposals
    from quarterdeck.governance.queue import questions, waiting_runs

    screen = Screen()
    items: Sequence[Item | Proposal] = ()
    others: list[RunRecord] = []
    try:
        with open_store(database, read_only=True) as store:
            items = proposals(store) if shadowed else questions(store)
            others = [] if shadowed else waiting_runs(store)
    except JournalError as error:
        if error.code != "no_journal":
            raise
    if json:
        screen.data([*map(_as_object, items), *map(_other_as_object, others)])
    elif items or others:
        screen.columns([*map(_row, items), *map(_other_row, others)])
    else:
        screen.line("No call was proposed in shadow." if shadowed else "Nothing waits for a person.")


@app.command("show")
def show_approval(approval_id: Id, json: options.Json = False, database: options.Database = None) -> None:
    """Show a question: what is wanted, exactly; why; how sure the agent is; where the values come from; what else.

    Nothing can be approved in a run whose journal was changed.
    """
    from quarterdeck.cli.screen import Screen

    screen = Screen()
    with open_store(database, read_only=True) as store:
        item = _found(store, approval_id)
    if json:
        screen.data(_as_object(item))
        return
    for label, text in _lines(item):
        screen.line(f"{label:<8}{text}")


@app.command("approve")
def approve(
    approval_id: Id,
    reason: Reason = "",
    choose: Annotated[
        str, typer.Option("--choose", metavar="OPTION", help="Of several options, the one to take.")
    ] = "",
    resume: Resume = False,
    yes: options.Yes = False,
    json: options.Json = False,
    database: options.Database = None,
) -> None:
    """Approve once, for exactly the arguments that `show` shows. A call that was in shadow is made at once."""
    from quarterdeck.governance.proposals import Proposal

    with open_store(database) as store:
        item = _found(store, approval_id)
        if isinstance(item, Proposal):
            cli_proposals.carry_out(store, item, reason=reason, json=json)
            return
        choice = _choice(item, choose)
        taken = _answer(store, item, "approved", choice=choice, reason=reason)
    said = (
        "Approved once, for exactly these arguments." if item.is_call else f"Answered{f': {choice}' if choice else ''}."
    )
    _go_on(item, said, taken=taken, resume=resume, yes=yes, json=json, database=database)


@app.command("edit")
def edit(
    approval_id: Id,
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="An argument that is to be another; repeatable."),
    ] = None,
    file: Annotated[
        Path | None, typer.Option("--file", metavar="FILE", help="All arguments, as one JSON object.")
    ] = None,
    reason: Reason = "",
    resume: Resume = False,
    yes: options.Yes = False,
    json: options.Json = False,
    database: options.Database = None,
) -> None:
    """Approve the call with other arguments; they are checked like the agent's own.

    What the policy forbids stays forbidden, whoever writes it.
    """
    from quarterdeck.governance.proposals import Proposal

    given = options.read_pairs(changes, "--set")
    with open_store(database) as store:
        item = _found(store, approval_id)
        if isinstance(item, Proposal):
            cli_proposals.refuse_edit(item)
        if not item.is_call:
            raise InputError(f"{item.asked.id} is about no call, so it has no arguments to edit. Approve or reject it.")
        arguments = options.read_input_file(file) if file else dict(item.asked.arguments)
        arguments |= {name: options.read_value(text) for name, text in given.items()}
        arguments = _valid(item, arguments)
        taken = _answer(store, item, "edited", arguments=arguments, reason=reason)
    said = "Approved once, for exactly these arguments."
    _go_on(item, said, taken=taken, resume=resume, yes=yes, json=json, database=database)


@app.command("reject")
def reject(
    approval_id: Id,
    reason: Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why; the agent is told it.")],
    resume: Resume = False,
    yes: options.Yes = False,
    json: options.Json = False,
    database: options.Database = None,
) -> None:
    """Reject a call; the agent is told why and goes on without it."""
    from quarterdeck.governance.proposals import Proposal

    if not reason.strip():
        raise InputError("Say why with --reason TEXT: the agent is told it. Nothing was recorded.")
    with open_store(database) as store:
        item = _found(store, approval_id)
        if isinstance(item, Proposal):
            cli_proposals.reject(store, item, reason=reason, json=json)
            return
        taken = _answer(store, item, "rejected", reason=reason)
    _go_on(item, "Rejected.", taken=taken, resume=resume, yes=yes, json=json, database=database)


def _found(store: Store, approval_id: str) -> Item | Proposal:
    """Return a question, or a proposal, of a run whose journal is as it was written."""
    from quarterdeck.governance.proposals import LETTER, find_proposal
    from quarterdeck.governance.queue import find

    item = find_proposal(store, approval_id) if approval_id.startswith(LETTER) else find(store, approval_id)
    broken = store.verify(item.run.id)
    if broken is not None:
        raise JournalError(
            f"{str(broken).capitalize()}: nothing in it can be approved. See: quarterdeck audit verify {item.run.id}",
            code="corrupt",
        )
    return item


def _answer(
    store: Store,
    item: Item,
    said: Literal["approved", "rejected", "edited"],
    *,
    arguments: dict[str, Any] | None = None,
    choice: str = "",
    reason: str = "",
) -> bool:
    from quarterdeck.governance.queue import answer

    work = answer(store, item, said, arguments=arguments, choice=choice, by=options.user_name(), reason=reason.strip())
    import asyncio

    return asyncio.run(work)


def _choice(item: Item, choose: str) -> str:
    if item.is_call or not item.asked.options:
        if choose:
            raise InputError(f"{item.asked.id} has no options to choose from: approve, edit or reject it.")
        return ""
    if choose in item.asked.options:
        return choose
    if not choose and item.asked.reason != "unknown_effect":
        return item.asked.options[0]
    raise InputError(f"Say which with --choose OPTION, one of: {', '.join(item.asked.options)}. Nothing was recorded.")


def _valid(item: Item, arguments: dict[str, Any]) -> dict[str, Any]:
    """Return edited arguments as the tool would get them."""
    from quarterdeck.errors import SpecError, ToolError
    from quarterdeck.governance.approved import EDITED_PREVIEW
    from quarterdeck.spec.workspace import Workspace
    from quarterdeck.tools.arguments import validate
    from quarterdeck.tools.declared import all_tools

    name = item.asked.tool
    workspace = Workspace.find()
    try:
        tools = all_tools(workspace)
        tool = tools[name]
    except (KeyError, SpecError):
        _no_tool(item)
    dry_run = tool.manifest.dry_run
    if dry_run and arguments.get(dry_run) is not item.asked.arguments.get(dry_run):
        raise InputError(f"{item.asked.id}: {EDITED_PREVIEW.format(name=dry_run)} Nothing was recorded.")
    try:
        return validate(tool, arguments)
    except ToolError as error:
        raise InputError(f"{error} Nothing was recorded.") from None


def _no_tool(item: Item) -> NoReturn:
    what = (
        f"a function of the program that opened the gate {item.run.id}, and is not known here"
        if "gate" in item.run.spec
        else "no tool of this workspace that can be checked"
    )
    raise InputError(
        f"{item.asked.tool} is {what}, so its arguments cannot be edited. "
        f"Reject it and say what you want: quarterdeck approvals reject {item.asked.id} --reason TEXT"
    )


def _go_on(item: Item, said: str, *, taken: bool, resume: bool, yes: bool, json: bool, database: str | None) -> None:
    from quarterdeck.cli.runs import resume_run
    from quarterdeck.cli.screen import Screen

    run_id = item.run.id
    screen = Screen()
    if json and not (resume and taken and "crew" in item.run.spec):
        answer = said.rstrip(".").split(" ")[0].lower()
        screen.data({"id": item.asked.id, "run_id": run_id, "answer": answer, "recorded": taken})
    elif "gate" in item.run.spec:
        screen.line(f"{said} It holds for the next `gate.call` of the program with this call (run_id={run_id}).")
    elif not taken:
        screen.line(f"{said} Run {run_id} is still at work and is told; when it waits: {_command(item)}")
    elif not resume or "proposal" in item.run.spec:
        screen.line(f"{said} Run {run_id} goes on with: {_command(item)}")
    else:
        if not json:
            screen.line(f"{said} Run {run_id} goes on.")
        resume_run(run_id, yes=yes, json=json, database=database)


def _command(item: Item) -> str:
    """Return how a run goes on that waited for an answer; one that carries out a proposal does by that."""
    return f"quarterdeck {'approvals approve' if 'proposal' in item.run.spec else 'runs resume'} {item.run.id}"


def _row(item: Item | Proposal) -> tuple[str, ...]:
    from quarterdeck.cli.text import one_line
    from quarterdeck.governance.printable import printable

    asked = item.asked
    who = f"{item.run.crew} crew, agent {asked.agent}" if asked.agent else f"{item.run.crew} crew"
    return asked.id, f"run {item.run.id}", printable(who), one_line(_wants(item), 60), _expiry(item)


def _other_row(record: RunRecord) -> tuple[str, ...]:
    what = (
        "a plan to review" if record.code == "plan_review" else f"has used up its {record.code.removeprefix('limit_')}"
    )
    return "-", f"run {record.id}", f"{record.crew} crew", what, ANSWERS[record.code].format(id=record.id)


def _wants(item: Item | Proposal) -> str:
    import json

    from quarterdeck.governance.printable import printable, quoted

    asked = item.asked
    if not asked.tool:
        return printable(f"{asked.reason}: {asked.needs}")
    given = [f"{quoted(name)}={json.dumps(value, ensure_ascii=False)}" for name, value in asked.arguments.items()]
    return printable(f"{asked.tool}({', '.join(given)})")


def _expiry(item: Item | Proposal) -> str:
    import time

    from quarterdeck.cli.text import duration

    if item.state != "open":
        return item.state
    left = item.asked.expires_at - time.time()
    return f"expires in {round(left / 3600)} h" if left >= 2 * 3600 else f"expires in {duration(left)}"


def _lines(item: Item | Proposal) -> list[tuple[str, str]]:
    from quarterdeck.cli.text import compact, one_line
    from quarterdeck.governance.printable import printable, quoted

    asked = item.asked
    tier = ", ".join(filter(None, [asked.effect, f"tier {asked.tier}" if asked.tier else ""]))
    lines = [("Wants", f"{_wants(item)}{f'        {tier}' if tier else ''}")]
    exact = _ascii(asked.arguments)
    if exact != compact(asked.arguments):  # letters that look alike, or cannot be seen at all
        lines.append(("Exact", exact))
    lines.append(("Needs", f"{asked.reason}: {one_line(asked.needs)}"))
    lines.append(("Why", one_line(asked.why) or "the agent did not say"))
    if asked.uncertainty is not None:
        lines.append(("Unsure", f"{asked.uncertainty:g} (0 is certain, 1 a guess)"))
    if asked.origins:
        origins = [f"{quoted(name)}: {one_line(origin)}" for name, origin in asked.origins.items()]
        lines.append(("Origin", "   ".join(origins)))
    if asked.options:
        lines.append(("Else" if item.is_call else "Choose", "; ".join(asked.options)))
    lines.append(("Next", asked.next))
    where = f"run {item.run.id} ({item.run.crew}), at {asked.path}"
    said = item.answer
    by = f" by {said.by}" if said and said.by else ""
    because = f": {one_line(said.reason)}" if said and said.reason else ""
    lines.append(("State", f"{_expiry(item)}{by}{because}   {where}"))
    return [(label, printable(text)) for label, text in lines]  # whatever it holds, each is one line


def _ascii(value: Any) -> str:
    import json

    return json.dumps(value, ensure_ascii=True)


def _as_object(item: Item | Proposal) -> dict[str, Any]:
    asked = item.asked.model_dump(mode="json", exclude={"v", "kind"})
    return {
        **asked, "kind": "proposal" if item.asked.reason == "shadow" else "question",
        "run_id": item.run.id, "crew": item.run.crew, "state": item.state,
        "answer": item.answer.model_dump(mode="json") if item.answer else None,
    }  # fmt: skip


def _other_as_object(record: RunRecord) -> dict[str, Any]:
    return {
        "kind": record.code, "run_id": record.id, "crew": record.crew, "evidence": record.summary.get("evidence", ""),
        "command": ANSWERS[record.code].format(id=record.id),
    }  # fmt: skip
