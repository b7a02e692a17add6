"""A workspace: the folder whose `crews/`, `roles/`, `tools/` and `config/` a run uses, the starter's behind them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from quarterdeck.errors import InputError
from quarterdeck.spec.problem import did_you_mean

NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_-]{0,63}")
_YAML = (".yaml", ".yml")
_CREW_FILES = (*_YAML, ".jsonc", ".json")
_CREWAI_FILES = ("crew.jsonc", "crew.json", "agents.yaml", "config/agents.yaml")


def starter() -> Path:
    """Return the workspace that comes with Quarterdeck: in the installed package, or the checkout's root."""
    package = Path(__file__).resolve().parents[1]
    inside = package / "starter"
    return inside if inside.is_dir() else package.parents[1]


@dataclass(frozen=True, slots=True)
class Workspace:
    """The folder that declares what may run. Its own files come first, then the starter's.

    Attributes:
        root: The folder that holds `crews/` and the rest.
    """

    root: Path

    @classmethod
    def find(cls, start: Path | None = None) -> Workspace:
        """Return the workspace around a folder: the nearest one up that holds `crews/`, else the folder itself.

        Args:
            start: Where to look from; the current folder by default.
        """
        here = (start or Path.cwd()).resolve()
        for folder in (here, *here.parents):
            if (folder / "crews").is_dir():
                return cls(folder)
        return cls(here)

    @property
    def runs(self) -> Path:
        """The folder into which runs write, one folder a run."""
        return self.root / "runs"

    @property
    def folders(self) -> tuple[Path, ...]:
        """Where declared files are looked for, in this order."""
        behind = starter()
        return (self.root,) if self.root.resolve() == behind else (self.root, behind)

    def crew_path(self, name_or_path: str | Path) -> Path:
        """Return a crew's file, or its folder when it is a CrewAI project.

        Args:
            name_or_path: A name such as `research`, or a path, looked for in the workspace and the current folder.

        Raises:
            InputError: There is no such crew; the message lists those there are.
        """
        asked = str(name_or_path)
        if NAME.fullmatch(asked):
            for folder in self.folders:
                if found := _crews(folder).get(asked):
                    return found
        for base in (self.root, Path.cwd()):
            path = base / Path(name_or_path).expanduser()
            if path.is_file() or (path.is_dir() and ("/" in asked or "\\" in asked or asked in (".", ".."))):
                return path
        names = self.crew_names()
        known = f"The crews here are: {', '.join(names)}." if names else f"No crews are in {self.root / 'crews'}."
        raise InputError(f'No crew "{asked[:100]}"{did_you_mean(asked, names) or "."} {known}')

    def crew_names(self) -> list[str]:
        """Return the names of all crews, the workspace's own first."""
        return list(dict.fromkeys(name for folder in self.folders for name in _crews(folder)))

    def own_crews(self) -> list[Path]:
        """Return the files of the workspace's own crews."""
        return list(_crews(self.root).values())

    def role_path(self, name: str) -> Path | None:
        """Return a role's file, or None when the library has no such role."""
        return self.file(f"roles/{name}.yaml") or self.file(f"roles/{name}.yml") if NAME.fullmatch(name) else None

    def role_names(self) -> list[str]:
        """Return the names of all roles, the workspace's own first."""
        return list(dict.fromkeys(path.stem for folder in self.folders for path in _files(folder / "roles", _YAML)))

    def memory_names(self) -> list[str]:
        """Return the names of all profiles of memory, the workspace's own first."""
        found = [path.stem for folder in self.folders for path in _files(folder / "memory", (".yaml",))]
        return list(dict.fromkeys([*found, "none"]))

    def own_roles(self) -> list[Path]:
        """Return the files of the workspace's own roles."""
        return list(_files(self.root / "roles", _YAML))

    def tool_files(self) -> list[Path]:
        """Return the Python files of `tools/`; an own file hides the starter's of that name."""
        found: dict[str, Path] = {}
        for folder in self.folders:
            for path in _files(folder / "tools", (".py",)):
                found.setdefault(path.name, path)
        return list(found.values())

    def config_path(self, name: str) -> Path | None:
        """Return a configuration file such as `models.yaml`, or None."""
        return self.file(f"config/{name}")

    def file(self, relative: str) -> Path | None:
        """Return a declared file such as `tools/citations.py`, own or starter's; None when there is none.

        Paths that are absolute or climb out of the workspace are never found.
        """
        path = Path(relative)
        if path.is_absolute() or ".." in path.parts:
            return None
        return next((folder / path for folder in self.folders if (folder / path).is_file()), None)

    def shown(self, path: Path) -> str:
        """Return a path as a person would name it: from the workspace, else from the current folder, else in full."""
        whole = path.resolve()
        for base in (self.root.resolve(), Path.cwd()):
            if whole.is_relative_to(base):
                return whole.relative_to(base).as_posix()
        return str(whole)


def _files(folder: Path, suffixes: tuple[str, ...]) -> Iterator[Path]:
    if folder.is_dir():
        yield from sorted(path for path in folder.iterdir() if path.suffix in suffixes and NAME.fullmatch(path.stem))


def _crews(folder: Path) -> dict[str, Path]:
    """Return the crews of one folder by name; `research.evals.yaml` is none, for its name is no crew's."""
    crews = {path.stem: path for path in reversed([*_files(folder / "crews", _CREW_FILES)])}
    if (folder / "crews").is_dir():
        for path in (folder / "crews").iterdir():
            if path.is_dir() and NAME.fullmatch(path.name) and any((path / name).is_file() for name in _CREWAI_FILES):
                crews.setdefault(path.name, path)
    return dict(sorted(crews.items()))
