"""Who may use which tool in a run: read off the crew's declaration, nothing by default."""

from __future__ import annotations

from typing import TYPE_CHECKING

from quarterdeck.engine.assign import DELEGATE, granted

if TYPE_CHECKING:
    from quarterdeck.governance.call import Grants
    from quarterdeck.journal.call import CallContext
    from quarterdeck.spec.crew import CrewSpec, DelegationSpec

SAVE = "output.write"


def grants_of(spec: CrewSpec) -> Grants:
    """Return what the gate asks: the tools that the agent of a call may use in its task.

    An agent has what it is declared with, narrowed by its task. The engine itself (no agent) may only save an
    output that the crew declares with `save_as`, and make the calls that a task declares with `begin`.
    """

    def grants(context: CallContext) -> frozenset[str]:
        task = spec.tasks[context.task]
        step = context.path.rsplit("/", 1)[-1]
        if not context.agent:
            return frozenset({SAVE}) if task.save_as and step == "save" else frozenset()
        agent = spec.agents[context.agent]
        delegation = spec.hierarchical
        is_worker = "/tool-" in context.path.rsplit("/", 1)[0]
        if step.startswith("begin-"):
            declared = delegation.begin if is_worker and delegation else task.begin
            return frozenset(begin.tool for begin in declared)
        own = frozenset(agent.tools) if is_worker else granted(task, agent)
        if delegation and _may_delegate(context, delegation, is_worker):
            own = own | {DELEGATE}
        return own

    return grants


def _may_delegate(context: CallContext, delegation: DelegationSpec, is_worker: bool) -> bool:
    if is_worker:
        return context.path.count("/tool-") <= delegation.max_depth
    return context.agent == delegation.manager
