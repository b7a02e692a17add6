"""The task graph of a crew: what lies between two tasks, who works for whom, and its picture."""

from __future__ import annotations

from collections.abc import Mapping

from quarterdeck.spec.crew import CrewSpec
from quarterdeck.spec.graph import ancestors, dependencies


def span(first: str, last: str, waits_for: Mapping[str, tuple[str, ...]]) -> list[str]:
    """Return the tasks from `first` to `last`: both, and all that lie between them in the graph."""
    before = ancestors(waits_for, last) | {last}
    return [name for name in waits_for if name in before and (name == first or first in ancestors(waits_for, name))]


def mermaid(spec: CrewSpec) -> str:
    """Return the crew as a Mermaid flow chart: tasks with their agents, needs, conditions and loops."""
    lines = ["flowchart TD"]
    for name, task in spec.tasks.items():
        who = task.agent or (spec.hierarchical.manager if spec.hierarchical else task.run or "")
        lines.append(f'    {name}["{name}<br/>{who}"]')
    for name, waits_for in dependencies(spec).items():
        when = spec.tasks[name].when
        for other in waits_for if spec.process == "graph" else waits_for[-1:]:
            lines.append(f"    {other} -->{_label(when)} {name}")
    for name, task in spec.tasks.items():
        if task.loop:
            label = _label(f"until {task.loop.until}, at most {task.loop.max}")
            lines.append(f"    {name} -.->{label} {task.loop.back_to}")
    if spec.hierarchical:
        for worker in workers_of(spec):
            lines.append(f'    {worker}(["{worker}"])')
            lines.extend(f"    {name} ==> {worker}" for name, task in spec.tasks.items() if not task.run)
    return "\n".join(lines) + "\n"


def workers_of(spec: CrewSpec) -> tuple[str, ...]:
    """Return whom the manager may delegate to: those listed, else every other agent."""
    if spec.hierarchical is None:
        return ()
    return spec.hierarchical.workers or tuple(name for name in spec.agents if name != spec.hierarchical.manager)


def _label(text: str | None) -> str:
    return f'|"{text.replace(chr(34), chr(39))}"|' if text else ""
