"""Taking back what a run did: the calls that changed something, last one first, each by its tool's own `undo`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from sqlalchemy import select

from quarterdeck.errors import JournalError, SpecError, ToolError
from quarterdeck.journal.events import EffectStarted, EffectUndone, RunEnded, RunForked, ToolCalled
from quarterdeck.journal.tables import events as event_rows
from quarterdeck.tools.backups import backups_of
from quarterdeck.tools.manifest import Manifest
from quarterdeck.tools.tool import Tool, ToolContext

if TYPE_CHECKING:
    from quarterdeck.journal.record import StoredEvent
    from quarterdeck.journal.run import RunJournal
    from quarterdeck.journal.store import Store
    from quarterdeck.tools.execution import Executor

State = Literal["undone", "nothing", "refused", "impossible"]
"""Put back; there was nothing to put back; could be put back, but was not; has no way back."""
_NEVER_RAN = ("denied", "shadowed")
_MAYBE_DONE = ("timeout", "bug", "transient", "unavailable")


@dataclass(frozen=True, slots=True)
class Done:
    """A call that changed something.

    Attributes:
        path: Its logical path.
        tool: Its tool.
        label: How people know it: the tool, and the file or folder it was about.
        arguments: It was made with.
        result: What it returned, whole; None when that was never recorded.
        undo: Takes it back; None where nothing does.
        why: Where nothing does: why.
        timeout: Seconds that the undo may take.
        manifest: Of the undo: where it runs.
    """

    path: str
    tool: str
    label: str
    arguments: dict[str, Any]
    result: Any
    undo: Callable[..., Any] | None
    why: str = ""
    timeout: float = 60.0
    manifest: Manifest = field(default_factory=Manifest)


@dataclass(frozen=True, slots=True)
class Undone:
    """What became of one call; `words` say what was done or why not."""

    call: Done
    state: State
    words: str


def calls_to_undo(rows: Sequence[StoredEvent], tools: Mapping[str, Tool], folder: Path) -> list[Done]:
    """Return the calls of a run that changed something and are not undone yet, last one first.

    Args:
        rows: The run's events. What a fork took over from its parent is the parent's to undo.
        tools: All tools by name.
        folder: The run's own folder, whose backups tell of calls that died before they were recorded.

    Raises:
        JournalError: An event cannot be read.
    """
    own = [row.event for row in rows if row.seq not in _taken_over(rows)]
    undone = {event.path for event in own if isinstance(event, EffectUndone) and event.done}
    called = [event for event in own if isinstance(event, ToolCalled)]
    known = {event.path for event in called}
    found = [_of_call(event, tools, known) for event in called]
    found += [
        _done(event.path, event.tool, event.arguments, None, tools)
        for event in own
        if isinstance(event, EffectStarted) and event.path not in known
    ]
    known |= {done.path for done in found if done is not None}
    for backup in backups_of(folder):
        if backup.call not in known:
            found.append(_done(backup.call, backup.tool, {"path": backup.change.path}, None, tools))
    return [done for done in reversed(found) if done is not None and done.path not in undone]


async def undo_calls(
    journal: RunJournal, calls: Iterable[Done], context: ToolContext, executor: Executor, *, by: str = ""
) -> list[Undone]:
    """Take calls back, in the order given, and record each.

    A call that cannot be taken back does not keep the others from it. A run that had not ended is cancelled by this.

    Args:
        journal: Of the run, held by this process.
        calls: As `calls_to_undo` returns them.
        context: Of the run; with `force`, what somebody has changed since is overwritten.
        executor: Carries the undos out under their deadlines.
        by: Who wants it.

    Raises:
        JournalError: It cannot be recorded.
    """
    outcomes = []
    for call in calls:
        outcome = await _undo(call, context, executor)
        outcomes.append(outcome)
        if outcome.state in ("undone", "refused"):
            done = outcome.state == "undone"
            await journal.append(EffectUndone(path=call.path, tool=call.tool, done=done, why=outcome.words, by=by))
    if journal.status in ("running", "waiting") and any(outcome.state == "undone" for outcome in outcomes):
        evidence = f"Undone by {by}." if by else "Undone."
        await journal.end(RunEnded(status="cancelled", code="cancelled", evidence=evidence))
    return outcomes


def refuse_undone(store: Store, run_id: str) -> None:
    """Refuse to go on with a run of which something was undone: its journal says done what is not so any more.

    Raises:
        JournalError: Something was (code `ended`).
    """
    kind = EffectUndone.model_fields["kind"].default
    query = select(event_rows.c.path).where(event_rows.c.run_id == run_id, event_rows.c.kind == kind).limit(1)
    if store.read(query):
        raise JournalError(
            f"Run {run_id} was undone, so it cannot go on. Begin again, with the same inputs, as a new run.",
            code="ended",
        )


async def _undo(call: Done, context: ToolContext, executor: Executor) -> Undone:
    if call.undo is None:
        return Undone(call, "impossible", call.why)
    own = replace(context, idempotency_key=f"{context.run_id}:{call.path}", path=call.path)
    way_back = Tool(f"{call.tool} (undo)", "", {}, call.undo, manifest=call.manifest)
    keywords = {"arguments": call.arguments, "result": call.result, "context": own}
    try:
        said = await executor.execute(way_back, keywords, None, call.timeout)
    except (ToolError, TimeoutError) as error:
        return Undone(call, "refused", str(error)[:1000])
    except Exception as error:
        return Undone(call, "refused", f"its undo failed: {type(error).__name__}: {error}"[:1000])
    if said is False:
        return Undone(call, "refused", "its undo says that it did not work")
    if said == "":
        return Undone(call, "nothing", "")
    return Undone(call, "undone", said[:200] if isinstance(said, str) else "undone")


def _of_call(event: ToolCalled, tools: Mapping[str, Tool], known: set[str]) -> Done | None:
    """Return a recorded call as one to undo, or None where it changed nothing."""
    if event.status in _NEVER_RAN or event.effect == "read":
        return None
    result = event.result if event.receipt is None else event.receipt
    done = _done(event.path, event.tool, event.arguments, result, tools, effect=event.effect)
    if done is None or done.undo is not None:
        return done
    if event.status == "error" and event.error_class not in _MAYBE_DONE:
        return None
    inner = f"{event.path}/"
    return None if any(path.startswith(inner) for path in known) else done  # its inner calls are undone one by one


def _done(
    path: str, name: str, arguments: dict[str, Any], result: Any, tools: Mapping[str, Tool], effect: str = ""
) -> Done | None:
    try:
        tool = tools[name]
    except (KeyError, SpecError):
        return Done(path, name, name, arguments, result, None, "its tool is not there any more")
    manifest = tool.manifest
    if (effect or manifest.effect) == "read" or (manifest.dry_run and arguments.get(manifest.dry_run) is True):
        return None
    what = [str(arguments[key]) for key, kind in (manifest.sinks or {}).items() if kind == "path" and key in arguments]
    label = f"{name} {what[0][:100]}" if what else name
    why = "" if manifest.undo else "it cannot be undone" if effect == "irreversible" else "its tool has no undo"
    return Done(path, name, label, arguments, result, manifest.undo, why, tool.timeout, manifest.beside())


def _taken_over(rows: Sequence[StoredEvent]) -> range:
    for row in rows[:3]:  # a fork says so right after its start
        if isinstance(fork := row.event, RunForked):
            return range(row.seq + 1, row.seq + 1 + fork.copied)
    return range(0)
