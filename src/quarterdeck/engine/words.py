"""Whose words a run begins with: those of the user, of the operator's crew file, and of others in some inputs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from quarterdeck.governance.origins import Origins

if TYPE_CHECKING:
    from quarterdeck.spec.crew import CrewSpec


def origins_of(spec: CrewSpec, inputs: dict[str, Any]) -> Origins:
    """Return where the values of a run come from, before it has read anything.

    Of the crew's file it is the words that count: what tasks and agents are told, `begin` arguments, `save_as`. Its
    limits and other settings do not, because a number there says nothing about the amount of a payment.

    Args:
        spec: The crew.
        inputs: The run's inputs, checked.
    """
    untrusted = {name for name, declared in spec.inputs.items() if not declared.trusted}
    words: list[Any] = [spec.goal]
    for agent in spec.agents.values():
        words += [agent.role, agent.goal, agent.backstory]
    for task in spec.tasks.values():
        words += [task.description, task.expected_output, task.save_as]
        words += [begin.arguments for begin in task.begin]
    if spec.hierarchical is not None:
        words += [begin.arguments for begin in spec.hierarchical.begin]
    return Origins(
        user={name: value for name, value in inputs.items() if name not in untrusted},
        operator=words,
        untrusted={name: value for name, value in inputs.items() if name in untrusted},
    )
