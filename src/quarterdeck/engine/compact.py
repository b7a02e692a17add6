"""Compaction: when the window is four fifths full, one call to a cheap model summarises its middle."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from quarterdeck.engine import prompts
from quarterdeck.errors import LimitReached, ModelError
from quarterdeck.journal.events import Decision
from quarterdeck.memory.estimate import estimate
from quarterdeck.memory.tokens import tokenizer_of
from quarterdeck.memory.window import FRAME, FULL
from quarterdeck.models.port import Message, ModelRequest

if TYPE_CHECKING:
    from quarterdeck.engine.assignment import Assignment
    from quarterdeck.engine.scope import RunScope
    from quarterdeck.memory.window import Window
    from quarterdeck.models.catalog import ResolvedModel

MAX_SUMMARY_TOKENS = 2048
MAX_MESSAGE_CHARACTERS = 8000
CUT = "\n[...]\n"


async def compact(work: Assignment, run: RunScope, window: Window, step: str) -> None:
    """Summarise the middle of a window that is full, in one call.

    Where that fails, or the profile's strategy is `truncate`, it is left out instead.

    Args:
        work: The assignment, with the model that answers next.
        run: The run it belongs to.
        window: The window.
        step: Of the next model call, such as `turn-7`.

    Raises:
        LimitReached: The run's time is up.
    """
    if window.cuts or run.profile.window.strategy == "truncate":
        window.leave_out()
        return
    middle = window.middle()
    if not middle:
        return
    path = f"{work.path}/{step}/compact"
    used = f"the prompt takes about {window.used} tokens, at least {FULL:.0%} of the {work.model.context} of the model"
    if run.journal.recorded_decision(path) is not None:  # it failed before, and what came after rests on that
        _only_cut(window)
        return
    try:
        summary = await _summary(work, run, window, middle, path)
        why = "the summary was empty"
    except ModelError as error:
        summary, why = "", str(error)
    except LimitReached as limit:
        if limit.limit == "seconds":
            raise
        summary, why = "", str(limit)
    if summary:
        window.condense(summary)
        return
    _only_cut(window)
    run.journal.note(
        Decision(
            path=path,
            task=work.task,
            agent=work.agent_name,
            what="compaction",
            chosen="leave out",
            why=f"{used}, and its middle could not be summarised: {why}"[:2000],
            alternatives=("summarise", "leave out"),
        )
    )


def _only_cut(window: Window) -> None:
    window.only_cut()
    window.leave_out()


async def _summary(work: Assignment, run: RunScope, window: Window, middle: Sequence[Message], path: str) -> str:
    model = _cheap(work, run)
    tokens = min(MAX_SUMMARY_TOKENS, window.room // 4)
    count = _counter(model)
    left = model.context - tokens - sum(count(one.content) + FRAME for one in prompts.summarise(work, ""))
    if left < tokens:
        raise ModelError(f"the context of {model.name}, {model.context} tokens, is too small for it", "too_long")
    request = ModelRequest(model.name, prompts.summarise(work, _fit(_record(middle), left, count)), max_tokens=tokens)
    context = run.context_at(path, work.task, work.agent_name, model.group)
    reply = await run.port.complete(request, context)
    # a model counts otherwise than we do: what is kept must take no more than its share
    return _fit(reply.text.strip(), tokens, window.tokens_of)


def _cheap(work: Assignment, run: RunScope) -> ResolvedModel:
    """Return who summarises: the first rung of the ladder, unless that would go against a choice of the user's.

    What is given to a model on this machine stays on this machine, and a model named for the whole run is the only one.
    """
    if work.model.kind == "embedded" or (run.model and not run.catalog.routes(run.model)):
        return work.model
    try:
        return run.catalog.ladder()[0]
    except ModelError:
        return work.model


def _counter(model: ResolvedModel) -> Callable[[str], int]:
    """Return what counts the tokens of a text for a model; an estimate where nothing here can."""
    count = tokenizer_of(model.name, model.weights)
    return estimate if count is None else lambda text: count(Message("user", text))


def _record(middle: Sequence[Message]) -> str:
    """Return messages as text, the oldest first."""
    lines = []
    for message in middle:
        calls = " ".join(f"{call.name}({call.raw or call.arguments})" for call in message.tool_calls)
        said = " ".join(part for part in (message.content, calls) if part)
        who = f"{message.role} {message.name}".strip()
        lines.append(f"{who}: {_cut(said, MAX_MESSAGE_CHARACTERS)}")
    return "\n".join(lines)


def _fit(text: str, most: int, count: Callable[[str], int]) -> str:
    """Return a text in at most so many tokens: its beginning and its end."""
    size = len(text.encode("utf-8", "replace"))
    cut = text
    while size > most and (tokens := count(cut)) > most:  # no text of so many bytes has more tokens
        size = max(most, min(size - 1, size * most // tokens))
        cut = _cut(text, size)
    return cut


def _cut(text: str, most: int) -> str:
    """Return a text in at most so many bytes of UTF-8: its beginning and its end."""
    raw = text.encode("utf-8", "replace")
    if len(raw) <= most:
        return text
    half = max(0, most - len(CUT)) // 2
    return (raw[:half] + CUT.encode() + raw[len(raw) - half :]).decode("utf-8", "ignore")[:most]
