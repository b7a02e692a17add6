"""Every failure that Quarterdeck reports, drawn as one tree.

QuarterdeckError
    SpecError            a crew, role, tool or configuration file is wrong (carries every problem found)
    InputError           the inputs of a run are missing or of the wrong kind
    ModelError           a model cannot be used, or did not answer (`kind` says which)
    ToolError            a tool raised this to tell the agent what went wrong
    Rejected             a guardrail raised this to tell the agent what to change in its output
    LimitReached         a declared limit of the run ends it (`limit` names it)
    Waiting              the run cannot go on before a person has answered
    Cancelled            a person or another process cancelled the run
    JournalError         the database cannot be used
        RunNotFound      no such run
        RunBusy          another process is working on the run
        Diverged         a resumed run asked for something else than it did the first time

Misuse of the Python interface raises the built-in errors (`TypeError`, `ValueError`) instead.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Sequence

    from quarterdeck.spec.problem import Problem

ModelErrorKind = Literal[
    "no_key", "no_weights", "no_model", "unreachable", "rate_limited", "no_quota", "server", "timeout", "too_long",
    "refused", "malformed", "unknown_price", "unpinned", "circuit_open",
]  # fmt: skip
"""Why a model call failed; `models.strategies` says of each what is done about it, and why."""

LimitName = Literal["turns", "seconds", "model_calls", "tool_calls", "tokens", "usd", "delegations"]


class QuarterdeckError(Exception):
    """A domain failure: its text says what happened, where, and what to do next.

    Args:
        message: One or two sentences for the person who has to act.
        code: A stable word for programs; ends up in a run's `code`.
    """

    exit_code = 1

    def __init__(self, message: str, *, code: str = "error") -> None:
        super().__init__(message)
        self.code = code


class SpecError(QuarterdeckError):
    """Declared files are wrong; `problems` holds all of them, each with file, line and column."""

    exit_code = 2

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems), code="invalid")
        self.problems = tuple(problems)


class InputError(QuarterdeckError):
    """A run was asked for with inputs that it cannot use."""

    exit_code = 2

    def __init__(self, message: str) -> None:
        super().__init__(message, code="input")


class ModelError(QuarterdeckError):
    """A model cannot be used or did not answer.

    Args:
        message: What happened and what to do.
        kind: The class of the failure.
        retry_after: Seconds after which the provider wants to be asked again, where it said so.
        billed: The provider may charge for the call all the same.
    """

    exit_code = 3

    def __init__(
        self, message: str, kind: ModelErrorKind, *, retry_after: float | None = None, billed: bool = False
    ) -> None:
        super().__init__(message, code=f"model_{kind}")
        self.kind: ModelErrorKind = kind
        self.retry_after = retry_after
        self.billed = billed


class ToolError(QuarterdeckError):
    """Raised inside a tool: the text reaches the agent as the result of its call.

    Args:
        message: What went wrong, for the agent.
        error_class: What kind of failure: `tool` (it will fail again), `unavailable`, `rate_limited`, `timeout`,
            `lost` (it was sent, and no answer could be read).
        unsent: Nothing was done when it failed, as nothing had left this machine; it is safe to try again.
        retry_after: Seconds after which the other side wants to be asked again, where it said so.
    """

    def __init__(
        self, message: str, *, error_class: str = "tool", unsent: bool = False, retry_after: float | None = None
    ) -> None:
        super().__init__(message, code="tool")
        self.error_class = error_class
        self.unsent = unsent
        self.retry_after = retry_after


class Rejected(QuarterdeckError):
    """Raised inside a guardrail: the text tells the agent what to change in its output."""

    def __init__(self, message: str) -> None:
        super().__init__(message, code="rejected")


class LimitReached(QuarterdeckError):
    """A declared limit ends the run or the task.

    Args:
        message: Which limit, and what is used of it.
        limit: Its name.
        remedy: How a person gives the run more, where it can wait for that.
    """

    def __init__(self, message: str, limit: LimitName, remedy: str = "") -> None:
        super().__init__(message, code=f"limit_{limit}")
        self.limit: LimitName = limit
        self.remedy = remedy


class Waiting(QuarterdeckError):
    """The run stops here until a person has answered; whoever resumes it after that goes on.

    Args:
        message: What it waits for, and the command that answers.
        code: What kind of answer: `limit_usd`, `limit_tokens`, `plan_review`.
    """

    exit_code = 11

    def __init__(self, message: str, code: str) -> None:
        super().__init__(message, code=code)


class Cancelled(QuarterdeckError):
    """Somebody cancelled the run."""

    def __init__(self, message: str) -> None:
        super().__init__(message, code="cancelled")


class JournalError(QuarterdeckError):
    """The database cannot be used; nothing that it held was touched.

    Args:
        message: What happened and what to do.
        code: `locked`, `full`, `read_only`, `corrupt`, `newer_schema`, `unreachable`, `no_journal`, `ended`,
            `changed`, `not_waiting` or `journal`.
    """

    exit_code = 4

    def __init__(self, message: str, *, code: str = "journal") -> None:
        super().__init__(message, code=code)


class RunNotFound(JournalError):
    """No run has this id."""

    exit_code = 2

    def __init__(self, message: str) -> None:
        super().__init__(message, code="run_not_found")


class RunBusy(JournalError):
    """Another process is working on the run."""

    def __init__(self, message: str) -> None:
        super().__init__(message, code="run_busy")


class Diverged(JournalError):
    """A resumed run asked for something else at a path than what is recorded there.

    `recorded` and `requested` hold both requests as JSON text.
    """

    def __init__(self, message: str, *, recorded: str, requested: str) -> None:
        super().__init__(message, code="diverged")
        self.recorded = recorded
        self.requested = requested
