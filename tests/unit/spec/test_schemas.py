from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from quarterdeck.spec.schemas import schemas, write_schemas
from quarterdeck.spec.text import read_document
from quarterdeck.spec.workspace import starter

FILES = [*sorted((starter() / "crews").glob("*.yaml")), *sorted((starter() / "roles").glob("*.yaml"))]


def validate(data: Any, name: str) -> None:
    jsonschema.Draft202012Validator(json.loads(schemas()[name])).validate(data)


def test_the_stored_schemas_are_current(tmp_path: Path) -> None:
    write_schemas(tmp_path)
    for name in schemas():
        stored = starter() / "config" / "schema" / name
        assert stored.read_text() == (tmp_path / name).read_text(), (
            'run: python -c "from pathlib import Path; from quarterdeck.spec.schemas import write_schemas;'
            " write_schemas(Path('config/schema'))\""
        )


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_what_comes_with_quarterdeck_fits_them(file: Path) -> None:
    validate(read_document(file).data, "crew.json" if file.parent.name == "crews" else "role.json")


@pytest.mark.parametrize("name", ["models", "limits"])
def test_the_files_of_the_configuration_fit(name: str) -> None:
    validate(read_document(starter() / "config" / f"{name}.yaml").data, f"{name}.json")


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("crew.json", {"crew": "x", "agents": {}, "tasks": {}, "taks": {}}),
        ("crew.json", {"crew": "x", "agents": {"a": {"use": "r", "max_itr": 1}}, "tasks": {}}),
        ("crew.json", {"crew": "x", "agents": {"bad name": {}}, "tasks": {}}),
        ("role.json", {"role": "r", "goal": "g"}),
        ("models.json", {"default": "x", "models": {"a": {"key": "sk"}}}),
    ],
)
def test_editors_see_mistakes(name: str, data: Any) -> None:
    with pytest.raises(jsonschema.ValidationError):
        validate(data, name)


@pytest.mark.parametrize("file", [file for file in FILES if file.parent.name == "roles"], ids=lambda file: file.stem)
def test_library_roles_are_three_short_lines_of_character(file: Path) -> None:
    role = read_document(file).data
    assert list(role) == ["role", "goal", "backstory"]
    assert role["backstory"].count(". ") <= 1
    assert sum(map(len, role.values())) < 400


def test_a_file_of_mcp_servers_fits_and_its_mistakes_are_seen() -> None:
    good: dict[str, Any] = {"servers": {"files": {"command": "mcp-files", "args": ["--ro"], "env": {"A": "env:TOKEN"}}}}
    validate(good, "mcp.json")
    for wrong in ({"comand": "x"}, {"url": "ftp://x"}, {"command": "x", "timeout": 0}):
        with pytest.raises(jsonschema.ValidationError):
            validate({"servers": {"files": wrong}}, "mcp.json")
    with pytest.raises(jsonschema.ValidationError):
        validate({"servers": {"Bad Name": {"command": "x"}}}, "mcp.json")
