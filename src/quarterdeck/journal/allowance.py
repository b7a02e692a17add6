"""What a run may still use: counted in one place, asked before each call."""

from __future__ import annotations

from typing import TYPE_CHECKING

from quarterdeck.errors import LimitReached
from quarterdeck.journal.ledger import NOTHING, Amount

if TYPE_CHECKING:
    from quarterdeck.journal.ledger import Hold, Ledger
    from quarterdeck.journal.totals import Totals
    from quarterdeck.spec.crew import Limits


class Allowance:
    """The limits of one run and what is used of them, by earlier processes too.

    Calls are counted here; money and tokens in the ledger, where other processes see them.

    Args:
        limits: The limits of the run, raised ones included.
        used: What the journal says was used before; its calls are replayed and not counted again.
        ledger: The budgets that the run belongs to.

    Attributes:
        tokens: As the providers reported them.
    """

    def __init__(self, limits: Limits, used: Totals, ledger: Ledger) -> None:
        self.limits = limits
        self.ledger = ledger
        self.model_calls = used.model_calls
        self.tool_calls = used.tool_calls
        self.tokens = used.tokens
        self._last_words: set[str] = set()
        self._extra_call = ""

    async def reserve(self, path: str, amount: Amount, last_answer: Amount = NOTHING) -> Hold:
        """Count a model call and set aside what it may take at most.

        Args:
            path: The call's logical path.
            amount: What it may take at most.
            last_answer: What an answer that ends the work would take after it; where the run is to end with a best
                answer (`on_budget: answer`), so much is left untouched until such an answer is asked for.

        Returns:
            What is set aside; to be handed to `settle` in every case.

        Raises:
            LimitReached: The call would pass a limit or a budget; it must not be sent.
        """
        if self.model_calls >= self.limits.model_calls and not self._is_extra(path):
            raise LimitReached(
                f"The run has made its {self.limits.model_calls} model calls (limits.model_calls).", "model_calls"
            )
        ordinary = self.limits.on_budget == "answer" and path not in self._last_words
        self.model_calls += 1
        try:
            return await self.ledger.reserve(amount, last_answer if ordinary else NOTHING)
        except BaseException:
            self.model_calls -= 1
            raise

    def settle(self, hold: Hold, used: Amount) -> None:
        """Put what a call really took in the place of what was set aside for it."""
        self.ledger.settle(hold, used)

    def tool_call(self) -> None:
        """Count a tool call.

        Raises:
            LimitReached: The run has made all its tool calls.
        """
        if self.tool_calls >= self.limits.tool_calls:
            raise LimitReached(
                f"The run has made its {self.limits.tool_calls} tool calls (limits.tool_calls).", "tool_calls"
            )
        self.tool_calls += 1

    def grant_last_word(self, path: str) -> None:
        """Let the tool-less "answer now" at a path use what is kept for it.

        The first such answer of a run may also pass `model_calls`.
        """
        self._last_words.add(path)

    def _is_extra(self, path: str) -> bool:
        if path in self._last_words and not self._extra_call:
            self._extra_call = path
        return path == self._extra_call
