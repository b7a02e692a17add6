"""CrewAI's own project files, taken over as they are: `agents.yaml` with `tasks.yaml`, and `crew.jsonc`."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, NoReturn

from quarterdeck.errors import SpecError
from quarterdeck.spec.crew import CrewSpec
from quarterdeck.spec.crewai_keys import AGENT, CREW, PREFIXES, TASK, Keys
from quarterdeck.spec.crossref import check_crew
from quarterdeck.spec.load import MAX_PROBLEMS, check_models, load_models, read_role
from quarterdeck.spec.problem import Problem, did_you_mean
from quarterdeck.spec.sentences import covered, findings
from quarterdeck.spec.template import placeholders
from quarterdeck.spec.text import Document, Place, read_document
from quarterdeck.spec.workspace import Workspace

MANAGER = "manager"


@dataclass(frozen=True, slots=True)
class Imported:
    """A CrewAI project as a crew.

    Attributes:
        crew: The crew.
        notes: What stands in the project and has no effect here, a sentence each.
    """

    crew: CrewSpec
    notes: tuple[str, ...]


def load_crewai(path: Path, workspace: Workspace, known_tools: Collection[str] | None = None) -> Imported:
    """Load a CrewAI project.

    Args:
        path: Its folder (with `crew.jsonc`, or `agents.yaml` and `tasks.yaml`, also in `config/` or `src/*/config/`),
            or the path of its `crew.jsonc`.
        workspace: Where tools, models and the manager's role are looked for.
        known_tools: The tools that there are; None leaves tool names unchecked.

    Raises:
        SpecError: Something is wrong or changes the crew in a way that is not taken over; carries every problem.
    """
    translation = _Translation(workspace)
    if path.is_file():
        translation.json(path)
    else:
        _folder(path, translation)
    crew, found = findings(CrewSpec, translation.data, {"agents": {}, "tasks": {}})
    if crew is not None:
        checks = [*check_crew(crew, known_tools, workspace.file), *check_models(crew, workspace)]
        found += [finding for finding in checks if not covered(finding, found)]
    reported = {(problem.file, problem.line, problem.column) for problem in translation.problems}
    # A key that was refused has its problem already, and what follows from it is not another.
    later = [translation.problem(finding.at or finding.place, finding.what) for finding in found]
    problems = translation.problems + [p for p in later if (p.file, p.line, p.column) not in reported]
    if problems or crew is None:
        raise SpecError(sorted(set(problems))[:MAX_PROBLEMS])
    return Imported(crew, tuple(dict.fromkeys(translation.notes)))


def _folder(folder: Path, translation: _Translation) -> None:
    for name in ("crew.jsonc", "crew.json"):
        if (folder / name).is_file():
            return translation.json(folder / name)
    shown = translation.workspace.shown(folder)
    places = [folder, folder / "config", *sorted(folder.glob("src/*/config"))]
    with_agents = [place for place in places if (place / "agents.yaml").is_file()]
    if not with_agents:
        what = "no CrewAI project: neither crew.jsonc, nor agents.yaml in it, in config/ or in src/*/config/"
        _refuse(shown, what)
    if len(with_agents) > 1:
        listed = ", ".join(translation.workspace.shown(place) for place in with_agents)
        _refuse(shown, f"several CrewAI crews: {listed}; name one of these folders")
    if not (with_agents[0] / "tasks.yaml").is_file():
        _refuse(translation.workspace.shown(with_agents[0] / "agents.yaml"), "there is no tasks.yaml beside it")
    translation.yaml(folder, with_agents[0])
    return None


def _refuse(shown: str, what: str) -> NoReturn:
    raise SpecError([Problem(shown, 1, 1, "", what)])


@dataclass(slots=True)
class _Translation:
    """The project in our words, and for each place of it where it came from."""

    workspace: Workspace
    data: dict[str, Any] = field(default_factory=lambda: {"crew": "", "agents": {}, "tasks": {}})
    origins: dict[Place, tuple[Document, Place]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)

    def yaml(self, project: Path, config: Path) -> None:
        """Take over `agents.yaml` and `tasks.yaml`."""
        self.data["crew"] = _slug(project.resolve().name)
        agents, tasks = self._read(config / "agents.yaml"), self._read(config / "tasks.yaml")
        self.origins[()] = self.origins["agents",] = (agents, ())
        self.origins["tasks",] = (tasks, ())
        self.notes.append(f"{agents.file}: crew.py beside it is not read; the process is sequential")
        for name, agent in _mapping(agents):
            self._agent(agents, (name,), name, agent)
        for name, task in _mapping(tasks):
            self._task(tasks, (name,), name, task)
        self._inputs({}, tasks, ())

    def json(self, path: Path) -> None:
        """Take over `crew.jsonc` and the `agents/NAME.jsonc` that it names."""
        document = self._read(path)
        data = dict(_mapping(document))
        self.origins[()] = (document, ())
        self._keys(document, (), data, CREW)
        self.data["crew"] = _slug(str(data.get("name") or path.resolve().parent.name))
        agents = data.get("agents")
        for index, name in enumerate(agents if isinstance(agents, list) else ()):
            self._agent_file(document, ("agents", index), path.parent, name)
        self.origins["agents",] = (document, ("agents",))
        self.origins["tasks",] = (document, ("tasks",))
        tasks = data.get("tasks")
        for index, task in enumerate(tasks if isinstance(tasks, list) else ()):
            name = str(task.get("name") or f"task_{index + 1}") if isinstance(task, dict) else f"task_{index + 1}"
            self._task(document, ("tasks", index), name, task)
        self._process(document, data, path.parent)
        self._inputs(data.get("inputs") or {}, document, ("inputs",))

    def problem(self, place: Place, what: str) -> Problem:
        """Return a problem with a place of our data, said of where it came from."""
        for end in range(len(place), -1, -1):
            if place[:end] in self.origins:
                document, source = self.origins[place[:end]]
                # Our word for what follows is not theirs, but better than none.
                line, column = document.position((*source, *place[end:]))
                where = ".".join(str(part) for part in (*source, *place[end:]))
                return Problem(document.file, line, column, where, what)
        raise AssertionError("the top has an origin")  # pragma: no cover

    def _read(self, path: Path) -> Document:
        return read_document(path, self.workspace.shown(path))

    def _wrong(self, document: Document, place: Place, what: str, at: Place | None = None) -> None:
        self.problems.append(document.problem(place, what, at=at))

    def _keys(self, document: Document, place: Place, data: dict[str, Any], keys: Keys) -> None:
        """Say of each key that is not taken over whether that matters."""
        for key, value in data.items():
            if key in keys.taken or (key in keys.known and not value):
                continue
            if key in keys.refused:
                self._wrong(document, (*place, key), keys.refused[key])
            elif key in keys.harmless:
                self.notes.append(f"{document.file}: {key} has no effect here")
            else:
                hint = did_you_mean(key, keys.known)
                self._wrong(document, place, f'unknown key "{key[:80]}"{hint}', at=(*place, key))

    def _agent(self, document: Document, place: Place, name: str, data: Any) -> str:
        ours = _slug(name)
        self.origins["agents", ours] = (document, place)
        if not isinstance(data, dict):
            self._wrong(document, place, "must be a mapping")
            self.data["agents"][ours] = {"role": "?", "goal": "?", "backstory": "?"}
            return ours
        self._keys(document, place, data, AGENT)
        settings = data.get("settings")
        if isinstance(settings, dict):
            self._keys(document, (*place, "settings"), settings, AGENT)
            data = {**data, **settings}
        agent: dict[str, Any] = {key: _text(data[key]) for key in ("role", "goal", "backstory") if key in data}
        for key, theirs in (("max_turns", "max_iter"), ("max_tokens", "max_tokens")):
            if data.get(theirs) is not None:
                agent[key] = data[theirs]
                inside = ("settings", theirs) if isinstance(settings, dict) and theirs in settings else (theirs,)
                self.origins["agents", ours, key] = (document, (*place, *inside))
        if data.get("llm"):
            agent["model"] = self._model(document, (*place, "llm"), data["llm"])
            self.origins["agents", ours, "model"] = (document, (*place, "llm"))
        if data.get("tools"):
            agent["tools"] = self._tools(document, (*place, "tools"), data["tools"])
        self.data["agents"][ours] = agent
        return ours

    def _agent_file(self, document: Document, place: Place, folder: Path, name: Any) -> str | None:
        if not isinstance(name, str) or not name or "/" in name or "\\" in name:
            self._wrong(document, place, "must be the name of a file in agents/, without its ending")
            return None
        for suffix in (".jsonc", ".json"):
            if (path := folder / "agents" / f"{name}{suffix}").is_file():
                agent = self._read(path)
                return self._agent(agent, (), name, agent.data)
        self._wrong(document, place, f"no file agents/{name[:80]}.jsonc or agents/{name[:80]}.json")
        # Its name is known, so tasks that name it are not wrong too.
        self.data["agents"][_slug(name)] = {"role": "?", "goal": "?", "backstory": "?"}
        return _slug(name)

    def _task(self, document: Document, place: Place, name: str, data: Any) -> None:
        ours = _slug(name)
        if ours in self.data["tasks"]:
            self._wrong(document, place, f'a second task named "{ours}"; give one another name')
            return
        self.origins["tasks", ours] = (document, place)
        if not isinstance(data, dict):
            self._wrong(document, place, "must be a mapping")
            return
        self._keys(document, place, data, TASK)
        task: dict[str, Any] = {
            key: _text(data[key]) for key in ("description", "expected_output") if data.get(key) is not None
        }
        if data.get("agent") is not None:
            task["agent"] = _slug(data["agent"]) if isinstance(data["agent"], str) else data["agent"]
        if data.get("context") is not None:
            context = data["context"]
            task["context"] = [_slug(n) if isinstance(n, str) else n for n in context] if _is_list(context) else context
        if data.get("tools"):
            task["tools"] = self._tools(document, (*place, "tools"), data["tools"])
            # There a task's tools stand in place of its agent's; here they narrow them, so the agent has them too.
            agent = self.data["agents"].get(task.get("agent"))
            if isinstance(agent, dict):
                agent["tools"] = list(dict.fromkeys([*agent.get("tools", []), *task["tools"]]))
        if isinstance(data.get("output_file"), str) and data["output_file"]:
            task["save_as"] = self._file(document, data["output_file"])
        self.data["tasks"][ours] = task

    def _process(self, document: Document, data: dict[str, Any], folder: Path) -> None:
        process = data.get("process") or "sequential"
        self.data["process"] = process
        if process != "hierarchical":
            return
        workers = list(self.data["agents"])
        manager: str | None = None
        if data.get("manager_agent"):
            manager = self._agent_file(document, ("manager_agent",), folder, data["manager_agent"])
        elif data.get("manager_llm"):
            manager = self._library_manager(document, data["manager_llm"])
        else:
            self._wrong(document, ("process",), "a hierarchical crew has a manager_agent or a manager_llm")
        if manager is None:
            return
        self.origins["hierarchical",] = (document, ("manager_agent",) if data.get("manager_agent") else ("process",))
        self.data["hierarchical"] = {"manager": manager, "workers": [name for name in workers if name != manager]}
        for task in self.data["tasks"].values():
            # The manager has each task done, whoever it names; so CrewAI does it.
            task.pop("agent", None)
            task.pop("tools", None)

    def _library_manager(self, document: Document, llm: Any) -> str:
        path = self.workspace.role_path(MANAGER)
        fields = read_role(self._read(path))[0] if path else dict.fromkeys(("role", "goal", "backstory"), "?")
        self.data["agents"][MANAGER] = {**fields, "model": self._model(document, ("manager_llm",), llm)}
        self.origins["agents", MANAGER, "model"] = (document, ("manager_llm",))
        return MANAGER

    def _inputs(self, defaults: Any, document: Document, place: Place) -> None:
        if not isinstance(defaults, dict):
            self._wrong(document, place, "must be a mapping of inputs to their defaults")
            defaults = {}
        texts = [
            str(text)
            for kind in ("agents", "tasks")
            for entry in self.data[kind].values()
            for text in (entry.get(k) for k in ("role", "goal", "backstory", "description", "expected_output"))
            if text
        ]
        found = {name for text in texts for name in placeholders(text) if "." not in name}
        inputs: dict[str, Any] = {name: {"type": "string"} for name in sorted(found)}
        for name, value in defaults.items():
            self.origins["inputs", name] = (document, (*place, name))
            inputs[name] = {"type": _type(value), "default": value}
        self.data["inputs"] = inputs

    def _model(self, document: Document, place: Place, llm: Any) -> str:
        if not isinstance(llm, str):
            self._wrong(document, place, "declare this model in config/models.yaml and write its name here")
            return ""
        if "/" in llm or load_models(self.workspace).knows(llm):
            return llm
        provider = next((PREFIXES[prefix] for prefix in PREFIXES if llm.startswith(prefix)), None)
        return f"{provider}/{llm}" if provider else llm

    def _tools(self, document: Document, place: Place, tools: Any) -> list[str]:
        if not _is_list(tools):
            self._wrong(document, place, "must be a list such as [a, b]")
            return []
        names = []
        for index, tool in enumerate(tools):
            if isinstance(tool, str):
                names.append(tool.removeprefix("custom:").replace(":", "."))
            else:
                self._wrong(document, (*place, index), "tools are named here and defined in tools/*.py")
        return names

    def _file(self, document: Document, output_file: str) -> str:
        name = re.sub(r"[^A-Za-z0-9._-]+", "_", PurePosixPath(output_file.replace("\\", "/")).name).strip("._-")
        name = name[:100] or "output.txt"
        if name != output_file:
            self.notes.append(f"{document.file}: {output_file[:100]} is written as {name} into the run's own folder")
        return name


def _mapping(document: Document) -> list[tuple[str, Any]]:
    if not isinstance(document.data, dict):
        raise SpecError([document.problem((), "must be a mapping" if document.data else "the file is empty")])
    return list(document.data.items())


def _is_list(value: Any) -> bool:
    return isinstance(value, list)


def _text(value: Any) -> Any:
    return value.strip() if isinstance(value, str) else value


def _slug(name: str) -> str:
    slug = re.sub(r"[^A-Za-z0-9_-]+", "_", name).strip("_")[:64] or "crew"
    return slug if re.match(r"[A-Za-z_]", slug) else f"_{slug}"[:64]


def _type(value: Any) -> str:
    kinds = {bool: "boolean", int: "integer", float: "number"}
    return kinds.get(type(value), "string")
