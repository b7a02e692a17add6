"""Which tasks wait for which: the one reading of a crew's order, for the checks and for the scheduler."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from quarterdeck.spec.conditions import Condition
from quarterdeck.spec.crew import CrewSpec, TaskSpec
from quarterdeck.spec.template import placeholders


def texts(task: TaskSpec) -> Iterator[str]:
    """Yield the texts of a task in which placeholders are filled."""
    yield task.description
    yield task.expected_output
    for begin in task.begin:
        yield from (value for value in begin.arguments.values() if isinstance(value, str))


def mentions(task: TaskSpec) -> set[str]:
    """Return the first parts of the dotted names that a task reads before and while it runs."""
    names = {name for text in texts(task) for name in placeholders(text)}
    if task.for_each:
        names.add(task.for_each)
    if task.when:
        try:
            names |= Condition.parse(task.when).names
        except ValueError:  # reported by the checks
            pass
    return {name.split(".")[0] for name in names}


def dependencies(crew: CrewSpec) -> dict[str, tuple[str, ...]]:
    """Return for each task those that must have ended before it starts, in file order.

    In a `graph` they are its `needs`, its `context` and the tasks that its `when`, `for_each` and placeholders name;
    in the other processes they are all the tasks above it.
    """
    names = list(crew.tasks)
    if crew.process != "graph":
        return {name: tuple(names[:index]) for index, name in enumerate(names)}
    return {
        name: tuple(n for n in names if n in {*task.needs, *(task.context or ()), *(mentions(task) - {name})})
        for name, task in crew.tasks.items()
    }


def ancestors(waits_for: Mapping[str, tuple[str, ...]], name: str) -> set[str]:
    """Return all tasks that a task waits for, directly or through others."""
    found: set[str] = set()
    open_ = list(waits_for.get(name, ()))
    while open_:
        if (task := open_.pop()) not in found:
            found.add(task)
            open_ += waits_for.get(task, ())
    return found


def find_cycle(waits_for: Mapping[str, tuple[str, ...]]) -> list[str]:
    """Return tasks that wait for each other in a circle, the first one repeated at the end; empty when none do."""
    done: set[str] = set()
    for start in waits_for:
        path: list[str] = []
        stack: list[tuple[str, Iterator[str]]] = [(start, iter(waits_for[start]))] if start not in done else []
        while stack:
            task, rest = stack[-1]
            if len(path) < len(stack):
                path.append(task)
            following = next((n for n in rest if n not in done), None)
            if following is None:
                done.add(task)
                stack.pop()
                path.pop()
            elif following in path:
                return [*path[path.index(following) :], following]
            else:
                stack.append((following, iter(waits_for.get(following, ()))))
    return []
