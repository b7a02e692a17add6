"""Keeping secrets out of what tools return: the stage right around the execution."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from quarterdeck.governance.call import Proceed, ToolCall
    from quarterdeck.governance.result import ToolResult
    from quarterdeck.journal.call import CallContext


class Masked:
    """Masks secrets in a result before anything else sees it: agent, journal, artifact or person.

    Args:
        mask: Returns JSON-able data without secrets, the very same object where there are none; None for no masking.
    """

    def __init__(self, mask: Callable[[Any], Any] | None) -> None:
        self._mask = mask

    async def __call__(self, call: ToolCall, context: CallContext, proceed: Proceed) -> ToolResult:
        """Proceed, then mask."""
        result = await proceed(call, context)
        if self._mask is None:
            return result
        value, receipt = self._mask(result.value), self._mask(result.receipt)
        if value is result.value and receipt is result.receipt:
            return result
        return replace(result, value=value, receipt=receipt)
