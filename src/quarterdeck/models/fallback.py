"""When a model does not answer, the next one of its chain is asked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from quarterdeck.errors import ModelError
from quarterdeck.journal.events import Decision
from quarterdeck.models.budget import prompt_tokens_at_most
from quarterdeck.models.strategies import treatment_of

if TYPE_CHECKING:
    from quarterdeck.journal.call import CallContext
    from quarterdeck.models.catalog import ResolvedModel
    from quarterdeck.models.port import ModelReply, ModelRequest
    from quarterdeck.models.stages import Stage

MAX_WHY_CHARACTERS = 300


class Fallback:
    """Asks the models of a chain in order until one answers; what another than the first answers is `degraded`.

    Args:
        proceed: The next stage.
        chain_of: Returns, for a model and the group it was taken from, the model and those that stand in for it.
    """

    def __init__(self, proceed: Stage, chain_of: Callable[[str, str], Sequence[ResolvedModel]]) -> None:
        self._proceed = proceed
        self._chain_of = chain_of

    async def complete(self, request: ModelRequest, context: CallContext) -> ModelReply:
        """Ask the model, and where it fails those after it.

        Raises:
            ModelError: None answered, or the failure is of a kind for which no other model is asked.
            LimitReached: A limit of the run forbids the next call.
        """
        asked, *others = self._chain_of(request.model, context.group)
        needed = _tokens_of(request) if others else 0
        large_enough = [model for model in others if needed <= model.context]
        failures: dict[str, ModelError] = {}
        reason = ""
        candidates = [(asked, request), *((model, adapted(request, model)) for model in large_enough)]
        for left, (model, its_request) in zip(reversed(range(len(candidates))), candidates, strict=True):
            try:
                reply = await self._proceed.complete(its_request, replace(context, last_resort=left == 0))
            except ModelError as error:
                is_stand_in = bool(failures)
                failures[model.name] = error
                if _ends_the_chain(error, is_stand_in=is_stand_in):
                    reason = model.name
                    break
                continue
            if not failures:
                return reply
            _journal(model, failures, [one.name for one, _ in candidates], context)
            return replace(reply, degraded=True)
        if reason:
            raise _explained(reason, failures)
        telling = next((name for name, error in failures.items() if error.kind != "circuit_open"), asked.name)
        raise _explained(telling, failures, [model.name for model in others if model not in large_enough])


def adapted(request: ModelRequest, model: ResolvedModel) -> ModelRequest:
    """Return a request as another model can take it: without the schema where it cannot be held to one."""
    return replace(request, model=model.name, schema=request.schema if model.supports_schema else None)


def _tokens_of(request: ModelRequest) -> int:
    """Return the tokens that a request and its answer are likely to take: a quarter of the prompt's upper bound."""
    return prompt_tokens_at_most(request) // 4 + request.max_tokens


def _journal(model: ResolvedModel, failures: dict[str, ModelError], chain: list[str], context: CallContext) -> None:
    """Note the decision, to be committed with the answer; once, unless a resumed run had to decide otherwise."""
    path = f"{context.path}/fallback"
    recorded = context.journal.recorded_decision(path)
    if recorded is not None and recorded.chosen == model.name:
        return
    context.journal.note(
        Decision(
            path=path,
            task=context.task,
            agent=context.agent,
            what=f"{model.name} answered in the place of {next(iter(failures))}",
            why="; ".join(f"{name}: {_short(error)}" for name, error in failures.items()),
            chosen=model.name,
            alternatives=tuple(name for name in chain if name != model.name),
        )
    )


def _ends_the_chain(error: ModelError, *, is_stand_in: bool) -> bool:
    """Return whether no other model is asked; a stand-in that is declared wrongly is passed over."""
    return treatment_of(error).strategy == "abandon" and (error.kind == "refused" or not is_stand_in)


def _explained(model: str, failures: dict[str, ModelError], too_small: Sequence[str] = ()) -> ModelError:
    """Return the failure of one model as the reason, with what became of the others."""
    best = failures[model]
    others = [f"{name}: {_short(error)}" for name, error in failures.items() if name != model]
    others += [f"{name}: reads too little for this conversation" for name in too_small]
    if not others:
        return best
    waits = [error.retry_after for error in failures.values() if error.retry_after is not None]
    return ModelError(
        f"{best} No other model answered: {'; '.join(others)}", best.kind, retry_after=min(waits, default=None)
    )


def _short(error: ModelError) -> str:
    text = " ".join(str(error).split())
    return text if len(text) <= MAX_WHY_CHARACTERS else f"{text[:MAX_WHY_CHARACTERS]} ..."
