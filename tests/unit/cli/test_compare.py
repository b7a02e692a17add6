"""Models compared on the same cases, with scripted models of known quality and cost."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import Collection
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from quarterdeck.errors import ModelError
from quarterdeck.models.catalog import ResolvedModel
from quarterdeck.models.port import ModelReply, ModelRequest, OnText, Usage
from quarterdeck.models.prices import Price, cost
from quarterdeck.testing import ScriptedModel
from quarterdeck.testing.catalog import ScriptedCatalog

CREW = """\
crew: quiz
inputs: {n: {type: integer}}
agents: {a: {role: Clerk, goal: Answer., backstory: You know.}}
tasks: {say: {agent: a, description: "Is {n} even?", expected_output: yes or no.}}
limits: {usd: 0.05}
"""
PRICES = {"small": Price.per_million(1, 1), "large": Price.per_million(10, 10), "free": None}


class Quiz:
    """Answers right, or `wrong` for the numbers given, or fails; always 1,000 tokens."""

    def __init__(self, name: str, wrong: set[int], refused: Collection[int] = (), press_at: int = 0) -> None:
        self.name = name
        self.wrong = wrong
        self.refused = refused
        self.press_at = press_at
        self.billed = False
        self.calls = 0

    async def answer(self, request: ModelRequest, on_text: OnText | None = None) -> ModelReply:
        self.calls += 1
        if self.calls == self.press_at:
            os.kill(os.getpid(), signal.SIGINT)
            await asyncio.sleep(30)
        said = request.messages[-1].content
        number = next(n for n in range(40) if f"Is {n} even?" in said)
        if number in self.refused:
            raise ModelError("no", "refused", billed=self.billed)
        right = "yes" if number % 2 == 0 else "no"
        usage = Usage(900, 100)
        return ModelReply(
            text="perhaps" if number in self.wrong else right,
            usage=usage,
            cost_usd=cost(PRICES[self.name], usage),
            model=request.model,
        )

    async def close(self) -> None:
        pass


class Quizzes(ScriptedCatalog):
    """A catalog of scripted models, each with its own price."""

    def __init__(self, *models: Quiz) -> None:
        super().__init__(ScriptedModel())
        self._models = {model.name: model for model in models}

    def resolve(self, wanted: str = "") -> ResolvedModel:
        if wanted and wanted not in self._models:
            raise ModelError(f"No model {wanted}.", "no_model")
        name = wanted or next(iter(self._models))
        return ResolvedModel(name, "litellm", 32_768, PRICES[name], True)

    def provider(self, model: ResolvedModel | str) -> Any:
        return self._models[model if isinstance(model, str) else model.name]

    def price_of(self, name: str) -> Price | None:
        return PRICES[name]


@pytest.fixture
def quiz(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    (workspace / "crews" / "quiz.yaml").write_text(CREW)
    lines = [
        {"name": f"n{n}", "inputs": {"n": n}, "checks": [{"matches": "^(yes|no)$"}], "tags": ["parity"]}
        for n in range(12)
    ]
    (workspace / "cases.jsonl").write_text("\n".join(map(json.dumps, lines)))

    def use(*models: Quiz) -> Path:
        catalog = Quizzes(*models)
        monkeypatch.setattr("quarterdeck.models.catalog.Catalog", lambda *config, **more: catalog)
        return workspace

    return use


def compare(cli: Any, *more: str) -> Any:
    return cli("models", "compare", "quiz", "--models", "small,large", "--cases", "cases.jsonl", *more)


def test_known_rates_and_costs_are_found(cli: Any, quiz: Any) -> None:
    quiz(Quiz("small", {0, 1, 2, 3, 4, 5}), Quiz("large", {5}))
    done = compare(cli, "--yes", "--repeat", "2", "--json")
    data = json.loads(done.out)
    assert done.code == 0 and data["complete"] and data["runs"] == 48
    small, large = data["models"]
    assert (small["passed"], small["pass_rate"], small["usd"]) == (12, 0.5, "0.024")
    assert (large["passed"], large["usd_a_run"], large["tokens"]) == (22, "0.01", 24_000)
    (pair,) = data["pairs"]
    assert pair["better"] == ["n0", "n1", "n2", "n3", "n4"] and pair["worse"] == [] and len(pair["same"]) == 7
    rate = pair["pass_rate"]
    assert rate["n"] == 12 and rate["mean"] == pytest.approx(5 / 12)
    assert 0.1 < rate["low"] < 5 / 12 < rate["high"] < 0.75 and rate["excludes_zero"] and rate["enough"]
    assert pair["usd_a_run"]["low"] == pytest.approx(0.009) == pair["usd_a_run"]["high"]
    assert {trial["status"] for trial in data["trials"]} == {"succeeded"}
    runs = json.loads(cli("runs", "list", "--limit", "100", "--json").out)
    assert {run["run_id"] for run in runs} == {trial["run_id"] for trial in data["trials"]}


def test_the_report_says_method_n_and_what_failed(cli: Any, quiz: Any) -> None:
    quiz(Quiz("small", {0}, {1}), Quiz("large", {2}))
    out = compare(cli, "--yes").out
    assert out.startswith("24 runs of quiz with small, large: at most $1.20 in all.\n")
    assert "small  10/12   83 %  $0.0009167" in out and "large  11/12   92 %  $0.01 " in out
    assert "small failed: checks 1, model_refused 1" in out
    assert "large against small: 2 cases better, 9 the same, 1 worse" in out
    assert "n = 12, includes 0" in out and "n = 12, excludes 0" in out
    assert "better in: n0, n1" in out and "worse in: n2" in out
    assert "95 %, paired percentile bootstrap over cases, 2,000 resamples, seed 20" in out
    assert max(map(len, out.splitlines())) <= 100


def test_few_cases_are_told_to_be_too_few(cli: Any, quiz: Any) -> None:
    folder = quiz(Quiz("small", {0, 2}), Quiz("large", set()))
    (folder / "cases.jsonl").write_text('{"name": "a", "inputs": {"n": 0}, "checks": [{"contains": "yes"}]}\n')
    out = compare(cli, "--yes").out
    assert "n = 1: too few cases to tell; 10 or more would do" in out and "excludes" not in out


def test_nothing_is_run_without_consent_or_on_a_mistake(cli: Any, quiz: Any) -> None:
    small = Quiz("small", set())
    folder = quiz(small, Quiz("large", set()))
    asked = compare(cli)
    assert asked.code == 2 and "at most $1.20 in all. Nothing was run; agree with --yes" in asked.err
    assert "at most $0.30 in all" in compare(cli, "--limit-usd", "0.3").err
    assert cli("models", "compare", "quiz", "--models", "small", "--cases", "cases.jsonl").code == 2
    unknown = cli("models", "compare", "quiz", "--models", "small,huge", "--cases", "cases.jsonl", "--yes")
    assert unknown.code == 3 and "No model huge. Nothing was run or spent." in unknown.err
    (folder / "cases.jsonl").write_text('{"name": "a", "inputs": {"n": "many"}}\n')
    assert "n: 'many' is no integer" in compare(cli, "--yes").err
    (folder / "cases.jsonl").write_text('{"name": "a", "inputs": {"m": 1}}\n')
    assert "cases.jsonl:1:" in compare(cli, "--yes").err
    assert small.calls == 0


def test_the_total_is_never_passed(cli: Any, quiz: Any) -> None:
    quiz(Quiz("small", set()), Quiz("large", set()))
    done = compare(cli, "--yes", "--limit-usd", "0.09", "--json")
    data = json.loads(done.out)
    spent = sum(Decimal(trial["usd"]) for trial in data["trials"])
    assert not data["complete"] and 0 < data["runs"] < 24 and spent <= Decimal("0.09")
    out = compare(cli, "--yes", "--limit-usd", "0.09").out
    assert "What is left of --limit-usd is less than one run may cost, after " in out and "of 24 runs" in out


def test_failures_that_may_have_been_billed_count_against_the_total(cli: Any, quiz: Any) -> None:
    small, large = Quiz("small", set(), range(12)), Quiz("large", set(), range(12))
    small.billed = large.billed = True
    quiz(small, large)
    data = json.loads(compare(cli, "--yes", "--limit-usd", "0.09", "--json").out)
    assert not data["complete"] and 0 < data["runs"] < 24


def test_ctrl_c_keeps_what_is_done(cli: Any, quiz: Any) -> None:
    quiz(Quiz("small", set(), press_at=4), Quiz("large", set()))
    done = compare(cli, "--yes", "--concurrency", "1")
    assert done.code == 130
    assert "Stopped after 7 of 24 runs; what is done is below and in the journal." in done.out
    assert "small" in done.out and "3/3" in done.out and "4/4" in done.out
    assert len(json.loads(cli("runs", "list", "--status", "succeeded", "--json").out)) == 7


def test_a_guardrail_can_be_a_check(cli: Any, quiz: Any) -> None:
    folder = quiz(Quiz("small", {0}), Quiz("large", set()))
    (folder / "tools" / "parity.py").write_text(
        "from quarterdeck import Rejected\n\n\n"
        "def told(output, evidence):\n"
        '    """Check."""\n'
        '    if output == "perhaps":\n        raise Rejected(f"nothing said about {evidence.inputs[\'n\']}")\n'
        "    return output\n"
    )
    (folder / "cases.jsonl").write_text(
        '{"name": "a", "inputs": {"n": 0}, "checks": [{"guardrail": "tools/parity.py:told"}]}\n'
    )
    data = json.loads(compare(cli, "--yes", "--json").out)
    why = {trial["model"]: trial["why"] for trial in data["trials"]}
    assert why == {"small": ["tools/parity.py:told: nothing said about 0"], "large": []}


def against(cli: Any, run_id: str, *more: str) -> Any:
    return cli(
        "models", "compare", "quiz", "--models", "large", "--cases", "cases.jsonl", "--against", run_id, "--yes", *more
    )


class Obeys(Quiz):
    """Answers right only when its prompt asks for it in so many words."""

    async def answer(self, request: ModelRequest, on_text: OnText | None = None) -> ModelReply:
        asked = any("Answer in one word." in message.content for message in request.messages)
        self.wrong = set() if asked else {0, 1, 2}
        return await super().answer(request, on_text)


def test_a_change_of_the_crew_is_scored_and_told_with_its_diff(cli: Any, quiz: Any) -> None:
    folder = quiz(Obeys("large", set()))
    assert cli("run", "quiz", "--input", "n=7").code == 0
    (first,) = json.loads(cli("runs", "list", "--json").out)
    run_id = first["run_id"]
    same = against(cli, run_id)
    assert same.code == 2 and f"quiz is declared as it was in run {run_id}. Nothing was run." in same.err
    (folder / "crews" / "quiz.yaml").write_text(CREW.replace("goal: Answer.", "goal: Answer in one word."))
    data = json.loads(against(cli, run_id, "--json").out)
    before, now = data["models"]
    assert (before["model"], before["passed"]) == (f"run {run_id}", 9) and data["against"] == run_id
    assert (now["model"], now["passed"]) == ("now", 12) and data["pairs"][0]["better"] == ["n0", "n1", "n2"]
    for asked in ((), (run_id,)):  # without a name it is a run of the comparison, whose crew is the same one
        told = json.loads(cli("prompts", "diff", "quiz", *asked, "--json").out)
        assert "+Your goal: Answer in one word." in told["changes"][0]["diff"]
        (score,) = told["scores"]
        assert (score["score_before"], score["score_now"], score["cases"]) == (0.75, 1.0, 12)
        assert (score["model"], score["run_id"], score["runs"]) == ("large", run_id, 24)
    out = cli("prompts", "diff", "quiz", run_id).out
    assert "score: 0.75 -> 1.00 on 12 cases with large (difference +0." in out and f"run {run_id}, 20" in out
    (folder / "crews" / "quiz.yaml").write_text(CREW.replace("goal: Answer.", "goal: Answer twice."))
    assert "score:" not in cli("prompts", "diff", "quiz", run_id).out  # that change was never scored


def test_only_a_whole_comparison_is_kept(cli: Any, quiz: Any) -> None:
    folder = quiz(Quiz("large", set()))
    cli("run", "quiz", "--input", "n=7")
    run_id = json.loads(cli("runs", "list", "--json").out)[0]["run_id"]
    (folder / "crews" / "quiz.yaml").write_text(CREW.replace("goal: Answer.", "goal: Reply."))
    data = json.loads(against(cli, run_id, "--limit-usd", "0.09", "--json").out)
    assert not data["complete"] and not (folder / "runs" / "comparisons.jsonl").exists()


def test_against_is_refused_before_anything_is_spent(cli: Any, quiz: Any) -> None:
    large = Quiz("large", set())
    folder = quiz(large, Quiz("small", set()))
    cli("run", "quiz", "--input", "n=7")
    run_id = json.loads(cli("runs", "list", "--json").out)[0]["run_id"]
    calls = large.calls
    assert against(cli, "nothing-such").code == 2
    two = against(cli, run_id, "--models", "small,large")
    assert two.code == 2 and "with --against give one" in two.err
    (folder / "crews" / "quiz.yaml").write_text(CREW.replace("{n: {type: integer}}", "{n: {type: string}}"))
    (folder / "cases.jsonl").write_text('{"name": "a", "inputs": {"n": "many"}}\n')
    wrong = against(cli, run_id)
    assert wrong.code == 2 and f'case "a", crew of run {run_id}: ' in wrong.err
    (folder / "crews" / "other.yaml").write_text(CREW.replace("crew: quiz", "crew: other"))
    other = cli(
        "models", "compare", "other", "--models", "large", "--cases", "cases.jsonl", "--against", run_id, "--yes"
    )
    assert other.code == 2 and "is one of the crew quiz, not of other" in other.err
    assert large.calls == calls
