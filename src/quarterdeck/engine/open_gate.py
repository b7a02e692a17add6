"""The gate for plain Python functions of any framework: every stage of the gate of crews, around tools outside one."""

from __future__ import annotations

import asyncio
import json
import re
import threading
from collections.abc import Callable, Coroutine, Iterable, Mapping
from concurrent.futures import Future
from types import TracebackType
from typing import Any, Self, TypeVar

from quarterdeck.engine.background import Background
from quarterdeck.engine.open_run import GateResult, OpenRun
from quarterdeck.journal.fingerprint import fingerprint
from quarterdeck.journal.store import default_url
from quarterdeck.models.litellm_messages import arguments_in
from quarterdeck.models.port import ToolOffer, ToolRequest
from quarterdeck.spec.governance import GovernanceConfig
from quarterdeck.spec.load import load_governance
from quarterdeck.spec.workspace import Workspace
from quarterdeck.tools.manifest import manifest_of
from quarterdeck.tools.signature import tool_from_crewai, tool_from_function
from quarterdeck.tools.tool import Tool

MAX_CALLS = 10_000
MAX_NAME = 200
_VOUCHED = re.compile(r"user|operator|model|tool:\S{1,128}")

Outcome = TypeVar("Outcome")


class Gate:
    """Governs plain Python functions outside a crew: nothing calls them but through every stage of the gate.

    A gate is one run in the journal: make one for each conversation or job, because what was read in it, what a person
    approved in it and what was tried in it count for all its calls. May be used from any thread and any event loop.
    Async functions run on an event loop of the gate's own.

    Args:
        tools: Typed and documented functions, each declared with `@quarterdeck.tool(...)` or classified in
            `config/governance.yaml`; or a mapping from the names that they are to have. CrewAI's tools may stand here.
        governance: What the operator lets tools do; `config/governance.yaml` of the workspace if not given.
        database_url: The journal's database; `QUARTERDECK_DATABASE_URL` or the workspace's own if not given.
        autonomy: Lowers the dial: `shadow`, `low`, `medium` or `high`.
        inputs: What the user asked for: values that stand in it count as the user's own.
        run_id: A run of a gate to go on with, in whatever process; a new one if not given.
        max_calls: So many calls may be made in all.
        workspace: Where `config/` and `runs/` stand; found from the current folder if not given.

    Raises:
        SpecError: A function has no types or descriptions.
        ValueError: Two tools have the same name.

    Example:
        with Gate(tools=[refund, lookup]) as gate:
            result = gate.call("refund", {"order": "1182", "eur": 140.0})
    """

    def __init__(
        self,
        tools: Iterable[Callable[..., Any] | Tool] | Mapping[str, Callable[..., Any]],
        *,
        governance: GovernanceConfig | None = None,
        database_url: str | None = None,
        autonomy: str = "",
        inputs: Mapping[str, Any] | None = None,
        run_id: str = "",
        max_calls: int = MAX_CALLS,
        workspace: Workspace | None = None,
    ) -> None:
        workspace = workspace or Workspace.find()
        self._tools = _tools(tools)
        self._run = OpenRun(
            self._tools,
            governance=governance or load_governance(workspace),
            workspace=workspace,
            database_url=database_url or default_url(workspace.root),
            autonomy=autonomy,
            inputs=inputs or {},
            run_id=run_id,
            max_calls=max_calls,
        )
        self._starting = threading.Lock()
        self._background: Background | None = None
        self._closed = False

    @property
    def run_id(self) -> str:
        """The run's id; empty before the first call of a new one."""
        return self._run.run_id

    @property
    def tools(self) -> tuple[ToolOffer, ...]:
        """The tools as a model is told of them: name, description, and JSON Schema of the arguments."""
        return tuple(tool.offer() for tool in self._tools.values())

    def call(
        self,
        name: str,
        arguments: Mapping[str, Any] | str | None = None,
        *,
        origins: Mapping[str, str] | None = None,
        why: str = "",
    ) -> GateResult:
        """Put a call through the gate, and wait for what becomes of it.

        A call that a person has to approve is not made: its status is `waiting`. The same call, made again after that,
        goes on: by this gate, or by one with its `run_id` in another process.

        Args:
            name: The tool, as the model wrote it.
            arguments: As the model wrote them: by name, or as the text of a JSON object.
            origins: What the calling program itself knows of where an argument comes from, by the argument's name:
                `user`, `operator`, `tool:NAME` (one of this gate, which is trusted as far as the operator says so), or
                `model`. Never take this from a model.
            why: What the model said with it, for the person who has to approve.

        Returns:
            What became of it; a tool that fails, does not exist or is denied is a result too.

        Raises:
            ValueError: `origins` says something else.
            LimitReached: All calls of this gate are used.
            Cancelled: Somebody cancelled the run.
            JournalError: The call could not be recorded, so its result must not be used.
        """
        future = self._submit(self._run.call(*_request(name, arguments), _vouched(origins), why))
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    async def acall(
        self,
        name: str,
        arguments: Mapping[str, Any] | str | None = None,
        *,
        origins: Mapping[str, str] | None = None,
        why: str = "",
    ) -> GateResult:
        """Put a call through the gate without blocking. As `call`."""
        return await asyncio.wrap_future(
            self._submit(self._run.call(*_request(name, arguments), _vouched(origins), why), is_async=True)
        )

    def close(self, error: BaseException | None = None) -> None:
        """End the run, unless a person still has to answer; harmless when repeated.

        Args:
            error: What went wrong in the program: then the run ends as failed, and can be gone on with.
        """
        with self._starting:
            background, self._background, self._closed = self._background, None, True
        if background is not None:
            try:
                background.submit(self._run.finish(error)).result()
            finally:
                background.close()

    async def aclose(self, error: BaseException | None = None) -> None:
        """End the run without blocking. As `close`."""
        await asyncio.to_thread(self.close, error)

    def __enter__(self) -> Self:
        """Return the gate; the end of the block closes it."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the gate."""
        self.close(error)

    async def __aenter__(self) -> Self:
        """Return the gate; the end of the block closes it."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the gate."""
        await self.aclose(error)

    def _submit(self, work: Coroutine[Any, Any, Outcome], *, is_async: bool = False) -> Future[Outcome]:
        with self._starting:
            if self._closed:
                work.close()
                raise RuntimeError("This gate is closed. Make a new one; with run_id=... it goes on with the same run.")
            self._background = self._background or Background()
            if not is_async and self._background.is_here:
                work.close()
                raise RuntimeError("An async tool of this gate must not block it: use `await gate.acall(...)`.")
            return self._background.submit(work)


def _tools(given: Iterable[Any] | Mapping[str, Any]) -> dict[str, Tool]:
    named = list(given.items()) if isinstance(given, Mapping) else [("", one) for one in given]
    tools: dict[str, Tool] = {}
    for name, one in named:
        tool = _tool(one, name)
        if tool.name in tools:
            raise ValueError(f'There are two tools "{tool.name}". Give them names: Gate(tools={{"name": function}}).')
        tools[tool.name] = tool
    return tools


def _tool(one: Any, name: str) -> Tool:
    if isinstance(one, Tool):
        return one
    if hasattr(one, "args_schema") and hasattr(one, "_run"):
        return tool_from_crewai(one, name or None)
    return tool_from_function(one, name or manifest_of(one).name or getattr(one, "__name__", "").rstrip("_") or None)


def _request(name: str, arguments: Mapping[str, Any] | str | None) -> tuple[ToolRequest, str]:
    """Return a call as data that nobody changes any more, and what identifies it."""
    name = str(name)[:MAX_NAME].encode("utf-8", "replace").decode()
    raw = arguments if isinstance(arguments, str) else ""
    try:
        given = arguments_in(raw) if raw else json.loads(json.dumps(dict(arguments or {}), allow_nan=False))  # type: ignore[arg-type]
        request = ToolRequest("", name, given, "" if given is not None else raw[:MAX_NAME])
        return request, _digest(request)
    except (TypeError, ValueError, RecursionError):  # no JSON, or none that can be recorded
        shown = raw[:MAX_NAME].encode("utf-8", "replace").decode() or "(no JSON)"
        request = ToolRequest("", name, None, shown)
        return request, _digest(request)


def _digest(request: ToolRequest) -> str:
    return fingerprint({"tool": request.name, "arguments": request.arguments, "raw": request.raw})[:16]


def _vouched(origins: Mapping[str, str] | None) -> dict[str, str]:
    for name, said in (origins or {}).items():
        if not _VOUCHED.fullmatch(said):
            raise ValueError(f"origins: {name} comes from user, operator, model or tool:NAME, not from {said[:80]!r}")
    return dict(origins or {})
