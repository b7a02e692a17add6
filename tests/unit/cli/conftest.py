"""The command line in this process, on a workspace of its own and a scripted model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from quarterdeck.__main__ import main
from quarterdeck.testing import ScriptedModel
from quarterdeck.testing.catalog import ScriptedCatalog


@dataclass(frozen=True, slots=True)
class Answer:
    code: int
    out: str
    err: str


Cli = Callable[..., Answer]


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Cli:
    for variable in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "QUARTERDECK_DATABASE_URL", "QUARTERDECK_DEBUG"):
        monkeypatch.delenv(variable, raising=False)

    def run(*arguments: str) -> Answer:
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            main(arguments)
        said = capsys.readouterr()
        code = end.value.code
        return Answer(code if isinstance(code, int) else 0, said.out, said.err)

    return run


@pytest.fixture
def workspace(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "port"
    assert cli("new", str(folder)).code == 0
    said = folder / "config" / "governance.yaml"
    lines = said.read_text().splitlines(keepends=True)
    kept = [line for line in lines if not line.startswith("trial:")]  # tests of trials ask for one themselves
    assert len(kept) == len(lines) - 1
    said.write_text("".join(kept))
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Callable[[Sequence[Any]], ScriptedModel]:
    """Let every model of the workspace be a scripted one."""

    def use(steps: Sequence[Any], **settings: Any) -> ScriptedModel:
        model = ScriptedModel(steps)
        monkeypatch.setattr(
            "quarterdeck.models.catalog.Catalog", lambda *config, **more: ScriptedCatalog(model, **settings)
        )
        return model

    return use
