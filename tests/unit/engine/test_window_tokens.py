"""A run's window counts with the tokenizer of the model that answers next."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.unit.engine.conftest import AGENT, MakeCrew
from tests.unit.models import made_gguf

from quarterdeck.engine import prompts
from quarterdeck.journal.events import ModelCalled
from quarterdeck.models.catalog import ResolvedModel
from quarterdeck.testing import ScriptedModel, call, text
from quarterdeck.testing.catalog import ScriptedCatalog

CONTEXT = 10_000


class Weighed(ScriptedCatalog):
    """Models with weights on this machine."""

    weights = ""

    def resolve(self, wanted: str = "") -> ResolvedModel:
        return replace(super().resolve(wanted), weights=self.weights, context=CONTEXT)


def read(number: int) -> str:
    """Read a page.

    Args:
        number: Of the page.
    """
    return " hello" * 1500


@pytest.mark.parametrize(("whole", "summaries"), [(True, 0), (False, 1)])
def test_a_summary_comes_when_the_models_own_count_says_full(
    make_crew: MakeCrew, tmp_path: Path, whole: bool, summaries: int
) -> None:
    file = made_gguf.write(tmp_path / "made.gguf")
    file.write_bytes(file.read_bytes()[: None if whole else 900])
    agents = {"clerk": {**AGENT, "tools": ("pages.read",), "max_tokens": 100}}
    # two pages are 6,600 tokens by the estimate, three 9,900; by the vocabulary three are 4,500
    said: list[Any] = [*(call("pages.read", number=number) for number in (1, 2, 3)), *[text("x")] * summaries]
    with ScriptedModel([*said, text("Done.")]) as model:
        crew = make_crew(model, {"ask": {}}, agents=agents, tools={"pages.read": read})
        crew._catalog = catalog = Weighed(model)
        catalog.weights = str(file)
        result = crew.kickoff()
    asked = [request for request in model.requests if request.messages[0].content.startswith(prompts.SUMMARISE)]
    assert (result.status, len(asked)) == ("succeeded", summaries)
    calls = [row.event for row in crew.store.chain(result.run_id)[0] if isinstance(row.event, ModelCalled)]
    assert whole == (4_500 < calls[-1].window_tokens < 6_500)
