"""`config/limits.yaml`, and every mistake in it with its place."""

from __future__ import annotations

import pytest

from quarterdeck.errors import SpecError
from quarterdeck.spec.check import check_workspace
from quarterdeck.spec.limits import BudgetSpec
from quarterdeck.spec.load import load_limits
from quarterdeck.spec.workspace import Workspace, starter


def write(workspace: Workspace, text: str) -> None:
    (workspace.root / "config").mkdir()
    (workspace.root / "config" / "limits.yaml").write_text(text)


def test_budgets_know_where_they_stand(workspace: Workspace) -> None:
    write(workspace, "budgets:\n  - {usd: 20}\n\n  - {crew: research, per: month, usd: 5, tokens: 1000}\n")
    first, second = load_limits(workspace).budgets
    assert (first.place, second.place) == ("config/limits.yaml:2", "config/limits.yaml:4")
    assert (first.per, second.tokens) == ("day", 1000)


def test_every_mistake_is_told(workspace: Workspace) -> None:
    write(workspace, "budgets:\n  - {usd: -1}\n  - {crew: a b, tokens: 1}\n  - {usd: 1, per: week}\n")
    with pytest.raises(SpecError) as error:
        load_limits(workspace)
    places = [(problem.line, problem.where) for problem in error.value.problems]
    assert places == [(2, "budgets.0.usd"), (3, "budgets.1.crew"), (4, "budgets.2.per")]
    assert set(error.value.problems) <= set(check_workspace(workspace))


def test_a_budget_limits_something_and_stands_once(workspace: Workspace) -> None:
    write(workspace, "budgets:\n  - {crew: a}\n  - {usd: 1}\n  - {tokens: 5}\n  - {usd: 1, per: month}\n")
    with pytest.raises(SpecError) as error:
        load_limits(workspace)
    told = [(problem.line, problem.what) for problem in error.value.problems]
    assert told == [
        (2, "needs usd or tokens; without either it limits nothing"),
        (4, "the same budget stands at config/limits.yaml:3 already; put usd and tokens into one"),
    ]


@pytest.mark.parametrize(
    ("budget", "covered"),
    [
        ({}, True), ({"crew": "research"}, True), ({"crew": "*"}, True), ({"crew": "other"}, False),
        ({"tenant": "acme"}, True), ({"tenant": "bolt"}, False), ({"crew": "research", "tenant": "*"}, True),
        ({"crew": "other", "tenant": "acme"}, False),
    ],
)  # fmt: skip
def test_whom_a_budget_covers(budget: dict[str, str], covered: bool) -> None:
    assert BudgetSpec(usd=1, **budget).covers("research", "acme") is covered


def test_the_shipped_file_limits_nothing(workspace: Workspace) -> None:
    assert load_limits(Workspace(starter())).budgets == () == load_limits(workspace).budgets
