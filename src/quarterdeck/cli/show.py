"""A recorded run as a tree: what each step was asked, what it gave, what was decided and why."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from quarterdeck.cli.progress import summary, totals_line
from quarterdeck.cli.text import call_text, clean, compact, count, duration, money, one_line, tokens

if TYPE_CHECKING:
    from quarterdeck.cli.screen import Screen
    from quarterdeck.journal.events import ModelCalled, Recorded, ToolCalled
    from quarterdeck.journal.record import RunRecord

SHORT = 160
"""Characters of an argument list, a result or an answer, unless all of it is wanted."""
LAST = ("task.ended", "decision", "step.ended", "run.ended")
"""Kinds of events that are read after what happened below their step."""


@dataclass(slots=True)
class Step:
    """A place in the run, the events recorded there, and the steps below it."""

    name: str
    events: list[Recorded] = field(default_factory=list)
    steps: dict[str, Step] = field(default_factory=dict)

    def at(self, path: str) -> Step:
        """Return the step of a path, made if need be."""
        step = self
        for name in filter(None, path.split("/")):
            step = step.steps.setdefault(name, Step(name))
        return step


def show(record: RunRecord, events: Sequence[Recorded], screen: Screen, *, full: bool) -> None:
    """Write a run as a tree.

    Args:
        record: The run.
        events: What was recorded of it, oldest first.
        screen: Where to write.
        full: Do not shorten.
    """
    width = 0 if full else SHORT
    state = "interrupted" if record.interrupted else record.status
    code = f" ({record.code})" if record.code else ""
    screen.line(f"{record.crew}  run {record.id}  {state}{code}", "bold")
    if record.parent:
        screen.line(f"forked from {record.parent} at {record.fork_at}")
    for name, value in record.inputs.items():
        screen.line(f"input  {name} = {compact(value, width)}")
    root = Step("")
    for event in events:
        root.at(event.path).events.append(event)
    for line in _lines(root, -1, width):
        screen.line(line)
    totals = record.totals
    screen.line(
        totals_line(
            state,
            totals.seconds,
            totals.model_calls,
            totals.tool_calls,
            totals.tokens,
            money(totals.cost_usd),
            degraded=totals.degraded_calls > 0,
        ),
        "bold",
    )
    if not full:
        screen.line(f"Everything in full: quarterdeck runs show {record.id} --full")


def _lines(step: Step, depth: int, width: int) -> Iterator[str]:
    pad = "  " * max(depth, 0)
    if step.name and all(event.kind == "step.ended" for event in step.events):
        yield f"{pad}{step.name}"
    # What was decided about a step, and how it ended, is read after what happened in it.
    last = [event for event in step.events if event.kind in LAST]
    first = [event for event in step.events if event.kind not in LAST]
    if len(first) > 1 and all(event.kind == "task.started" for event in first):
        del first[1:]  # begun again by each process that took the run up
    for event in first:
        yield from (pad + line for line in _event_lines(step.name, event, width))
    for below in step.steps.values():
        yield from _lines(below, depth + 1, width)
    for event in last:
        yield from (pad + line for line in _event_lines(step.name, event, width))


def _event_lines(name: str, event: Recorded, width: int) -> list[str]:
    match event.kind:
        case "task.started":
            return [f"{name}  {event.agent}".rstrip()]
        case "task.ended":
            said = one_line(summary(event), width)
            lines = [f"  = {event.status} ({event.code})  {duration(event.seconds)}  {tokens(event.tokens)}  {said}"]
            return lines + [f"    note: {one_line(note, width)}" for note in event.remarks]
        case "model.called":
            return _model_lines(name, event, width)
        case "model.failed":
            return [f"{name}  {event.model}  attempt {event.attempt} failed: {one_line(event.error, width)}"]
        case "tool.called":
            return _tool_lines(name, event, width)
        case "decision":
            done, chosen = ("escalated", "") if event.chosen == "escalate" else ("decided", event.chosen)
            what = f"{event.what} {chosen}".rstrip()
            return [f"  {done}: {what}, because {one_line(event.why, width)}"]
        case "plan.made":
            steps = ", ".join(step["id"] for step in event.plan["steps"])
            why = f", because {one_line(event.why, width)}" if event.why else ""
            return [f"{name}  {steps or 'no step is left'}{why}"]
        case "step.ended":
            said = event.why if event.status == "failed" else compact(event.output, width)
            return [f"  = {event.status}  {one_line(said, width)}"]
        case "effect.undone":
            return [f"  {'undone' if event.done else 'not undone'}: {one_line(event.why, width)}"]
        case "run.resumed":
            return [f"resumed: {count(event.calls, 'call')} replayed"]
        case "run.ended":
            return [f"ended {event.status} ({event.code}): {one_line(event.evidence, width)}"]
    return _person_lines(event, width)


def _person_lines(event: Recorded, width: int) -> list[str]:
    """Return what was asked of a person, and what the person said."""
    match event.kind:
        case "plan.reviewed":
            what = ("edited" if event.plan else "approved") if event.approved else "rejected"
            said = f": {one_line(event.reason, width)}" if event.reason else ""
            return [f"  {what} by {event.by or 'a person'}{said}"]
        case "approval.asked":
            wants = call_text(event.tool, event.arguments, width) if event.tool else event.reason
            return [f"  asks a person ({event.id}): {wants}, because {one_line(event.needs, width)}"]
        case "call.proposed":
            return [f"  proposes, not done ({event.id}): {call_text(event.tool, event.arguments, width)}"]
        case "approval.answered":
            said = f": {one_line(event.reason, width)}" if event.reason else ""
            return [f"  {event.answer} by {event.by or 'a person'} ({event.id}){said}"]
        case "instructed" if not event.path:
            return [f"told by {event.by or 'a person'}: {one_line(event.text, width)}"]
    return []


def _model_lines(name: str, event: ModelCalled, width: int) -> list[str]:
    from decimal import Decimal

    cost = money(None if event.cost_usd is None else Decimal(event.cost_usd))
    used = tokens(event.prompt_tokens + event.completion_tokens)
    lines = [f"{name}  {event.model}  {duration(event.seconds)}  {used}  {cost}"]
    for call in event.reply.get("tool_calls") or ():
        lines.append(f"  asks {call_text(str(call.get('name')), call.get('arguments'), width)}")
    text = str(event.reply.get("text") or "")
    if text:
        lines.append(f"  says {one_line(text, width)}" if width else f"  says {clean(text)}")
    return lines


def _tool_lines(name: str, event: ToolCalled, width: int) -> list[str]:
    state = event.status if event.status == "ok" else f"{event.status} ({event.error_class})"
    lines = [f"{name}  {call_text(event.tool, event.arguments, width)}  {state}  {duration(event.seconds)}"]
    return [*lines, f"  gave {compact(event.result, width)}"]


def next_step(events: Sequence[Recorded]) -> str:
    """Return the path at which a run goes on, as far as its record tells.

    Args:
        events: What was recorded, oldest first.
    """
    told = [event for event in events if event.path and event.kind != "decision"]
    if not told:
        return "its first task"
    last = told[-1]
    if last.kind == "model.called" and last.reply.get("tool_calls"):
        return f"{last.path}/tool-1"
    if last.kind == "tool.called" and "/turn-" in last.path:
        turn, _, _ = last.path.rpartition("/")
        asked = next((event for event in told if event.kind == "model.called" and event.path == turn), None)
        done = sum(event.kind == "tool.called" and event.path.rpartition("/")[0] == turn for event in told)
        wanted = len(asked.reply.get("tool_calls") or ()) if asked and asked.kind == "model.called" else done
        if done < wanted:
            return f"{turn}/tool-{done + 1}"
        work, _, number = turn.rpartition("/turn-")
        return f"{work}/turn-{int(number) + 1}" if number.isdigit() else turn
    if last.kind == "task.started":
        return f"{last.path}/turn-1" if last.agent else last.path
    if last.kind in ("task.ended", "tool.called"):
        return f"what comes after {last.path}"
    return last.path
