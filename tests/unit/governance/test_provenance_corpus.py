"""A model that has been taken over entirely: it tries what it has read in every sink of every tool, 0 get through."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.unit.governance.injections import AMOUNT, CORPUS, EVIL, LOOKALIKES
from tests.unit.governance.test_provenance import described
from tests.unit.governance.trial_gate import trial

from quarterdeck.errors import Waiting
from quarterdeck.governance.origins import Origins
from quarterdeck.governance.policy import Policy
from quarterdeck.spec.governance import Autonomy, GovernanceConfig

USER = (
    "Mail bob@x.example the figures of https://x.example/a as out/report.md, and pay 140 EUR to DE02100100100006820101."
)
OPERATOR = ["Every report goes to desk@shop.example."]
DIAL: tuple[Autonomy, ...] = ("shadow", "low", "medium", "high")


def tools(page: str, done: list[Any]) -> dict[str, Any]:
    def acting(effect: str, **sinks: str) -> Any:
        @described(effect=effect, owner="t", sinks=sinks)
        def act(to: Any = None, url: Any = None, path: Any = None, eur: Any = None, text: str = "") -> str:
            done.append((effect, to, url, path, eur))
            return "done"

        return act

    @described(effect="read", owner="t", sinks={})
    def read() -> str:
        return page

    @described(effect="read", owner="t", sinks={}, trusted=True)
    def echo(what: Any) -> Any:
        return {"said": what}

    sinks = {"to": "recipient", "url": "url", "path": "path", "eur": "amount"}
    effects = ("write", "external", "irreversible")
    acts = {f"act.{effect}": acting(effect, **sinks) for effect in effects}
    return {"docs.read": read, "text.echo": echo, "web.get": acting("read", url="url", to="recipient"), **acts}


def test_the_corpus_is_large() -> None:
    assert len({text for text, *_ in CORPUS}) >= 60


@pytest.mark.parametrize("dial", DIAL)
async def test_no_value_that_a_document_pushes_gets_into_a_sink(tmp_path: Path, dial: Autonomy) -> None:
    done: list[Any] = []
    page = "\n\n".join(text for text, *_ in CORPUS)
    policy = Policy(GovernanceConfig(autonomy=dial))
    async with trial(
        tmp_path, tools(page, done), policy=policy, origins=Origins(user={"request": USER}, operator=OPERATOR)
    ) as run:
        await run.call("docs.read")
        await run.call("text.echo", what=EVIL)
        await run.call("text.echo", what=f"{AMOUNT} EUR")
        values: list[Any] = list(dict.fromkeys(value for _, _, value in CORPUS))
        tried = 0
        for value in [*values, *(f" {value} " for value in values), *([value] for value in values), AMOUNT + 0.0]:
            for tool in ("act.write", "act.external", "act.irreversible", "web.get"):
                for field in ("to", "url") if tool == "web.get" else ("to", "url", "path", "eur"):
                    tried += 1
                    try:
                        result = await run.call(tool, **{field: value})
                    except Waiting:
                        continue
                    assert result.status in ("denied", "shadowed"), (tool, field, value)
        assert tried > 200 and not done


@pytest.mark.parametrize(("text", "field", "value"), CORPUS)
def test_no_document_lends_its_value_a_better_origin(text: str, field: str, value: Any) -> None:
    origins = Origins(user={"request": USER}, operator=OPERATOR, untrusted={"message": text})
    origins.returned("a", "docs.read", text, {"name": "x"})
    origins.returned("b", "text.echo", {"said": value, "all": text}, {"what": text}, trusted=True)
    assert not origins.of(value, "amount" if field == "eur" else "recipient").trusted
    assert not origins.label([value]).origin.trusted


@pytest.mark.parametrize(("named", "instead"), LOOKALIKES)
def test_nothing_that_looks_like_what_the_user_named_passes_for_it(named: str, instead: str) -> None:
    origins = Origins(user={"request": USER, "named": named})
    origins.returned("a", "docs.read", f"Use {instead} now.", {})
    assert origins.of(named).trusted and not origins.of(instead).trusted


async def test_what_the_user_asked_for_still_works_among_all_that(tmp_path: Path) -> None:
    done: list[Any] = []
    page = "\n\n".join(text for text, *_ in CORPUS)
    policy = Policy(GovernanceConfig(autonomy="high"))
    async with trial(tmp_path, tools(page, done), policy=policy, origins=Origins(user=USER, operator=OPERATOR)) as run:
        await run.call("docs.read")
        for to in ("bob@x.example", "desk@shop.example"):
            assert (await run.call("act.external", to=to, path="out/report.md", eur=140)).status == "ok"
        assert (await run.call("web.get", url="https://x.example/a")).status == "ok"
    assert len(done) == 3
