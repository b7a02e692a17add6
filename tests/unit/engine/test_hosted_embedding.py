"""What a run has a hosted model embed leaves this machine as a prompt does: without secrets and personal data."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path

import pytest
from tests.unit.engine.conftest import MakeCrew

from quarterdeck.models.port import Usage
from quarterdeck.spec.governance import GovernanceConfig
from quarterdeck.testing import ScriptedModel, text

SECRET = "tok-7f3k2q9x8w6v5t4s3r2q1p0o"
MAIL = "ann.miller@port.example"


def test_no_secret_and_no_address_is_embedded(
    make_crew: MakeCrew, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HARBOUR_API_KEY", SECRET)
    (tmp_path / "memory").mkdir()
    (tmp_path / "memory" / "trial.yaml").write_text("longterm: {embedding: openai/emb}\n")
    asked: list[str] = []

    async def embed(texts: Sequence[str]) -> tuple[list[list[float]], Usage, Decimal]:
        asked.extend(texts)
        return [[1.0, 0.0] for _ in texts], Usage(prompt_tokens=3), Decimal("0.001")

    with ScriptedModel([text("Done.")]) as model:
        model.embed = embed  # type: ignore[attr-defined]
        crew = make_crew(
            model,
            {"ask": {"description": "Write to {whom} about {what}."}},
            memory="trial",
            inputs={"whom": {"type": "string"}, "what": {"type": "string"}},
            governance=GovernanceConfig.model_validate({"redact": {"pii": ["email"]}}),
        )
        run = crew.kickoff({"whom": MAIL, "what": f"the key {SECRET}"})
    assert run.status == "succeeded" and asked
    assert not [one for one in asked if MAIL in one or SECRET in one], asked
    assert any("<EMAIL_1>" in one for one in asked)
