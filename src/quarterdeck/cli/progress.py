"""What a person sees of a run at work: one line a finished task, and on a terminal what is going on right now."""

from __future__ import annotations

import time
from decimal import Decimal
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, Self

from quarterdeck.cli.screen import Screen
from quarterdeck.cli.text import call_text, clean, compact, count, duration, exact, one_line, tokens
from quarterdeck.engine.route import AT_FIRST

if TYPE_CHECKING:
    from rich.live import Live
    from rich.text import Text

    from quarterdeck.engine.result import Result
    from quarterdeck.journal.events import AnyEvent, Decision, TaskEnded
    from quarterdeck.journal.totals import Totals
    from quarterdeck.spec.crew import CrewSpec, Limits

MARKS = {"succeeded": "ok", "partial": "part", "failed": "fail", "skipped": "skip"}
STYLES = {"ok": "green", "part": "yellow", "fail": "red", "skip": "dim"}
MAX_NOW = 4
"""Tasks at work that are shown at once."""


class View(Protocol):
    """Shows a run: is called with each event, used as a context while the run is at work."""

    run_id: str

    def __enter__(self) -> Self:
        """Begin to show."""
        ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Show what is left."""
        ...

    def __call__(self, event: AnyEvent) -> None:
        """Show an event."""
        ...


class JsonView:
    """Events as JSON lines, for programs; streamed text is left out, for the recorded reply holds it again.

    Args:
        screen: Where to write.
    """

    def __init__(self, screen: Screen) -> None:
        self._screen = screen
        self.run_id = ""
        self.reads_text = False

    def __enter__(self) -> Self:
        """Begin to show."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing is left to show."""

    def __call__(self, event: AnyEvent) -> None:
        """Write an event."""
        if event.kind == "run.opened":
            self.run_id = event.run_id
        if event.kind != "text":
            self._screen.json_line(event.model_dump_json())


class LinesView:
    """A line a finished task; on a terminal also what is going on, below.

    Args:
        screen: Where to write.
        spec: The crew, for the width of the columns.
    """

    def __init__(self, screen: Screen, spec: CrewSpec) -> None:
        self.run_id = ""
        self.reads_text = screen.terminal
        self._screen = screen
        self._limits = spec.limits
        self._task_width = max(map(len, spec.tasks), default=0)
        self._agent_width = max(map(len, spec.agents), default=0)
        self._ended: TaskEnded | None = None  # held back for a moment: a decision about it may follow
        self._now: dict[str, tuple[str, str, float]] = {}
        self._live: Live | None = None

    def __enter__(self) -> Self:
        """Begin to show."""
        if self._screen.terminal:
            from rich.live import Live

            self._live = Live(
                console=self._screen.console, get_renderable=self._at_work, refresh_per_second=4, transient=True,
                redirect_stdout=False, redirect_stderr=False,
            )  # fmt: skip
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Show what was held back, and clear what was going on."""
        self._flush()
        if self._live is not None:
            self._live.stop()

    def __call__(self, event: AnyEvent) -> None:
        """Show an event."""
        match event.kind:
            case "text":
                self._doing(event.task, event.agent, "writing")
                return
            case "run.opened":
                self.run_id = event.run_id
                self._screen.line(_header(event.crew, event.run_id, event.models, self._limits), "bold")
            case "task.started":
                self._flush()
                self._doing(event.task, event.agent, "thinking")
            case "tool.started":
                self._doing(event.task, event.agent, call_text(event.tool, event.arguments, 70))
            case "tool.called" | "model.called":
                self._doing(event.task, event.agent, "thinking")
            case "model.failed" if event.error_kind != "cut_off":  # that the run stops is said anyway
                self._say("..", event.task, event.agent, f"attempt {event.attempt} failed: {event.error}", ("",))
            case "decision":
                self._decided(event)
            case "task.ended":
                self._flush()
                self._ended = event
                self._now.pop(event.task, None)
            case _:
                self._flush()

    def _doing(self, task: str, agent: str, what: str) -> None:
        self._now[task] = (agent, what, self._now[task][2] if task in self._now else time.monotonic())

    def _decided(self, event: Decision) -> None:
        if event.chosen:  # one of several models or ways
            if event.why != AT_FIRST:
                self._say("..", event.task, event.agent, f"{event.what} {event.chosen}: {event.why}", ("",))
            return
        _, _, items = event.why.partition(": ")
        said = f"{event.what}: {items}" if items else event.what
        if self._ended is not None and self._ended.task == event.task:
            self._flush(said)
        elif event.what != "skipped":
            self._say("..", event.task, "", said, ("",))

    def _flush(self, decision: str = "") -> None:
        """Show the task that ended last, with what was decided about it."""
        ended, self._ended = self._ended, None
        if ended is None:
            return
        said = ", ".join(filter(None, [summary(ended), decision]))
        used = tokens(ended.tokens) if ended.tokens else ""
        self._say(MARKS[ended.status], ended.task, ended.agent, said, (duration(ended.seconds), used))

    def _say(self, mark: str, task: str, agent: str, said: str, tail: tuple[str, ...]) -> None:
        head = f"  {mark.ljust(6)}{task.ljust(self._task_width)}  {agent.ljust(self._agent_width)}  "
        width = max(self._screen.console.width, 80) if self._screen.terminal else 118
        room = max(24, width - len(head) - 26)
        line = f"{head}{one_line(said, room).ljust(room)}  {'  '.join(part.rjust(10) for part in tail)}"
        self._screen.line(line.rstrip(), STYLES.get(mark, "") if mark in ("fail", "part") else "")

    def _at_work(self) -> Text:
        from rich.text import Text

        width = max(self._screen.console.width - 1, 20)
        lines = [] if self.run_id else ["  ..    getting ready"]
        for task, (agent, what, since) in list(self._now.items())[:MAX_NOW]:
            head = f"  ..    {task.ljust(self._task_width)}  {agent.ljust(self._agent_width)}  "
            lines.append(one_line_keep(f"{head}{what}  {duration(time.monotonic() - since)}", width))
        return Text("\n".join(lines), style="dim")


def one_line_keep(text: str, width: int) -> str:
    """Return text on one line with its spaces as they are, cut at so many characters."""
    return clean(text).replace("\n", " ")[:width]


def summary(ended: TaskEnded) -> str:
    """Return in a few words what came out of a task: what it gave, then what guardrails and limits had to say."""
    notes = "; ".join(one_line(note, 100) for note in ended.remarks[:3])
    more = f" and {len(ended.remarks) - 3} more notes" if len(ended.remarks) > 3 else ""
    if ended.status == "failed":
        return f"{notes}{more}" or ended.code
    if ended.status == "skipped":
        return f"skipped: {ended.code}"
    return ", ".join(filter(None, [gist(ended.output), f"{notes}{more}"]))


def gist(output: Any) -> str:
    """Return an output in a few words: how many of what it holds, or how it begins."""
    if isinstance(output, list) and output and all(isinstance(entry, dict) and "item" in entry for entry in output):
        counts: dict[str, int] = {}
        for entry in output:
            for name, number in _counted(entry.get("output")).items():
                counts[name] = counts.get(name, 0) + number
        named = ", ".join(_of(number, name) for name, number in counts.items())
        return f"{named} for {count(len(output), 'item')}" if named else count(len(output), "item")
    if isinstance(output, list):
        return count(len(output), "entry", "entries")
    counts = _counted(output)
    if counts:
        return ", ".join(_of(number, name) for name, number in counts.items())
    return compact(output, 60) if output is not None else ""


def _counted(output: Any) -> dict[str, int]:
    if not isinstance(output, dict):
        return {}
    return {name: len(value) for name, value in output.items() if isinstance(value, list)}


def _of(number: int, plural: str) -> str:
    return f"{number} {plural[:-1] if number == 1 and plural.endswith('s') else plural}"


def _header(crew: str, run_id: str, models: tuple[str, ...], limits: Limits) -> str:
    parts = [crew, f"run {run_id}"]
    if models:
        parts.append(f"model{'s' if len(models) > 1 else ''} {', '.join(models)}")
    budget = f"{exact(Decimal(str(limits.usd)))} " if limits.usd is not None else ""
    parts.append(f"limits {budget}{duration(limits.seconds)}")
    return "  ".join(parts)


def totals_line(
    status: str, seconds: float, model_calls: int, tool_calls: int, used: int, cost: str, *, degraded: bool = False
) -> str:
    """Return the line that sums a run up."""
    how = " (degraded: a fallback model answered)" if degraded else ""
    return "   ".join([
        f"{status} in {duration(seconds)}{how}", count(model_calls, "model call"), count(tool_calls, "tool call"),
        tokens(used), cost,
    ])  # fmt: skip


def result_object(result: Result) -> dict[str, Any]:
    """Return a result as programs read it."""
    from quarterdeck.engine.output import plain

    return {
        "run_id": result.run_id,
        "status": result.status,
        "code": result.code,
        "evidence": result.evidence,
        "output": plain(result.output),
        "files": list(result.files),
        "model_calls": result.model_calls,
        "tool_calls": result.tool_calls,
        "tokens": result.tokens,
        "cost_usd": None if result.cost.usd is None else float(result.cost.usd),
        "seconds": round(result.seconds, 3),
        "degraded": result.degraded,
    }


def totals_object(totals: Totals) -> dict[str, Any]:
    """Return what a run used, as programs read it; `cost_usd` is None when a price is not known."""
    return {
        "model_calls": totals.model_calls,
        "tool_calls": totals.tool_calls,
        "tokens": totals.tokens,
        "cost_usd": None if totals.cost_usd is None else float(totals.cost_usd),
        "seconds": round(totals.seconds, 3),
        "degraded": totals.degraded_calls > 0,
    }
