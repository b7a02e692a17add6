"""Finding the tools of a workspace, and importing the files that define them: by path, and only when asked for."""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import re
import sys
import threading
import traceback
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from quarterdeck.errors import SpecError
from quarterdeck.spec.problem import Problem, did_you_mean
from quarterdeck.tools.outline import Outline, definitions, mistakes, outlines
from quarterdeck.tools.versions import doubles, names_of

if TYPE_CHECKING:
    from quarterdeck.tools.tool import Tool

MAX_BYTES = 1_000_000
PREFIX = "quarterdeck_tools_"
"""How the names of the modules begin that were made of tools files."""
_REFERENCE = re.compile(r"^tools/((?:[A-Za-z_]\w*/)*[A-Za-z_]\w*\.py):([A-Za-z_]\w*)$")
_importing = threading.RLock()


class Toolbox(Mapping[str, "Tool"]):
    """The tools of a workspace by name.

    Names are read from the files' text; a file is imported when one of its tools is first asked for. So nothing
    runs that nobody uses.

    Args:
        tools: Tools that come from elsewhere, such as CrewAI's.
    """

    def __init__(self, tools: Iterable[Tool] = ()) -> None:
        self._tools = {tool.name: tool for tool in tools}
        self._places: dict[str, tuple[Path, Outline]] = {}
        self._root = Path()

    @classmethod
    def load(cls, folders: Sequence[Path], *, display_root: Path) -> Toolbox:
        """Find the tools of some folders.

        Args:
            folders: Where to look, the user's own first: a file hides one of the same name in a later folder.
            display_root: What paths in problems are relative to.

        Raises:
            SpecError: A file cannot be read, or a tool has no types or descriptions; carries every problem.
        """
        box = cls()
        box._root = display_root
        problems: list[Problem] = []
        for file in tool_files(folders):
            found = check_file(file, display_root)
            problems += found
            if not found:
                named = names_of(file.stem, outlines(_parse(file)))
                box._places |= {name: (file, item) for name, item in named.items()}
        if problems:
            raise SpecError(problems)
        return box

    def __getitem__(self, name: str) -> Tool:
        """Return a tool, importing its file first if need be.

        Raises:
            KeyError: There is none of this name.
            SpecError: Its file cannot be imported; says where.
        """
        if name not in self._tools:
            from quarterdeck.tools.signature import tool_from_function

            file, outline = self._places[name]
            function = getattr(load_module(file, self._root), outline.function)
            self._tools[name] = tool_from_function(function, name, file=_shown(file, self._root))
        return self._tools[name]

    def __contains__(self, name: object) -> bool:
        """Say whether there is such a tool, without importing it."""
        return name in self._tools or name in self._places

    def __iter__(self) -> Iterator[str]:
        """Yield the names in alphabetical order, without importing anything."""
        return iter(self.names)

    def __len__(self) -> int:
        """Return how many tools there are."""
        return len(self.names)

    @property
    def names(self) -> tuple[str, ...]:
        """The names in alphabetical order."""
        return tuple(sorted({*self._tools, *self._places}))

    def add(self, tool: Tool) -> None:
        """Add a tool; it takes the place of one of the same name."""
        self._tools[tool.name] = tool


def tool_files(folders: Iterable[Path]) -> list[Path]:
    """Return the files that define tools: `*.py` with a plain name, the first folder's before a later one's."""
    found: dict[str, Path] = {}
    for folder in folders:
        for file in sorted(folder.glob("*.py")) if folder.is_dir() else ():
            if file.stem.isidentifier() and not file.stem.startswith("_") and file.is_file():
                found.setdefault(file.stem, file)
    return list(found.values())


def tool_names(files: Iterable[Path]) -> list[str]:
    """Return the names of the tools in some files, without running them; a file that cannot be read has none."""
    names: list[str] = []
    for file in files:
        try:
            names += names_of(file.stem, outlines(_parse(file)))
        except (OSError, ValueError, SyntaxError, RecursionError):
            continue
    return names


def deprecated_tools(files: Iterable[Path]) -> dict[str, str]:
    """Return what the deprecated tools in some files say (from when on, what to use in their place), by name."""
    found: dict[str, str] = {}
    for file in files:
        try:
            named = names_of(file.stem, outlines(_parse(file)))
        except (OSError, ValueError, SyntaxError, RecursionError):
            continue
        found |= {name: outline.deprecated for name, outline in named.items() if outline.deprecated}
    return found


def check_file(file: Path, display_root: Path) -> list[Problem]:
    """Return what is wrong with a tools file as far as its text tells; none of it is run.

    Args:
        file: The file.
        display_root: What its path in problems is relative to.
    """
    shown = _shown(file, display_root)
    try:
        found = outlines(_parse(file))
    except SyntaxError as error:
        return [Problem(shown, error.lineno or 1, error.offset or 1, "", f"this is not Python: {error.msg}")]
    except (OSError, ValueError, RecursionError) as error:
        return [Problem(shown, 1, 1, "", f"cannot be read: {error}")]
    wrong = [*(mistake for outline in found for mistake in mistakes(outline)), *doubles(found)]
    return [Problem(shown, line, 1, where, what) for line, where, what in wrong]


def reference_mistake(reference: str, folders: Sequence[Path]) -> str:
    """Return what is wrong with a reference such as `tools/citations.py:Facts`, or nothing; runs no code."""
    try:
        file, name = find_reference(reference, folders)
        known = definitions(_parse(file))
    except LookupError as error:
        return str(error.args[0])
    except (OSError, ValueError, SyntaxError, RecursionError) as error:
        return f"{reference}: the file cannot be read: {error}"
    return "" if name in known else _no_such_name(reference, name, known)


def find_reference(reference: str, folders: Sequence[Path]) -> tuple[Path, str]:
    """Return the file and the name that `tools/file.py:name` stands for.

    Raises:
        LookupError: It has another form, or none of the folders has such a file.
    """
    match = _REFERENCE.match(reference)
    if match is None:
        raise LookupError(f'"{reference[:200]}" names no Python object; write it as tools/file.py:name')
    for folder in folders:
        file = (folder / match[1]).resolve()
        if file.is_file() and file.is_relative_to(folder.resolve()):
            return file, match[2]
    known = [f"tools/{file.name}" for file in tool_files(folders)]
    where = f"tools/{match[1]}"
    raise LookupError(f"there is no file {where}{did_you_mean(where, known)}")


def load_object(reference: str, folders: Sequence[Path], *, display_root: Path | None = None) -> Any:
    """Return what `tools/citations.py:Facts` stands for: an output model, a guardrail, the function of a `run:` task.

    Args:
        reference: `tools/file.py:name`.
        folders: The tools folders, the user's own first. Nothing outside them is ever loaded.
        display_root: What paths in problems are relative to; the first folder's parent by default.

    Raises:
        SpecError: There is no such file or name, or the file cannot be imported.
    """
    root = display_root or (folders[0].parent if folders else Path())
    try:
        file, name = find_reference(reference, folders)
    except LookupError as error:
        raise SpecError([Problem(reference.partition(":")[0][:200], 1, 1, "", str(error.args[0]))]) from None
    module = load_module(file, root)
    if name.startswith("_") or name not in vars(module):
        known = [key for key in vars(module) if not key.startswith("_")]
        raise SpecError([Problem(_shown(file, root), 1, 1, "", _no_such_name(reference, name, known))])
    return getattr(module, name)


def load_module(file: Path, display_root: Path) -> ModuleType:
    """Import a file by its path, once for each state of its text.

    Args:
        file: The file.
        display_root: What its path in problems is relative to.

    Raises:
        SpecError: It raised while it was imported; names the line.
    """
    file = file.resolve()
    shown = _shown(file, display_root)
    try:
        digest = hashlib.sha256(str(file).encode() + b"\0" + _read(file)).hexdigest()[:16]
    except (OSError, ValueError) as error:
        raise SpecError([Problem(shown, 1, 1, "", f"cannot be read: {error}")]) from None
    name = f"{PREFIX}{digest}_{file.stem}"
    with _importing:
        if name in sys.modules:
            return sys.modules[name]
        spec = importlib.util.spec_from_file_location(name, file)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        # pydantic and dataclasses look a class's module up by name
        sys.modules[name] = module
        try:
            spec.loader.exec_module(module)
        except (Exception, SystemExit) as error:
            del sys.modules[name]
            raise SpecError([_broken(file, shown, error)]) from error
    return module


def _broken(file: Path, shown: str, error: BaseException) -> Problem:
    if isinstance(error, SyntaxError) and error.filename == str(file):
        return Problem(shown, error.lineno or 1, error.offset or 1, "", f"this is not Python: {error.msg}")
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(file)]
    line = (frames[-1].lineno or 1) if frames else 1
    return Problem(shown, line, 1, "", f"importing it failed: {type(error).__name__}: {error}")


def _parse(file: Path) -> ast.Module:
    return _parsed(_read(file), str(file))


@lru_cache(maxsize=64)
def _parsed(source: bytes, name: str) -> ast.Module:
    """Return a text as a tree that nobody changes: names, mistakes and advice are read out of the same one."""
    return ast.parse(source, filename=name)


def _read(file: Path) -> bytes:
    if file.stat().st_size > MAX_BYTES:
        raise ValueError(f"it is larger than {MAX_BYTES:,} bytes")
    return file.read_bytes()


def _no_such_name(reference: str, name: str, known: Iterable[str]) -> str:
    public = sorted(key for key in known if not key.startswith("_"))
    return f'{reference.partition(":")[0]} has no "{name}"{did_you_mean(name, public)}'


def _shown(file: Path, root: Path) -> str:
    for base in (root, root.resolve()):
        if file.is_relative_to(base):
            return str(file.relative_to(base))
    return str(file)
