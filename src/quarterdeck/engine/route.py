"""Routing: which model of the ladder an assignment is at, and what sends it one rung up."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from quarterdeck.engine import prompts
from quarterdeck.engine.instructions import Instructions
from quarterdeck.journal.events import Decision
from quarterdeck.memory.tokens import tokenizer_of
from quarterdeck.memory.window import FULL, Window

if TYPE_CHECKING:
    from collections.abc import Sequence

    from quarterdeck.engine.assignment import Assignment, Verdict
    from quarterdeck.engine.scope import RunScope
    from quarterdeck.models.catalog import Catalog, ResolvedModel
    from quarterdeck.models.port import ModelReply
    from quarterdeck.spec.crew import CrewSpec

AT_FIRST = "the ladder starts with it"
"""Why the first model of an assignment was chosen, where nothing was against it."""
REPAIRS_A_RUNG = 1
"""Repairs of an answer's shape that a rung gets before the next one takes over; the last rung has all there are."""


class Route:
    """The model of an assignment, which goes up a rung of the ladder on a measured signal and never down again.

    Each choice is recorded, and follows from the recorded replies alone: so a replay takes the same way.

    Args:
        work: The assignment; without a ladder its model never changes.
        run: The run.
        begun: What the declared first tool calls gave.

    Attributes:
        work: The assignment, with the model that is now at it.
        window: Opened for that model.
        instructions: Brings in what people say meanwhile.
    """

    def __init__(self, work: Assignment, run: RunScope, begun: Sequence[tuple[str, str]]) -> None:
        self.work = work
        self.window = Window((), 0)
        self.instructions = Instructions(work, run)
        self._run = run
        self._begun = begun
        self._rungs = (work.model,) if work.forced or not work.ladder else work.ladder
        self._rung = 0
        self._signal = ""
        if work.ladder:
            forced = f"routing.forced names it for the task {work.task}"
            self._signal = forced if work.forced else AT_FIRST
        self._open()

    @property
    def top(self) -> bool:
        """Whether there is no rung above."""
        return self._rung == len(self._rungs) - 1

    @property
    def usage(self) -> tuple[int, int]:
        """Tokens that the next prompt takes, tools included, and those of its model's context."""
        return self.window.carried, self.work.model.context

    def doubt(self, verdict: Verdict, repairs: int, *, last: bool) -> str:
        """Return what is measured against the model that gave an answer; empty for nothing, or where nobody is above.

        Args:
            verdict: What code says of the answer.
            repairs: How often this model has been given its answer back before.
            last: There is no turn left, so an answer that was accepted stays.
        """
        if self.top or (last and verdict.accepted):
            return ""
        if verdict.accepted:
            confidence, least = confidence_of(verdict.value), self._run.catalog.routing.confidence
            unsure = confidence is not None and confidence < least
            return f"confidence {confidence:g} is below {least:g}" if unsure else ""
        if verdict.rejected_by:
            return f"{verdict.rejected_by} rejected the answer: {verdict.problem}"
        if repairs >= REPAIRS_A_RUNG:
            return f"the answer did not fit after {repairs} repair: {verdict.problem}"
        return ""

    def correction(self, verdict: Verdict) -> str:
        """Return what the next model is told of an answer that was not taken."""
        confidence = confidence_of(verdict.value)
        if not verdict.accepted or confidence is None:
            return verdict.problem
        return prompts.doubted(confidence, self._run.catalog.routing.confidence)

    def go_up(self, signal: str) -> None:
        """Let the next rung make the next call."""
        self._rung += 1
        self._signal = signal
        self._open()

    def settle(self, step: str) -> None:
        """Fix the model of the next call: one that the prompt fits, if there is one from here up; record the choice.

        Args:
            step: Of that call, such as `turn-3`.
        """
        need = self.window.least
        rungs = range(self._rung, len(self._rungs))
        fitting = next((rung for rung in rungs if need <= self._room(self._rungs[rung])), self._rung)
        if fitting != self._rung:
            small = f"the prompt takes about {need} tokens, more than {self.work.model.name} can take"
            self._rung = fitting
            self._signal = f"{self._signal}; {small}" if self._signal else small
            self._open()
        self._record(f"{step}/route")

    def heed(self, reply: ModelReply) -> ModelReply:
        """Let the window go by what the provider counted of the prompt that this answers; return the reply."""
        if not reply.degraded:  # another model answered, which counts otherwise
            self.window.learn(reply.usage.prompt_tokens)
        return reply

    def too_long(self, step: str, said: str) -> bool:
        """Go up because a provider found the prompt too long; return False when nobody is above."""
        if self.top:
            return False
        self.go_up(f"the provider found the prompt too long: {said}")
        self._record(self._refusal(step))
        return True

    def skip_refused(self, step: str) -> None:
        """Go up past the models whose providers told an earlier process that this prompt is too long."""
        while not self.top:
            self._rung += 1
            if self._run.journal.recorded_decision(f"{self.work.path}/{self._refusal(step)}") is None:
                self._rung -= 1
                return
            self._open()

    def _refusal(self, step: str) -> str:
        return f"{step}/route/{self._rung}"

    def _open(self) -> None:
        model = self._rungs[self._rung]
        self.work = replace(self.work, model=model)
        opening = prompts.opening(self.work, self._begun)
        counts = tokenizer_of(model.name, model.weights)
        self.window.reopen(opening, self._room(model), int(model.context * FULL), counts, _beside(self.work))

    def _room(self, model: ResolvedModel) -> int:
        """Return the tokens that a prompt may take: the context without the answer."""
        return model.context - self.work.max_tokens

    def _record(self, step: str) -> None:
        signal, self._signal = self._signal, ""
        path = f"{self.work.path}/{step}"
        if not signal or self._run.journal.recorded_decision(path) is not None:
            return
        self._run.journal.note(
            Decision(
                path=path,
                task=self.work.task,
                agent=self.work.agent_name,
                what="route",
                chosen=self.work.model.name,
                why=signal[:2000],
                alternatives=tuple(model.name for model in self.work.ladder),
            )
        )


def _beside(work: Assignment) -> str:
    """Return what a model is given beside the messages: the tools, and the shape of the answer."""
    given = [f"{tool.name} {tool.description} {tool.parameters}" for tool in work.tools]
    if work.output and work.model.supports_schema:
        given.append(str(work.output.schema(work.evidence)))
    return "\n".join(given)


def confidence_of(value: Any) -> float | None:
    """Return the number that an answer gives as its own `confidence`; None when it gives none."""
    found = value.get("confidence") if isinstance(value, dict) else getattr(value, "confidence", None)
    return float(found) if isinstance(found, int | float) and not isinstance(found, bool) else None


def models_of(spec: CrewSpec, catalog: Catalog, override: str = "") -> tuple[ResolvedModel, ...]:
    """Return every model that a run of a crew may come to ask, so that a mistake is found before anything is spent.

    Args:
        spec: The crew.
        catalog: The models.
        override: The model asked for in place of all that the crew names; empty for none.

    Raises:
        ModelError: One of them is not known, has no key, or in production is not pinned.
    """
    names = [agent.model for agent in spec.agents.values()]
    names += [task.model for task in spec.tasks.values() if task.model]
    names += spec.plan_models
    wanted = ([override] if names else []) if override else names
    found = (model for name in dict.fromkeys(wanted) for model in catalog.candidates(name))
    return tuple({model.name: model for model in found}.values())
