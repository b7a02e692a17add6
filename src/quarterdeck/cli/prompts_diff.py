"""What agents were told in an earlier run of a crew, and what they are told now: the difference, line by line."""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from quarterdeck.errors import InputError, JournalError, QuarterdeckError

if TYPE_CHECKING:
    from quarterdeck.engine.preview import Preview
    from quarterdeck.evaluation.outcomes import Outcome
    from quarterdeck.journal.record import RunRecord
    from quarterdeck.journal.store import Store
    from quarterdeck.models.catalog import Catalog
    from quarterdeck.spec.crew import CrewSpec
    from quarterdeck.spec.workspace import Workspace
    from quarterdeck.tools.secrets import Masker

MAX_CREWS = 100
"""So many different declarations of a crew are looked through for the last other one."""
Texts = Mapping[tuple[str, str], list[str]]
"""What each agent is told for each task, by task and agent: lines."""


@dataclass(frozen=True, slots=True)
class Change:
    """One agent that is told something else for a task.

    Attributes:
        diff: A unified diff, without line ends; what was told in the earlier run comes first.
    """

    task: str
    agent: str
    diff: tuple[str, ...]


def earlier_run(store: Store, spec: CrewSpec, masker: Masker) -> RunRecord | None:
    """Return the newest run of a crew that was declared otherwise than it is now; None when there is none.

    Args:
        store: The journal.
        spec: The crew as it is now.
        masker: Knows the secrets, which the journal does not hold.
    """
    from quarterdeck.evaluation.outcomes import declared
    from quarterdeck.journal.spending import find_runs

    now = declared(spec, masker)
    seen: set[str] = set()
    for row in find_runs(store, crew=spec.crew):
        if row.spec_hash in seen:
            continue
        if len(seen) == MAX_CREWS:
            break
        seen.add(row.spec_hash)
        record = store.run(row.id)
        try:
            if declared(recorded_crew(record), masker) != now:
                return record
        except JournalError:
            continue  # declared for another version, or no crew's: there may be an older one that can be read
    return None


def recorded_crew(record: RunRecord) -> CrewSpec:
    """Return the crew of a run as it was declared when the run started.

    Raises:
        JournalError: It is no crew's, or one that this version of Quarterdeck cannot read.
    """
    from pydantic import ValidationError

    from quarterdeck.engine.recorded import crew_of

    try:
        return crew_of(record)
    except ValidationError as error:
        place = ".".join(map(str, error.errors()[0]["loc"]))
        raise JournalError(
            f"The crew of run {record.id} was recorded by Quarterdeck {record.version}, and this version cannot read "
            f'its key "{place[:200]}". Name a later run; see them with: quarterdeck runs list',
            code="changed",
        ) from None


def told_then(record: RunRecord, workspace: Workspace, catalog: Catalog, masker: Masker, model: str) -> Texts:
    """Return what the agents of a run would be told, with the tools, Python files and models that there are now.

    Args:
        record: The run.
        workspace: Where its names are looked up.
        catalog: The models.
        masker: Takes secrets out.
        model: Overrides what the agents name; empty for nothing.

    Raises:
        QuarterdeckError: Something that it names is no longer there.
    """
    try:
        return told(recorded_crew(record), workspace, catalog, masker, model)
    except JournalError:
        raise
    except QuarterdeckError as error:
        raise InputError(f"What agents were told in run {record.id} cannot be made again: {error}") from None


def told(spec: CrewSpec, workspace: Workspace, catalog: Catalog, masker: Masker, model: str) -> Texts:
    """Return what each agent of a crew is told first, without secrets. The arguments as for `told_then`.

    Raises:
        InputError: A tool that it names does not exist.
        QuarterdeckError: Something else that it names does not.
    """
    from quarterdeck.engine.parts import load_parts
    from quarterdeck.engine.preview import preview

    parts = load_parts(spec, workspace)
    named = {tool for agent in spec.agents.values() for tool in agent.tools}
    if missing := sorted(name for name in named if name not in parts.tools):
        raise InputError(f'There is no tool "{missing[0]}". See those there are: quarterdeck tools list')
    previews = preview(spec, parts, catalog, {}, model=model)
    texts = {(one.task, one.agent): "\n".join(text for text, _ in lines_of(one)) for one in previews}
    return {place: masker.mask(text).split("\n") for place, text in texts.items()}


def lines_of(one: Preview) -> list[tuple[str, str]]:
    """Return a request as texts with their styles; what heads a part begins with `-- `."""
    from quarterdeck.cli.text import call_text

    lines = []
    for message in one.messages:
        lines.append((f"-- {message.role}{f' ({message.name})' if message.name else ''}", "dim"))
        lines += [(call_text(call.name, call.arguments), "") for call in message.tool_calls]
        lines += [(message.content, "")] if message.content else []
    for tool in one.tools:
        lines.append((f"-- tool {tool.name}", "dim"))
        lines.append((f"{tool.description}\n{json.dumps(tool.parameters, ensure_ascii=False)}", ""))
    if one.schema is not None:
        lines.append(("-- the answer is held to", "dim"))
        lines.append((json.dumps(one.schema, ensure_ascii=False), ""))
    return lines


def changes(before: Texts, now: Texts, run_id: str) -> list[Change]:
    """Return what is told otherwise, in the order of the crew as it is now; then those who are told nothing any more.

    Args:
        before: Of the run.
        now: Of the files.
        run_id: The run, for the heads of the diffs.
    """
    found = []
    for task, agent in dict.fromkeys([*now, *before]):
        old, new = before.get((task, agent), []), now.get((task, agent), [])
        if old != new:
            found.append(Change(task, agent, tuple(_diff(old, new, f"{task}/{agent}", run_id))))
    return found


def _diff(old: Sequence[str], new: Sequence[str], place: str, run_id: str) -> list[str]:
    return list(difflib.unified_diff(old, new, f"{place} run {run_id}", f"{place} now", lineterm=""))


def score_text(outcome: Outcome) -> str:
    """Return what a change did to the score, in a line."""
    from datetime import UTC, datetime

    from quarterdeck.cli.text import count, one_line

    day = datetime.fromtimestamp(outcome.at, UTC).date()
    return (
        f"score: {outcome.score_before:.2f} -> {outcome.score_now:.2f} on {count(outcome.cases, 'case')} with "
        f"{one_line(outcome.model, 80)} (difference {outcome.low:+.2f} to {outcome.high:+.2f}; run "
        f"{one_line(outcome.run_id, 20)}, {day})"
    )
