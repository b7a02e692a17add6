"""One physical attempt: what was sent and failed is in the journal, once."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING

from quarterdeck.errors import JournalError, LimitReached, ModelError
from quarterdeck.journal.events import ModelFailed

if TYPE_CHECKING:
    from quarterdeck.journal.call import CallContext
    from quarterdeck.models.port import ModelReply, ModelRequest
    from quarterdeck.models.stages import Stage

MAX_ERROR_CHARACTERS = 2000


class Attempt:
    """Numbers the physical attempts of a call, over all its models, and records each one that fails or is cut off.

    The one that answers is recorded by `Replay`. What an outer stage refuses was never sent, and is no attempt.

    Args:
        proceed: The next stage.
    """

    def __init__(self, proceed: Stage) -> None:
        self._proceed = proceed

    async def complete(self, request: ModelRequest, context: CallContext) -> ModelReply:
        """Proceed; record a failure."""
        number = next(context.attempts)
        started = time.monotonic()

        def failed(error: str, kind: str) -> ModelFailed:
            return ModelFailed(
                path=context.path,
                task=context.task,
                agent=context.agent,
                request_hash="",
                model=request.model,
                error=error[:MAX_ERROR_CHARACTERS],
                error_kind=kind,
                attempt=number,
                seconds=round(time.monotonic() - started, 4),
            )

        try:
            return await self._proceed.complete(request, context)
        except ModelError as error:
            await context.journal.append(failed(str(error), error.kind))
            raise
        except (LimitReached, asyncio.CancelledError) as cut:
            # there is no time left to wait for a commit: it goes along with that of the run's end
            with contextlib.suppress(JournalError):
                context.journal.note(failed(str(cut) or "Cut off: the run was stopped.", "cut_off"))
            raise
