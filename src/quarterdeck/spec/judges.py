"""Who says in a loop that work is good enough, and who made it: nobody finds all of their own mistakes."""

from __future__ import annotations

from collections.abc import Iterator

from quarterdeck.spec.conditions import Condition
from quarterdeck.spec.crew import CrewSpec
from quarterdeck.spec.models import AUTO, ModelsConfig
from quarterdeck.spec.sentences import Finding


def own_judges(crew: CrewSpec) -> Iterator[Finding]:
    """Yield each loop in which the agent that makes the work also says that it is good enough."""
    for looped, judge, made in _pairs(crew):
        if crew.tasks[judge].agent == crew.tasks[made].agent:
            who = crew.tasks[made].agent
            what = f'agent "{who}" does "{made}" and judges it in "{judge}"; let another agent or a function judge'
            yield Finding(("tasks", looped, "loop", "back_to"), what)


def same_models(crew: CrewSpec, config: ModelsConfig) -> list[str]:
    """Return a line for each loop in which two agents make and judge with the same model, though there are others.

    Only models that are written down for both count: a crew that leaves the choice to its workspace says nothing.

    Args:
        crew: The crew, roles merged in.
        config: The models of its workspace.
    """
    known = {model for group in config.groups.values() for model in group.models} | set(config.models)
    lines = []
    for looped, judge, made in _pairs(crew) if len(known) > 1 else ():
        name, other = _model(crew, judge), _model(crew, made)
        if name and _asked(name, config) == _asked(other, config):
            lines.append(
                f'tasks.{looped}.loop: "{judge}" judges "{made}" with the same model ({name}), which shares its '
                f"mistakes; give one of the two another model"
            )
    return lines


def _pairs(crew: CrewSpec) -> Iterator[tuple[str, str, str]]:
    """Yield for each loop its task, and the agents' tasks that judge and that make the work."""
    for name, task in crew.tasks.items():
        made = crew.tasks.get(task.loop.back_to) if task.loop is not None else None
        if task.loop is None or made is None or made.agent is None:
            continue
        try:
            heads = {dotted.partition(".")[0] for dotted in Condition.parse(task.loop.until).names}
        except ValueError:  # reported by the checks
            continue
        elsewhere = {*crew.tasks, *crew.inputs, "inputs", "round", "item"}
        judges = (heads & set(crew.tasks)) | ({name} if heads - elsewhere else set())
        for judge in sorted(judges - {task.loop.back_to}):
            if crew.tasks[judge].agent is not None:
                yield name, judge, task.loop.back_to


def _model(crew: CrewSpec, task: str) -> str:
    """Return the model that is written down for a task; empty where none is, or it is chosen anew for each call."""
    agent = crew.agents.get(crew.tasks[task].agent or "")
    name = crew.tasks[task].model or (agent.model if agent is not None else "")
    return "" if name == AUTO else name


def _asked(name: str, config: ModelsConfig) -> tuple[str, ...]:
    """Return the models that a name stands for, the first one to be asked first."""
    return config.groups[name].models if name in config.groups else (name,)
