"""Several versions of a tool side by side, and what `@tool` must agree with."""

from __future__ import annotations

from pathlib import Path

import pytest

from quarterdeck.errors import SpecError
from quarterdeck.spec.crew import AgentSpec
from quarterdeck.tools.loading import Toolbox, check_file, deprecated_tools, tool_files, tool_names
from quarterdeck.tools.manifest import tool
from quarterdeck.tools.signature import tool_from_function
from quarterdeck.tools.versions import order

PAYMENTS = '''
from quarterdeck.tools.manifest import tool

@tool(effect="irreversible", owner="payments", sinks={"eur": "amount"}, deprecated="2026-12-01, use payments.refund@2")
def refund(eur: float) -> str:
    """Refund.

    Args:
        eur: How much.
    """
    return "old"

@tool(name="refund", version="2", effect="irreversible", owner="payments", sinks={}, timeout=5, idempotent=True)
def refund_in_cents(cents: int) -> str:
    """Refund.

    Args:
        cents: How much.
    """
    return "new"

@tool(name="refund", version="10", deprecated="2027-01-01", effect="read", owner="payments", sinks={})
def refund_some_day() -> str:
    """Refund."""
    return "not yet"
'''


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "payments.py").write_text(PAYMENTS)
    return tmp_path


def test_an_agent_pins_one_and_gets_the_newest_without_a_pin(folder: Path) -> None:
    box = Toolbox.load([folder], display_root=folder)
    assert list(box) == ["payments.refund", "payments.refund@1", "payments.refund@10", "payments.refund@2"]
    assert box["payments.refund@1"].function(eur=1.0) == "old"
    assert box["payments.refund"].function(cents=1) == box["payments.refund@2"].function(cents=1) == "new"
    two = box["payments.refund@2"]
    assert (two.name, two.base, two.timeout, two.manifest.version) == ("payments.refund@2", "payments.refund", 5, "2")
    assert two.manifest.effect == "irreversible" and two.manifest.idempotent
    assert AgentSpec(role="a", goal="b", backstory="c", tools=("payments.refund@1",)).tools == ("payments.refund@1",)


def test_a_deprecated_one_is_known_with_its_date_without_being_imported(folder: Path) -> None:
    assert deprecated_tools(tool_files([folder])) == {
        "payments.refund@1": "2026-12-01, use payments.refund@2", "payments.refund@10": "2027-01-01",
    }  # fmt: skip
    assert "payments.refund@2" in tool_names(tool_files([folder]))


def test_two_of_one_version_are_a_problem(folder: Path) -> None:
    (folder / "payments.py").write_text(PAYMENTS.replace('version="10"', 'version="2"'))
    (problem,) = check_file(folder / "payments.py", folder)
    assert "there is a refund@2 already" in problem.what and problem.line > 20


def test_versions_are_sorted_as_people_do() -> None:
    assert sorted(["1.10", "2", "1.9", ""], key=order) == ["", "1.9", "1.10", "2"]


def test_what_is_declared_must_fit_the_function() -> None:
    @tool(effect="write", owner="tests", sinks={"too": "recipient"}, dry_run="preview")
    def send(to: str) -> None:
        """Send.

        Args:
            to: Whom.
        """

    with pytest.raises(SpecError) as wrong:
        tool_from_function(send)
    assert 'sinks names "too", which is no parameter; did you mean "to"?' in str(wrong.value)
    assert "dry_run names no parameter that is true or false" in str(wrong.value)
    with pytest.raises(TypeError):
        tool(efect="read")
