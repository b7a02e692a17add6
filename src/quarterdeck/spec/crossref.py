"""What can only be seen across a whole crew: names that lead nowhere, circles, conditions and placeholders."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Collection, Iterable, Iterator
from pathlib import Path
from typing import Any

from quarterdeck.spec.crew import BeginSpec, CrewSpec, InputSpec, TaskSpec
from quarterdeck.spec.graph import ancestors, dependencies, find_cycle
from quarterdeck.spec.judges import own_judges
from quarterdeck.spec.names import Names
from quarterdeck.spec.output import model_from_fields
from quarterdeck.spec.problem import did_you_mean
from quarterdeck.spec.sentences import Finding, missing
from quarterdeck.spec.text import MAX_BYTES, Place

RESERVED = ("item", "round", "inputs", "output")
"""Names that mean something in conditions and placeholders, so no input or task may have them."""

_FUNCTION = re.compile(r"(tools/[A-Za-z_][A-Za-z0-9_]{0,63}\.py):([A-Za-z_][A-Za-z0-9_]{0,99})")

FindFile = Callable[[str], Path | None]


def check_crew(
    crew: CrewSpec, known_tools: Collection[str] | None = None, find_file: FindFile | None = None
) -> list[Finding]:
    """Check the names of a crew against each other.

    Args:
        crew: The crew, roles merged in.
        known_tools: The tools that there are; None when that is not known.
        find_file: Finds a file such as `tools/citations.py`; without it references to Python are checked by form only.
    """
    checks = _Checks(crew, known_tools, find_file)
    return [
        *checks.inputs(),
        *checks.agents(),
        *(finding for name, task in crew.tasks.items() for finding in checks.task(name, task)),
        *checks.order(),
        *own_judges(crew),
        *checks.crew_as_a_whole(),
    ]


class _Checks:
    def __init__(self, crew: CrewSpec, known_tools: Collection[str] | None, find_file: FindFile | None) -> None:
        self.crew = crew
        self.known_tools = known_tools
        self.find_file = find_file
        self.waits_for = dependencies(crew)
        self.defined: dict[Path, list[str]] = {}
        self.names = Names(crew, self.waits_for)

    def inputs(self) -> Iterator[Finding]:
        for name, spec in self.crew.inputs.items():
            place = ("inputs", name)
            if name in RESERVED:
                yield Finding(place, f'"{name}" has a meaning of its own in conditions; choose another name')
            if name in self.crew.tasks:
                yield Finding(place, f'a task is named "{name}" too; placeholders could not tell them apart')
            if wrong := _wrong_default(spec):
                yield Finding((*place, "default"), wrong)

    def agents(self) -> Iterator[Finding]:
        for name, agent in self.crew.agents.items():
            place = ("agents", name)
            for key in ("role", "goal", "backstory"):
                text = getattr(agent, key)
                if not text.strip():
                    yield Finding((*place, key), missing(key))
                yield from self.names.placeholders((*place, key), text)
            for index, tool in enumerate(agent.tools):
                yield from self._tool((*place, "tools", index), tool)

    def task(self, name: str, task: TaskSpec) -> Iterator[Finding]:
        place: Place = ("tasks", name)
        if name in RESERVED:
            yield Finding(place, f'"{name}" has a meaning of its own in conditions; choose another name')
        yield from self._who(place, task)
        if not task.run:
            for key in ("description", "expected_output"):
                if not getattr(task, key).strip():
                    yield Finding((*place, key), missing(key))
        if task.run:
            yield from self._functions((*place, "run"), task.run)
        yield from self._functions((*place, "guardrails"), *task.guardrails, listed=True)
        yield from self._output((*place, "output"), task.output)
        yield from self._begin((*place, "begin"), task.begin)
        yield from self._granted(place, task)
        for key in ("context", "needs"):
            for index, other in enumerate(getattr(task, key) or ()):
                yield from self._earlier((*place, key, index), name, other)
        yield from self.names.of_task(name, task)

    def _who(self, place: Place, task: TaskSpec) -> Iterator[Finding]:
        if task.agent and task.run:
            yield Finding((*place, "run"), "a task has an agent or a function to run, not both")
        elif not task.agent and not task.run and not self.crew.hierarchical:
            yield Finding((*place, "agent"), "missing; name who does it, or a function with run")
        if task.agent:
            yield from self._agent((*place, "agent"), task.agent)

    def _agent(self, place: Place, name: str) -> Iterator[Finding]:
        if name not in self.crew.agents:
            yield Finding(place, f'no agent "{name}" in this crew{_hint(name, self.crew.agents)}')

    def _output(self, place: Place, output: str | dict[str, Any] | None) -> Iterator[Finding]:
        if isinstance(output, dict):
            try:
                model_from_fields(str(place[-2]), output)
            except ValueError as error:
                yield Finding(place, str(error))
        elif output is not None:
            yield from self._functions(place, output)

    def _begin(self, place: Place, begin: Iterable[BeginSpec]) -> Iterator[Finding]:
        for index, call in enumerate(begin):
            yield from self._tool((*place, index, "tool"), call.tool)

    def _functions(self, place: Place, *references: str, listed: bool = False) -> Iterator[Finding]:
        for index, reference in enumerate(references):
            if wrong := self._function(reference):
                yield Finding((*place, index) if listed else place, wrong)

    def _function(self, reference: str) -> str:
        """Say what is wrong with a reference such as `tools/citations.py:Facts`; empty when nothing is."""
        match = _FUNCTION.fullmatch(reference)
        if not match:
            return f'"{reference[:80]}" names nothing; write tools/FILE.py:NAME'
        if self.find_file is None:
            return ""
        file, name = match.groups()
        path = self.find_file(file)
        if path is None:
            return f"no file {file} in this workspace"
        if path not in self.defined:
            self.defined[path] = _defined(path)
        names = self.defined[path]
        return "" if name in names else f'no "{name}" in {file}{_hint(name, names)}'

    def _tool(self, place: Place, tool: str) -> Iterator[Finding]:
        if self.known_tools is not None and tool not in self.known_tools:
            yield Finding(place, f'no tool "{tool}"{_hint(tool, self.known_tools)}')

    def _granted(self, place: Place, task: TaskSpec) -> Iterator[Finding]:
        if task.run and task.model:
            yield Finding((*place, "model"), "a task that runs a function asks no model")
        if task.run and (task.tools or task.begin):
            key = "tools" if task.tools else "begin"
            yield Finding((*place, key), "a task that runs a function has no agent to use tools")
            return
        agent = self.crew.agents.get(task.agent or "")
        for index, tool in enumerate(task.tools or ()):
            if agent is not None and tool not in agent.tools:
                unknown = self.known_tools is not None and tool not in self.known_tools
                hint = did_you_mean(tool, agent.tools) if unknown else f"; add it to agents.{task.agent}.tools"
                yield Finding((*place, "tools", index), f'tool "{tool}" is not granted to agent "{task.agent}"{hint}')

    def _earlier(self, place: Place, name: str, other: str) -> Iterator[Finding]:
        if other not in self.crew.tasks:
            yield Finding(place, f'no task "{other}" in this crew{_hint(other, self.crew.tasks)}')
        elif other == name:
            yield Finding(place, "a task cannot wait for itself")
        elif self.crew.process != "graph" and other not in self.waits_for[name]:
            yield Finding(place, f'task "{other}" comes later in a {self.crew.process} crew; move it above this one')

    def order(self) -> Iterator[Finding]:
        cycle = find_cycle({n: tuple(o for o in others if o != n) for n, others in self.waits_for.items()})
        if cycle:
            yield Finding(("tasks", cycle[0]), f"waits for itself: {' > '.join(cycle)}; remove one of these needs")
        for name, task in self.crew.tasks.items():
            if task.loop is None:
                continue
            back, place = task.loop.back_to, ("tasks", name, "loop", "back_to")
            if back not in self.crew.tasks:
                yield Finding(place, f'no task "{back}" in this crew{_hint(back, self.crew.tasks)}')
            elif back == name or back not in ancestors(self.waits_for, name):
                yield Finding(place, f'"{back}" is not an earlier task than "{name}"; a loop goes back')

    def crew_as_a_whole(self) -> Iterator[Finding]:
        crew = self.crew
        if not crew.tasks:
            yield Finding(("tasks",), missing("tasks"))
        if crew.report and crew.report not in crew.tasks:
            yield Finding(("report",), f'no task "{crew.report}" in this crew{_hint(crew.report, crew.tasks)}')
        for number, source in enumerate(crew.knowledge):
            if "://" in source and not source.startswith(("https://", "http://")):
                yield Finding(("knowledge", number), "write a folder, a file, or a URL that starts with https://")
        saved: dict[str, str] = {}
        for name, task in crew.tasks.items():
            if task.save_as and (first := saved.setdefault(task.save_as, name)) != name:
                yield Finding(("tasks", name, "save_as"), f'task "{first}" writes {task.save_as} already')
        yield from self._delegation()

    def _delegation(self) -> Iterator[Finding]:
        crew = self.crew
        if crew.hierarchical is None:
            if crew.process == "hierarchical":
                what = "missing; a hierarchical crew names its manager, such as hierarchical: {manager: lead}"
                yield Finding(("hierarchical",), what)
            return
        if crew.process != "hierarchical":
            yield Finding(("hierarchical",), "only a crew with process: hierarchical has a manager")
        yield from self._output(("hierarchical", "output"), crew.hierarchical.output)
        yield from self._functions(("hierarchical", "guardrails"), *crew.hierarchical.guardrails, listed=True)
        yield from self._begin(("hierarchical", "begin"), crew.hierarchical.begin)
        yield from self._agent(("hierarchical", "manager"), crew.hierarchical.manager)
        for index, worker in enumerate(crew.hierarchical.workers):
            yield from self._agent(("hierarchical", "workers", index), worker)
            if worker == crew.hierarchical.manager:
                yield Finding(("hierarchical", "workers", index), "the manager cannot delegate to itself")


def _defined(path: Path) -> list[str]:
    """Return the names that a Python file defines at its top. It is not imported: a check runs nobody's code."""
    try:
        body = ast.parse(path.read_bytes()[:MAX_BYTES]).body
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError):
        return []
    names: list[str] = []
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.append(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names += [alias.asname or alias.name for alias in node.names]
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names += [target.id for target in targets if isinstance(target, ast.Name)]
    return names


def _hint(word: str, known: Iterable[str]) -> str:
    names = list(known)
    near = did_you_mean(word, names)
    return near or (f"; there are {', '.join(names)}" if 0 < len(names) <= 6 else "")


def _wrong_default(spec: InputSpec) -> str:
    value = spec.default
    if value is None:
        return ""
    match spec.type:
        case "boolean":
            right = isinstance(value, bool)
        case "integer":
            right = isinstance(value, int) and not isinstance(value, bool)
        case "number":
            right = isinstance(value, int | float) and not isinstance(value, bool)
        case _:
            right = isinstance(value, str)
    if right:
        return ""
    quotes = "; put it in quotes" if spec.type in ("string", "file", "folder") else ""
    return f'the default of a {spec.type} cannot be "{value}"{quotes}'
