"""The dotted names of a crew's conditions, `for_each` and placeholders: whether they lead anywhere."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from quarterdeck.spec import template
from quarterdeck.spec.conditions import Condition
from quarterdeck.spec.crew import CrewSpec, TaskSpec
from quarterdeck.spec.graph import ancestors
from quarterdeck.spec.problem import did_you_mean
from quarterdeck.spec.sentences import Finding
from quarterdeck.spec.text import Place

_UNKNOWN = object()


class Names:
    """What can be named in one crew.

    Args:
        crew: The crew.
        waits_for: Its tasks with those that each waits for.
    """

    def __init__(self, crew: CrewSpec, waits_for: Mapping[str, tuple[str, ...]]) -> None:
        self.crew = crew
        self.before = {name: ancestors(waits_for, name) for name in crew.tasks}

    def of_task(self, name: str, task: TaskSpec) -> Iterator[Finding]:
        """Yield what is wrong with the names that a task reads."""
        place: Place = ("tasks", name)
        for key, text in (("description", task.description), ("expected_output", task.expected_output)):
            yield from self.placeholders((*place, key), text, name)
        for index, begin in enumerate(task.begin):
            for argument, value in begin.arguments.items():
                if isinstance(value, str):
                    yield from self.placeholders((*place, "begin", index, "arguments", argument), value, name)
        if task.when is not None:
            yield from self._condition((*place, "when"), task.when, name, own={})
        if task.for_each is not None:
            yield from self._list((*place, "for_each"), task.for_each, name)
        if task.loop is not None:
            yield from self._condition((*place, "loop", "until"), task.loop.until, name, own=_fields(task))
            if task.loop.only is not None:
                yield from self._only((*place, "loop", "only"), name, task)

    def placeholders(self, place: Place, text: str, task: str = "") -> Iterator[Finding]:
        """Yield the placeholders of a text that name nothing; agents' texts (no task) can name inputs only."""
        for name in sorted(template.placeholders(text)):
            head = name.split(".")[0]
            if not task:
                if head not in self.crew.inputs:
                    hint = did_you_mean(head, self.crew.inputs)
                    yield Finding(place, f"{{{name}}} names no input{hint}{_doubled(head, hint)}")
            elif head == "item":
                if not self.crew.tasks[task].for_each:
                    yield Finding(place, f"{{{name}}} has a value only in a task with for_each")
            elif head not in self.crew.inputs and head not in ("round", "inputs"):
                if wrong := self._wrong(name, task, own={}):
                    yield Finding(place, f"{{{name}}} {wrong}")

    def _condition(self, place: Place, text: str, task: str, own: Any) -> Iterator[Finding]:
        try:
            names = Condition.parse(text).names
        except ValueError as error:
            yield Finding(place, str(error))
            return
        for name in sorted(names):
            head = name.split(".")[0]
            if head not in self.crew.inputs and head not in ("item", "round", "output"):
                if wrong := self._wrong(name, task, own):
                    yield Finding(place, f'"{name}" {wrong}')

    def _wrong(self, name: str, task: str, own: Any) -> str:
        """Why a dotted name leads nowhere when seen from a task; empty when it leads somewhere, or may."""
        head, *rest = name.split(".")
        if head == "inputs":
            known = self.crew.inputs
            return "" if rest and rest[0] in known else f"names no input{did_you_mean('.'.join(rest), known)}"
        if own is _UNKNOWN or (own and head in own):
            return ""
        if head in self.crew.tasks:
            if head == task:
                return "" if own else "names the task itself, which has no output yet"
            if head not in self.before[task]:
                return f'names task "{head}", which comes later'
            return _wrong_field(_fields(self.crew.tasks[head]), head, rest)
        known_names = [*own, *self.before[task], *self.crew.inputs]
        kinds = "no field of this task's output, earlier task or input" if own else "no input or earlier task"
        hint = did_you_mean(head, known_names)
        return f"names {kinds}{hint}{_doubled(head, hint) if not own else ''}"

    def _list(self, place: Place, dotted: str, task: str) -> Iterator[Finding]:
        head, *rest = dotted.split(".")
        if head not in self.before[task]:
            hint = did_you_mean(head, self.before[task]) or ", such as questions.questions"
            yield Finding(place, f'"{dotted[:80]}" names no earlier task{hint}')
            return
        fields = _fields(self.crew.tasks[head])
        if wrong := _wrong_field(fields, head, rest):
            yield Finding(place, f'"{dotted}" {wrong}')
        elif not _may_be_list(fields, rest):
            yield Finding(place, f'"{dotted}" is not a list')

    def _only(self, place: Place, name: str, task: TaskSpec) -> Iterator[Finding]:
        assert task.loop is not None and task.loop.only is not None
        fields, rest = _fields(task), task.loop.only.removeprefix(f"{name}.").split(".")
        if wrong := _wrong_field(fields, name, rest):
            yield Finding(place, f'"{task.loop.only}" {wrong}')
        elif not _may_be_list(fields, rest):
            yield Finding(place, f'"{task.loop.only}" is not a list')
        back = self.crew.tasks.get(task.loop.back_to)
        if back is not None and not back.for_each:
            yield Finding(place, f'task "{task.loop.back_to}" has no for_each whose items could be chosen')


def _fields(task: TaskSpec) -> Any:
    """Return the declared fields of a task's output, without `?`; `_UNKNOWN` where no mapping does."""
    fields = _plain(task.output) if isinstance(task.output, dict) else _UNKNOWN
    return fields if task.for_each is None else [{"item": _UNKNOWN, "output": fields}]


def _plain(fields: Any) -> Any:
    return {k.removesuffix("?"): _plain(v) for k, v in fields.items()} if isinstance(fields, dict) else fields


def _wrong_field(fields: Any, path: str, rest: list[str]) -> str:
    for part in rest:
        if fields is _UNKNOWN:
            return ""
        if not isinstance(fields, dict):
            return f'names a field, but "{path}" is {"a list" if isinstance(fields, list) else "no mapping"}'
        if part not in fields:
            return f'names no field of the output of "{path}"{did_you_mean(part, fields)}'
        fields, path = fields[part], f"{path}.{part}"
    return ""


def _may_be_list(fields: Any, rest: list[str]) -> bool:
    for part in rest:
        if fields is _UNKNOWN:
            return True
        fields = fields[part]
    return fields is _UNKNOWN or isinstance(fields, list)


def _doubled(head: str, hint: str) -> str:
    return "" if hint else f"; declare it under inputs, or write {{{{{head}}}}} if the braces are meant"
