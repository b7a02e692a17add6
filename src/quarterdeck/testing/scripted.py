"""A model that says what a test tells it to say, and fails the test when it is asked too much or too little."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from types import TracebackType
from typing import Self

from quarterdeck.errors import ModelError
from quarterdeck.models.port import ModelReply, ModelRequest, OnText, Usage
from quarterdeck.models.prices import FREE, Price, cost
from quarterdeck.testing.steps import Step

Say = Step | Callable[[ModelRequest], Step]
"""A step, or a function that makes one of the request."""
Matcher = str | Callable[[ModelRequest], bool]
"""A text that stands somewhere in the conversation, or a function of the request."""


class UnexpectedCall(AssertionError):
    """The scripted model was asked something that the script does not answer."""


class UnusedSteps(AssertionError):
    """The script has answers that nobody asked for."""


class ScriptedModel:
    """A provider that answers from a script, without a network, a key or a clock.

    Args:
        script: The steps, in order; or one such list an agent, found by the agent's role: the key must occur in the
            system message (upper and lower case alike; of several keys that occur, the longest counts).
        price: Per token; free by default, None for unknown.

    Attributes:
        requests: Every request so far.

    Example:
        with ScriptedModel([call("documents.search", query="harbour"), text("Done.")]) as model: ...
    """

    def __init__(self, script: Sequence[Say] | Mapping[str, Sequence[Say]] = (), *, price: Price | None = FREE) -> None:
        queues = script if isinstance(script, Mapping) else {"": script}
        self._queues: dict[str, deque[Say]] = {role: deque(steps) for role, steps in queues.items()}
        self._rules: list[tuple[Matcher, Say]] = []
        self._rules_used: set[int] = set()
        self._unexpected: list[str] = []
        self._calls = 0
        self.price = price
        self.requests: list[ModelRequest] = []

    @classmethod
    def rules(cls, rules: Iterable[tuple[Matcher, Say]], *, price: Price | None = FREE) -> Self:
        """Return a model that answers by the first rule that matches, as often as it is asked.

        Args:
            rules: What to look for, and what to say then.
            price: Per token.
        """
        model = cls(price=price)
        model._rules = list(rules)
        return model

    async def answer(self, request: ModelRequest, on_text: OnText | None = None) -> ModelReply:
        """Answer with the next step.

        Raises:
            UnexpectedCall: The script has no step for this request.
            ModelError: The step is an error.
        """
        self.requests.append(request)
        say = self._next(request)
        step = say(request) if callable(say) else say
        if step.seconds == float("inf"):
            await asyncio.get_running_loop().create_future()
        elif step.seconds:
            await asyncio.sleep(step.seconds)
        if step.failure is not None:
            raise ModelError(str(step.failure), step.failure.kind, retry_after=step.failure.retry_after)
        if on_text is not None:
            for piece in step.pieces:
                on_text(piece)
        return self._reply(request, step)

    async def close(self) -> None:
        """Hold nothing, free nothing."""

    def verify(self) -> None:
        """Check that everything in the script was used, and nothing else was asked.

        Raises:
            UnexpectedCall: Something was asked that the script does not answer.
            UnusedSteps: Something in the script was never used.
        """
        if self._unexpected:
            raise UnexpectedCall(self._unexpected[0])
        unused = [f"{role or 'script'}: {_show(say)}" for role, queue in self._queues.items() for say in queue]
        unused += [f"rule {number + 1}: {_show(say)}" for number, (_, say) in enumerate(self._rules)
                   if number not in self._rules_used]  # fmt: skip
        if unused:
            raise UnusedSteps(f"{len(unused)} steps of the script were not used:\n  " + "\n  ".join(unused[:20]))

    def __enter__(self) -> Self:
        """Return the model."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Verify, unless something else went wrong already."""
        if error is None:
            self.verify()

    def _next(self, request: ModelRequest) -> Say:
        for number, (matcher, say) in enumerate(self._rules):
            if _matches(matcher, request):
                self._rules_used.add(number)
                return say
        queue = self._queues.get(self._role(request))
        if queue:
            return queue.popleft()
        last = request.messages[-1] if request.messages else None
        said = f"{last.role}: {last.content[:200]!r}" if last else "no message"
        why = f"call {len(self.requests)} to the scripted model is not in its script; its last message is {said}"
        self._unexpected.append(why)
        raise UnexpectedCall(why)

    def _role(self, request: ModelRequest) -> str:
        system = "\n".join(one.content for one in request.messages if one.role == "system").casefold()
        return max((role for role in self._queues if role.casefold() in system), key=len, default="")

    def _reply(self, request: ModelRequest, step: Step) -> ModelReply:
        calls = []
        for one in step.tool_calls:
            self._calls += 1
            calls.append(replace(one, id=one.id or f"call_{self._calls}"))
        said = "".join(step.pieces)
        usage = Usage(prompt_tokens_of(request), _tokens(len(said) + sum(len(one.raw) for one in calls)))
        return ModelReply(
            text=said,
            tool_calls=tuple(calls),
            usage=usage,
            cost_usd=cost(self.price, usage),
            model=request.model,
            finish=step.finish,
        )


def prompt_tokens_of(request: ModelRequest) -> int:
    """Return the tokens that a scripted model counts in a request: a quarter of its characters."""
    return _tokens(sum(len(one.content) + sum(len(c.raw) for c in one.tool_calls) for one in request.messages))


def _tokens(characters: int) -> int:
    return max(1, characters // 4)


def _matches(matcher: Matcher, request: ModelRequest) -> bool:
    if callable(matcher):
        return matcher(request)
    return any(matcher in message.content for message in request.messages)


def _show(say: Say) -> str:
    return str(say) if isinstance(say, Step) else getattr(say, "__name__", "a function")
