"""Whether the answer of a run passes the checks of its case."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from quarterdeck.errors import Rejected
from quarterdeck.journal.events import ToolCalled
from quarterdeck.spec.conditions import Condition
from quarterdeck.tools.evidence import Evidence, Receipt
from quarterdeck.tools.execution import Executor
from quarterdeck.tools.loading import load_object
from quarterdeck.tools.tool import Tool

if TYPE_CHECKING:
    from quarterdeck.engine.result import Result
    from quarterdeck.evaluation.cases import Case, CheckSpec
    from quarterdeck.journal.store import Store

MAX_SEARCHED = 100_000
"""Characters of an answer in which a regular expression is looked for."""
GUARDRAIL_SECONDS = 60.0


class Checker:
    """Judges the results of runs by code alone.

    Args:
        store: Where the runs are kept; guardrails judge by the receipts of their tool calls.
        folders: The tools folders, for guardrails.
    """

    def __init__(self, store: Store, folders: Sequence[Path]) -> None:
        self._store = store
        self._folders = folders
        self._executor = Executor()

    async def failures(self, case: Case, result: Result) -> list[str]:
        """Return why a result does not pass, in words; nothing when it does.

        A run that did not succeed has failed, unless a check of the case speaks of its status.
        """
        if result.status != "succeeded" and not case.may_fail:
            return [f"{result.status} ({result.code}): {result.evidence[:300]}"]
        failed: list[str] = []
        for check in case.checks:
            failed += plain_failures(check, result, case.inputs)
            if check.guardrail is not None and (why := await self._rejected(check.guardrail, result)):
                failed.append(why)
        return failed

    def close(self) -> None:
        """Free the threads."""
        self._executor.close()

    async def _rejected(self, reference: str, result: Result) -> str:
        function = load_object(reference, self._folders)
        record = self._store.run(result.run_id)
        events = (stored.event for stored in self._store.events(record.id) if stored.kind == "tool.called")
        calls = [event for event in events if isinstance(event, ToolCalled)]
        evidence = Evidence(
            inputs=record.inputs,
            outputs={name: task.output for name, task in result.tasks.items()},
            receipts=[
                Receipt(call.tool, call.arguments, call.result if call.status == "ok" else None) for call in calls
            ],
        )
        tool = Tool(reference, "", {}, partial(function, result.output, evidence))
        try:
            await self._executor.execute(tool, {}, None, GUARDRAIL_SECONDS)
        except Rejected as error:
            return f"{reference}: {error}"
        except TimeoutError:
            return f"{reference} did not finish in {GUARDRAIL_SECONDS:g} s"
        except Exception as error:  # the user's own code: its failure is the check's, not ours
            return f"{reference} itself failed: {type(error).__name__}: {error}"
        return ""


def _receipt(call: ToolCalled) -> Receipt:
    return Receipt(call.tool, call.arguments, call.result if call.status == "ok" else None)


def plain_failures(check: CheckSpec, result: Result, inputs: dict[str, Any]) -> list[str]:
    """Return what of a check does not hold, its guardrail apart."""
    text = result.text
    values: dict[str, Any] = {
        "output": result.output, "text": text, "status": result.status, "code": result.code, "inputs": inputs,
    }  # fmt: skip
    failed = []
    if check.that is not None and not Condition.parse(check.that).holds(values):
        failed.append(f"does not hold: {check.that}")
    if check.contains is not None and check.contains.casefold() not in text.casefold():
        failed.append(f"does not contain: {check.contains}")
    if check.lacks is not None and check.lacks.casefold() in text.casefold():
        failed.append(f"contains: {check.lacks}")
    if check.matches is not None and re.search(check.matches, text[:MAX_SEARCHED]) is None:
        failed.append(f"does not match: {check.matches}")
    if check.min_characters is not None and len(text) < check.min_characters:
        failed.append(f"{len(text)} characters, fewer than {check.min_characters}")
    if check.max_characters is not None and len(text) > check.max_characters:
        failed.append(f"{len(text)} characters, more than {check.max_characters}")
    return failed
