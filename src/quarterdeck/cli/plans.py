"""`quarterdeck plans`: what a run is going to do, before it does it."""

from __future__ import annotations

import asyncio
import getpass
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from quarterdeck.cli import options
from quarterdeck.cli.runs import find_run, open_store
from quarterdeck.errors import InputError, JournalError, SpecError

if TYPE_CHECKING:
    from quarterdeck.cli.screen import Screen
    from quarterdeck.engine.plan import Means, Plan, Step
    from quarterdeck.journal.events import PlanMade, PlanReviewed, Recorded
    from quarterdeck.journal.record import RunRecord
    from quarterdeck.journal.store import Store

app = options.make_app("Review the plans of runs: show, approve, edit, reject.")
At = Annotated[str, typer.Option("--at", metavar="PATH", help="Which plan, where several wait: its path.")]
Reason = Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why; recorded with the answer.")]
Resume = Annotated[bool, typer.Option("--resume", help="Let the run go on at once.")]


@app.command("show")
def show_plans(
    run_id: options.RunId,
    at: At = "",
    json: options.Json = False,
    database: options.Database = None,
) -> None:
    """Show the plans of a run as YAML.

    Those that wait for a person if there are some, else all.
    """
    from quarterdeck.cli.screen import Screen

    screen = Screen()
    with open_store(database, read_only=True) as store:
        record = find_run(store, run_id)
        drafts = _drafts(store, record)
    chosen = [draft for draft in drafts if draft.path == at] if at else _waiting(record, drafts) or drafts
    if not chosen:
        raise InputError(_no_plan(record, at, drafts))
    if json:
        plans = [{"path": draft.path, "state": draft.state, "plan": draft.plan.as_data()} for draft in chosen]
        screen.data({"run_id": record.id, "plans": plans})
        return
    for draft in chosen:
        screen.line(_as_yaml(draft, record).rstrip("\n"))


@app.command("approve")
def approve_plan(
    run_id: options.RunId,
    at: At = "",
    reason: Reason = "",
    resume: Resume = False,
    yes: options.Yes = False,
    json: options.Json = False,
    database: options.Database = None,
) -> None:
    """Let a plan be carried out as it stands."""
    with open_store(database) as store:
        record = find_run(store, run_id)
        draft = _only(record, _drafts(store, record), at)
        edited = draft.plan.as_data() if draft.edited else None
        _answer(store, record, draft, approved=True, plan=edited, reason=reason)
    _go_on(record, "Approved", resume=resume, yes=yes, json=json, database=database)


@app.command("edit")
def edit_plan(
    run_id: options.RunId,
    file: Annotated[
        Path | None, typer.Option("--file", metavar="FILE", help="The plan as YAML; without it $EDITOR opens.")
    ] = None,
    at: At = "",
    reason: Reason = "",
    resume: Resume = False,
    yes: options.Yes = False,
    json: options.Json = False,
    database: options.Database = None,
) -> None:
    """Put another plan in its place; that is what will be carried out.

    The plan is checked like the planner's own. A plan with mistakes is refused, and what you wrote is kept.
    """
    with open_store(database) as store:
        record = find_run(store, run_id)
        draft = _only(record, _drafts(store, record), at)
        plan = _read(file, draft, record) if file else _edited(draft, record)
        _answer(store, record, draft, approved=True, plan=plan.as_data(), reason=reason)
    _go_on(record, "Recorded", resume=resume, yes=yes, json=json, database=database)


@app.command("reject")
def reject_plan(
    run_id: options.RunId,
    at: At = "",
    reason: Reason = "",
    resume: Resume = False,
    yes: options.Yes = False,
    json: options.Json = False,
    database: options.Database = None,
) -> None:
    """Have a plan not carried out; its task fails with the reason when the run goes on."""
    with open_store(database) as store:
        record = find_run(store, run_id)
        draft = _only(record, _drafts(store, record), at)
        _answer(store, record, draft, approved=False, plan=None, reason=reason)
    _go_on(record, "Rejected", resume=resume, yes=yes, json=json, database=database)


@dataclass(frozen=True, slots=True)
class Draft:
    """A plan of a run as it stands: the planner's, or what a person made of it.

    Attributes:
        made: What the planner wrote.
        review: The last answer of a person, if there is one.
        plan: What will be, or was, carried out.
        finished: The steps that earlier plans of the same work have done.
        reviewable: Whether the crew declares that a person reviews it.
    """

    made: PlanMade
    review: PlanReviewed | None
    plan: Plan
    finished: dict[str, Step]
    reviewable: bool

    @property
    def path(self) -> str:
        """Where in the run it stands."""
        return self.made.path

    @property
    def edited(self) -> bool:
        """Whether a person changed it."""
        return self.review is not None and self.review.plan is not None

    @property
    def state(self) -> str:
        """In a few words, what became of it."""
        if self.review is None:
            return "waits for a person" if self.reviewable else "carried out without review"
        return "rejected" if not self.review.approved else "edited" if self.edited else "approved"


def _waits(record: RunRecord) -> bool:
    return record.status == "waiting" and record.code == "plan_review"


def _drafts(store: Store, record: RunRecord) -> list[Draft]:
    """Return the plans of a run, oldest first."""
    from quarterdeck.engine.plan import Plan, plan_spec
    from quarterdeck.engine.recorded import crew_of
    from quarterdeck.journal.events import PlanMade, PlanReviewed

    crew = crew_of(record)
    events = [stored.event for stored in store.events(record.id)]
    reviews = {event.path: event for event in events if isinstance(event, PlanReviewed)}
    drafts: list[Draft] = []
    for made in events:
        if isinstance(made, PlanMade):
            review = reviews.get(made.path)
            data = made.plan if review is None or review.plan is None else review.plan
            finished = _finished(made.path, drafts, events)
            spec = plan_spec(crew.agents[made.agent], crew)
            drafts.append(Draft(made, review, Plan.model_validate(data), finished, spec is not None and spec.review))
    return drafts


def _finished(path: str, drafts: list[Draft], events: list[Recorded]) -> dict[str, Step]:
    """Return the steps that were done by the plans before the one at a path, of the same work."""
    work = path.rpartition("/")[0]
    done = {event.path for event in events if event.kind == "step.ended" and event.status == "succeeded"}
    earlier = [draft for draft in drafts if draft.path.rpartition("/")[0] == work]
    return {step.id: step for draft in earlier for step in draft.plan.steps if f"{draft.path}/{step.id}" in done}


def _waiting(record: RunRecord, drafts: list[Draft]) -> list[Draft]:
    """Return the plans that nobody has answered about; the run has to wait for that."""
    return [draft for draft in drafts if draft.reviewable and draft.review is None] if _waits(record) else []


def _only(record: RunRecord, drafts: list[Draft], at: str) -> Draft:
    """Return the plan that a person answers about: the one at a path, or the only one that waits.

    Until the run goes on, an answer can be given again: then the last one counts.
    """
    if not _waits(record):
        raise JournalError(
            f"Run {record.id} does not wait for the review of a plan: it is recorded as {record.status}"
            f"{f' ({record.code})' if record.code else ''}. See: quarterdeck plans show {record.id}",
            code="not_waiting",
        )
    # a replan takes the place of its plan
    newest = {draft.path.rpartition("/")[0]: draft for draft in drafts if draft.reviewable}
    if at:
        chosen = [draft for draft in newest.values() if draft.path == at]
    else:
        chosen = _waiting(record, list(newest.values())) or list(newest.values())
    if len(chosen) == 1:
        return chosen[0]
    if not chosen:
        raise InputError(_no_plan(record, at, list(newest.values())))
    paths = ", ".join(draft.path for draft in chosen)
    raise InputError(f"Run {record.id} has several plans that wait: say which with --at PATH, one of: {paths}.")


def _no_plan(record: RunRecord, at: str, drafts: list[Draft]) -> str:
    paths = ", ".join(draft.path for draft in drafts)
    if at and paths:
        return f"Run {record.id} has no plan at {at!r}. It has: {paths}."
    return f"Run {record.id} has made no plan. See what it did: quarterdeck runs show {record.id}"


def _as_yaml(draft: Draft, record: RunRecord) -> str:
    import yaml

    made = draft.made
    lines = [f"# Plan {made.number} of {made.task} ({made.agent}), run {record.id}, at {made.path}: {draft.state}"]
    if made.why:
        lines.append("# The plan before it failed: " + " ".join(made.why.split())[:500])
    if draft.finished:
        lines.append(f"# Done already: {', '.join(draft.finished)}")
    return "\n".join([*lines, yaml.safe_dump(draft.plan.as_data(), sort_keys=False, allow_unicode=True, width=100)])


def _read(file: Path, draft: Draft, record: RunRecord) -> Plan:
    from quarterdeck.spec.text import read_document

    return _checked(read_document(file), draft, record)


def _edited(draft: Draft, record: RunRecord) -> Plan:
    """Open the plan in an editor; what cannot be used stays in a file for another try."""
    import click

    from quarterdeck.spec.text import read_text

    text = click.edit(_as_yaml(draft, record), extension=".yaml")
    if text is None:
        raise InputError("Nothing was changed in the editor, so nothing is recorded. The plan still waits.")
    try:
        return _checked(read_text(text, "plan.yaml"), draft, record)
    except SpecError as error:
        _keep(text, record, error)


def _keep(text: str, record: RunRecord, error: SpecError) -> NoReturn:
    import tempfile

    with tempfile.NamedTemporaryFile(
        "w", prefix=f"plan-{record.id}-", suffix=".yaml", delete=False, encoding="utf-8"
    ) as kept:
        kept.write(text)
    raise InputError(
        f"{error}\nNothing is recorded, and what you wrote is kept. Mend it, then: "
        f"quarterdeck plans edit {record.id} --file {kept.name}"
    )


def _checked(document: Any, draft: Draft, record: RunRecord) -> Plan:
    """Return an edited plan that has passed the checks of the planner's own.

    Raises:
        SpecError: With everything that is wrong, each with its line and column.
    """
    from quarterdeck.engine.plan import Plan, check_plan, remaining
    from quarterdeck.spec.sentences import findings

    plan, found = findings(Plan, document.data)
    if plan is not None:
        plan = remaining(plan, draft.finished)
        found += check_plan(plan, _means(draft, record)) if not found else []
    if plan is None or found:
        raise SpecError(sorted(document.problem(finding.place, finding.what, at=finding.at) for finding in found))
    return plan


def _means(draft: Draft, record: RunRecord) -> Means:
    from quarterdeck.engine.plan import means_of
    from quarterdeck.engine.recorded import crew_of
    from quarterdeck.spec.workspace import Workspace
    from quarterdeck.tools.declared import all_tools

    workspace = Workspace.find()
    crew = crew_of(record)
    tools = all_tools(workspace)
    return means_of(crew, tools, draft.path, draft.made.task, draft.made.agent, draft.finished)


def _answer(
    store: Store, record: RunRecord, draft: Draft, *, approved: bool, plan: dict[str, Any] | None, reason: str
) -> None:
    from quarterdeck.journal.answer import answer
    from quarterdeck.journal.events import PlanReviewed

    made = draft.made
    review = PlanReviewed(
        path=made.path, task=made.task, agent=made.agent, approved=approved, plan=plan, by=_who(), reason=reason[:2000]
    )
    asyncio.run(answer(store, record.id, review))


def _who() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # an account without a name, as in some containers
        return ""


def _go_on(record: RunRecord, said: str, *, resume: bool, yes: bool, json: bool, database: str | None) -> None:
    from quarterdeck.cli.runs import resume_run
    from quarterdeck.cli.screen import Screen

    if resume:
        resume_run(record.id, yes=yes, json=json, database=database)
        return
    screen: Screen = Screen()
    if json:
        screen.data({"run_id": record.id, "answer": said.lower()})
    else:
        screen.line(f"{said}. Let the run go on: quarterdeck runs resume {record.id}")
