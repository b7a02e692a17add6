from __future__ import annotations

from pathlib import Path

import pytest

from quarterdeck.errors import InputError
from quarterdeck.spec.workspace import Workspace, starter


def make(root: Path, *files: str) -> Workspace:
    for name in files:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("")
    return Workspace(root)


def test_the_starter_holds_the_canned_files() -> None:
    assert (starter() / "roles" / "researcher.yaml").is_file()
    assert (starter() / "config" / "models.yaml").is_file()


def test_the_nearest_folder_with_crews_is_found(tmp_path: Path) -> None:
    make(tmp_path, "crews/a.yaml", "deep/er/x")
    assert Workspace.find(tmp_path / "deep" / "er").root == tmp_path
    assert Workspace.find(tmp_path / "deep" / "er").runs == tmp_path / "runs"


def test_without_crews_the_folder_itself_is_taken(tmp_path: Path) -> None:
    assert Workspace.find(tmp_path).root == tmp_path


def test_own_files_come_before_the_starters(tmp_path: Path) -> None:
    workspace = make(tmp_path, "crews/mine.yaml", "roles/critic.yaml", "tools/own.py", "config/models.yaml")
    assert workspace.role_path("critic") == tmp_path / "roles" / "critic.yaml"
    assert workspace.role_path("writer") == starter() / "roles" / "writer.yaml"
    assert workspace.config_path("models.yaml") == tmp_path / "config" / "models.yaml"
    assert workspace.crew_names()[0] == "mine"
    assert workspace.tool_files()[0] == tmp_path / "tools" / "own.py"
    assert workspace.role_names().count("critic") == 1


def test_nothing_outside_is_reached_by_a_name(tmp_path: Path) -> None:
    workspace = make(tmp_path / "w", "crews/a.yaml", "../secret.yaml", "../secret.py")
    assert workspace.role_path("../../secret") is None
    assert workspace.file("../secret.py") is None
    assert workspace.file(str(tmp_path / "secret.py")) is None


def test_crews_are_found_by_name_and_by_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = ("crews/a.yaml", "crews/a.evals.yaml", "crews/b/config/agents.yaml", "crews/notes/x.txt", "other/c.yaml")
    workspace = make(tmp_path, *files)
    assert workspace.crew_path("a") == tmp_path / "crews" / "a.yaml"
    assert workspace.crew_path("b") == tmp_path / "crews" / "b"
    assert workspace.crew_path("other/c.yaml") == tmp_path / "other" / "c.yaml"
    assert [path.name for path in workspace.own_crews()] == ["a.yaml", "b"]
    monkeypatch.chdir(tmp_path / "other")
    assert workspace.crew_path("c.yaml").name == "c.yaml"


def test_an_unknown_crew_lists_those_there_are(tmp_path: Path) -> None:
    workspace = make(tmp_path, "crews/refunds.yaml")
    with pytest.raises(InputError, match=r'No crew "refund"; did you mean "refunds"\? The crews here are: refunds'):
        workspace.crew_path("refund")


def test_paths_are_shown_from_the_workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    workspace = make(tmp_path / "w", "crews/a.yaml", "../here/b.yaml")
    monkeypatch.chdir(tmp_path / "here")
    assert workspace.shown(tmp_path / "w" / "crews" / "a.yaml") == "crews/a.yaml"
    assert workspace.shown(tmp_path / "here" / "b.yaml") == "b.yaml"
    assert workspace.shown(tmp_path / "else.yaml") == str(tmp_path / "else.yaml")
