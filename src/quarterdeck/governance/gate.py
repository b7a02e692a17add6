"""The second narrow waist: every tool call goes through `Gate.call`, and nothing else calls a tool.

The order of the stages stands in `Gate._stages`. A stage either answers the call or hands it to the next one.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from quarterdeck.errors import ToolError
from quarterdeck.governance.approvals import HOURS
from quarterdeck.governance.approved import Approved
from quarterdeck.governance.breaker import Breaker, tool_circuits
from quarterdeck.governance.call import Grants, Proceed, ToolCall, ToolStage
from quarterdeck.governance.effects import Effects
from quarterdeck.governance.executed import Executed
from quarterdeck.governance.masked import Masked
from quarterdeck.governance.origins import Origins
from quarterdeck.governance.policy import Classified, Policy
from quarterdeck.governance.previewed import Previewed
from quarterdeck.governance.projected import Projected
from quarterdeck.governance.provenance import Provenance
from quarterdeck.governance.repeated import NotRepeated
from quarterdeck.governance.result import ToolResult
from quarterdeck.governance.reused import Reused
from quarterdeck.governance.stages import (
    ArgumentsValid,
    Counted,
    Exists,
    Found,
    Granted,
    Journaled,
    Replayed,
    record,
)
from quarterdeck.governance.tiered import Shadowed, Teller, Tiered
from quarterdeck.governance.trials import Trials
from quarterdeck.governance.verified import Verified
from quarterdeck.journal.fingerprint import fingerprint
from quarterdeck.models.port import ToolRequest
from quarterdeck.spec.governance import GovernanceConfig
from quarterdeck.tools.composite import InnerCalls, no_inner_call
from quarterdeck.tools.tool import Lookup, RootFolder, SharedValues, Tool, ToolContext

if TYPE_CHECKING:
    from quarterdeck.governance.monitor import Monitor
    from quarterdeck.journal.call import CallContext
    from quarterdeck.models.circuits import Circuits
    from quarterdeck.spec.services import ServicesConfig
    from quarterdeck.tools.execution import Executor

INNER = "inner-"
MAX_DEPTH = 4
"""How deep composite tools may call each other."""


class Gate:
    """The only way to a tool, for one run. What nobody granted is denied.

    Attributes:
        knowledge: What tools look things up in; None for nothing.

    Args:
        tools: All tools of the workspace by name.
        grants: Says what the agent of a call may use.
        executor: Carries out calls under a deadline.
        run_id: The run's id.
        inputs: The run's inputs.
        folder: The run's own folder.
        roots: Other folders that the operator opened to tools, by name.
        services: The services of the workspace that tools may use; None for none.
        approval_hours: How long an approval can be given and used.
        least_confidence: A call that changes something goes to a person when its agent is less sure; None for never.
        policy: What the operator lets tools do; without one, what the tools say of themselves at the default dial.
        trials: How new tools prove themselves; None where they need not.
        teller: Tells people of what is done in the tier `notify`; None for nobody.
        monitor: Watches for bursts of calls; None for nobody.
        mask: Takes secrets out of what tools return; None for nothing.
        circuits: What is known of each tool's health; the run's own by default.
        origins: Where the values of the run come from; without it, the inputs are what the user said.
        session: The run's session cache; None for none.
        reused: The reading tools whose results are taken from there.
    """

    def __init__(
        self,
        tools: Mapping[str, Tool],
        grants: Grants,
        executor: Executor,
        *,
        run_id: str,
        inputs: dict[str, Any],
        folder: Path,
        roots: Mapping[str, RootFolder] | None = None,
        services: ServicesConfig | None = None,
        approval_hours: float = HOURS,
        least_confidence: float | None = None,
        policy: Policy | None = None,
        trials: Trials | None = None,
        teller: Teller | None = None,
        monitor: Monitor | None = None,
        mask: Callable[[Any], Any] | None = None,
        circuits: Circuits | None = None,
        origins: Origins | None = None,
        session: SharedValues | None = None,
        reused: Collection[str] = (),
    ) -> None:
        self.session = session
        self._reused = frozenset(reused)
        self.knowledge: Lookup | None = None
        self.origins = origins or Origins(user=inputs)
        self._circuits = circuits or tool_circuits()
        self._mask = mask
        self._run_id = run_id
        self._inputs = inputs
        self._folder = folder
        self._roots = roots or {}
        self._services = services
        self._state: dict[str, Any] = {}
        self._approval_hours = approval_hours
        self._effects = Effects(approval_hours)
        self._least_confidence = least_confidence
        self._policy = policy or Policy(GovernanceConfig())
        self._trials = trials
        self._teller = teller
        self._monitor = monitor
        self._ends = (tools, grants, executor)

    @cached_property
    def _call(self) -> Proceed:
        """The stages, put together when a run makes its first call: many make none."""
        tools, grants, executor = self._ends
        return self._stages(Classified(tools, self._policy), grants, executor)

    def _stages(self, tools: Mapping[str, Tool], grants: Grants, executor: Executor) -> Proceed:
        """Put the stages in their order, the first one outermost."""
        stages: tuple[ToolStage, ...] = (
            Exists(tools, grants),
            Granted(grants),
            Found(tools),
            ArgumentsValid(),
            Previewed(),
            Provenance(self.origins, tools),
            tiered := Tiered(self._policy, self._trials, self._teller),
            Approved(
                grants,
                hours=self._approval_hours,
                least_confidence=self._least_confidence,
                reconsider=tiered.judge,
            ),
            NotRepeated(),
            Replayed(),
            Journaled(),
            Counted(self._monitor),
            Shadowed(self._approval_hours),
            Projected(self._folder),
            Verified(executor, self._tool_context),
            Reused(self.session, self._reused),
            Masked(self._mask),
            Breaker(self._circuits, self._inner),
            Executed(executor, self._tool_context, self._effects),
        )
        call: Proceed = _nothing_left
        for stage in reversed(stages):
            call = _before(stage, call)
        return call

    async def call(
        self,
        request: ToolRequest,
        context: CallContext,
        *,
        why: str = "",
        origins: Mapping[str, str] | None = None,
    ) -> ToolResult:
        """Answer one proposed tool call.

        Args:
            request: What the model (or the engine) proposes.
            context: Where in the run.
            why: What the agent said with it.
            origins: Where arguments come from, where the caller knows it: `user`, `tool:NAME`, or `call:PATH` for
                what the call at a path returned. Never from a model.

        Returns:
            The result; a tool that fails, does not exist or is not granted is a result too.

        Raises:
            LimitReached: The run has no tool calls or no time left.
            Waiting: A person has to approve it, and has not yet.
            JournalError: The result could not be recorded, so it must not be used.
        """
        return await self._answer(request, context, why, origins=origins)

    async def _answer(
        self,
        request: ToolRequest,
        context: CallContext,
        why: str,
        within: frozenset[str] | None = None,
        origins: Mapping[str, str] | None = None,
    ) -> ToolResult:
        request_hash = fingerprint({"tool": request.name, "arguments": request.arguments, "raw": request.raw})
        call = ToolCall(request.name, request.arguments, request.raw, request_hash, why=why, within=within)
        call.origins |= origins or {}
        result = await self._call(call, context)
        if result.status == "denied" and context.journal.recorded_tool(context.path, request_hash) is None:
            await record(call, context, result, seconds=0.0)
        return result

    async def _inner(self, outer: ToolCall, context: CallContext, name: str, arguments: dict[str, Any]) -> ToolResult:
        """Put a call through the gate that another tool makes, or that is made in its place.

        Only what the outer tool's manifest names can be called so; whoever may call the outer tool may call that
        within it. Everything else is judged as for any call.
        """
        assert outer.tool is not None
        if context.path.count(INNER) > MAX_DEPTH:
            return ToolResult("denied", f"{name}: tools call each other {MAX_DEPTH} deep; that is too deep.", "limit")
        named = frozenset({*outer.tool.manifest.calls, outer.tool.manifest.substitute} - {""})
        return await self._answer(ToolRequest("", name, arguments), context, outer.why, named)

    def _inner_calls(self, call: ToolCall, context: CallContext) -> InnerCalls:
        async def make(number: int, name: str, arguments: dict[str, Any]) -> Any:
            result = await self._inner(call, context.at(f"{INNER}{number}"), name, arguments)
            if result.status == "ok":
                return result.value
            raise ToolError(f"{name}: {result.value}"[:4000], error_class=result.error_class or result.status)

        return InnerCalls(make)

    def _tool_context(self, call: ToolCall, context: CallContext) -> ToolContext:
        return ToolContext(
            run_id=self._run_id,
            idempotency_key=f"{self._run_id}:{context.path}",
            inputs=self._inputs,
            folder=self._folder,
            state=self._state,
            path=context.path,
            roots=self._roots,
            services=self._services,
            session=self.session,
            knowledge=self.knowledge,
            call=self._inner_calls(call, context) if call.tool and call.tool.manifest.calls else no_inner_call,
        )


def _before(stage: ToolStage, proceed: Proceed) -> Proceed:
    async def call(tool_call: ToolCall, context: CallContext) -> ToolResult:
        return await stage(tool_call, context, proceed)

    return call


async def _nothing_left(call: ToolCall, context: CallContext) -> ToolResult:
    raise AssertionError("the last stage answers every call")
