"""What a run may still use: counted in one place, asked before each call."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

from quarterdeck.errors import LimitReached

if TYPE_CHECKING:
    from quarterdeck.journal.totals import Totals
    from quarterdeck.spec.crew import Limits


class Allowance:
    """The limits of one run and what is used of them, by earlier processes too.

    A model call is reserved at its highest possible price before it is sent and settled afterwards, so calls
    that are in flight together cannot pass the limit together.

    Args:
        limits: The declared limits.
        used: What the journal says was used before; its calls are replayed and not counted again.
    """

    def __init__(self, limits: Limits, used: Totals) -> None:
        self.limits = limits
        self.model_calls = used.model_calls
        self.tool_calls = used.tool_calls
        self.tokens = used.tokens
        self.usd = used.known_usd
        self.unpriced_calls = used.unpriced_calls
        self._last_word_spoken = False
        self._last_word_open = False
        self._reserved_tokens = 0
        self._reserved_usd = Decimal(0)

    def reserve(self, tokens: int, usd: Decimal | None) -> None:
        """Set aside what one model call may cost at most.

        Args:
            tokens: Prompt and answer together, at most.
            usd: The highest price, or None when the price is not known.

        Raises:
            LimitReached: The call would pass a limit; it must not be sent.
        """
        limits = self.limits
        if self.model_calls >= limits.model_calls and not self._last_word():
            raise LimitReached(
                f"The run has made its {limits.model_calls} model calls (limits.model_calls).", "model_calls"
            )
        if limits.tokens is not None and self.tokens + self._reserved_tokens + tokens > limits.tokens:
            raise LimitReached(
                f"The next call could pass the {limits.tokens} tokens of this run (limits.tokens); "
                f"{self.tokens} are used.",
                "tokens",
            )
        if limits.usd is not None and usd is not None:
            ceiling = Decimal(str(limits.usd))
            if self.usd + self._reserved_usd + usd > ceiling:
                raise LimitReached(
                    f"The next call could cost ${usd:.4f} and pass the ${ceiling} of this run (limits.usd); "
                    f"${self.usd:.4f} is spent.",
                    "usd",
                )
        self.model_calls += 1
        self._reserved_tokens += tokens
        self._reserved_usd += usd or Decimal(0)

    def settle(self, reserved_tokens: int, reserved_usd: Decimal | None, tokens: int, usd: Decimal | None) -> None:
        """Put what a call really used in the place of what was reserved for it; all zero if it failed."""
        self._reserved_tokens -= reserved_tokens
        self._reserved_usd -= reserved_usd or Decimal(0)
        self.tokens += tokens
        if usd is None:
            self.unpriced_calls += 1
        else:
            self.usd += usd

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

    def grant_last_word(self) -> None:
        """Let one call through past `model_calls`: the tool-less "answer now" at a limit, once a run."""
        if not self._last_word_spoken:
            self._last_word_spoken = True
            self._last_word_open = True

    def _last_word(self) -> bool:
        allowed, self._last_word_open = self._last_word_open, False
        return allowed
