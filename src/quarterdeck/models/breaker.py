"""A model that keeps failing is left alone for a while, then tried with one call."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from quarterdeck.errors import ModelError
from quarterdeck.journal.events import Decision
from quarterdeck.models.circuits import Blocked, Circuits, State, Verdict
from quarterdeck.models.strategies import speaks_of_health

if TYPE_CHECKING:
    from quarterdeck.journal.call import CallContext
    from quarterdeck.models.port import ModelReply, ModelRequest
    from quarterdeck.models.stages import Stage


class Breaker:
    """Sends no call to a model whose circuit is open; after the cool-off it lets exactly one through as a probe.

    Args:
        proceed: The next stage.
        circuits: What is known of each model; its own by default.
    """

    def __init__(self, proceed: Stage, circuits: Circuits | None = None) -> None:
        self._proceed = proceed
        self._circuits = circuits or Circuits()

    async def complete(self, request: ModelRequest, context: CallContext) -> ModelReply:
        """Proceed, unless the circuit is open.

        Raises:
            ModelError: It is open (`circuit_open`; `retry_after` says for how long), or the call itself failed.
        """
        model = request.model
        granted = self._circuits.enter(model)
        if isinstance(granted, Blocked):
            raise _open(model, granted)
        if granted.probe:
            _journal("half_open", model, "its cool-off is over: this one call finds out whether it answers", context)
        verdict: Verdict = "unknown"
        said = ""
        try:
            reply = await self._proceed.complete(request, context)
            verdict = "answered"
            return reply
        except ModelError as error:
            verdict = "failed" if speaks_of_health(error) else "unknown"
            said = str(error)
            raise
        finally:
            state = self._circuits.leave(model, granted, verdict, said)
            if state is not None:
                _journal(state, model, said or "it answered", context)


def _open(model: str, blocked: Blocked) -> ModelError:
    until = time.strftime("%H:%M:%S", time.gmtime(time.time() + blocked.seconds))
    return ModelError(
        f"{model} keeps failing and is not asked before {until} UTC (in {blocked.seconds:.0f} s). "
        f"It said last: {blocked.last_error}",
        "circuit_open",
        retry_after=blocked.seconds,
    )


def _journal(state: State, model: str, why: str, context: CallContext) -> None:
    context.journal.note(
        Decision(
            path=f"{context.path}/breaker",
            task=context.task,
            agent=context.agent,
            what=f"circuit of {model}: {state.replace('_', '-')}",
            why=why[:1000],
            chosen=state,
        )
    )
