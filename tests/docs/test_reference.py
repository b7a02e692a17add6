"""What the pages say of keys, codes and stages is what the code has, so that stale pages fail."""

from __future__ import annotations

import ast
import inspect
import json
import re
import textwrap
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined
from tests.docs.snippets import PAGES, ROOT

from quarterdeck.cli.run import EXIT
from quarterdeck.engine.plan import Step
from quarterdeck.errors import JournalError, LimitName, ModelErrorKind, QuarterdeckError
from quarterdeck.evaluation import cases
from quarterdeck.governance.gate import Gate
from quarterdeck.journal.events import RunStatus
from quarterdeck.models.stack import build_port
from quarterdeck.spec import crew, governance, limits, mcp, memory, models, services
from quarterdeck.tools.loading import tool_files, tool_names

DOCS = ROOT / "docs"
KEYS = [
    ("cost.md", "Case keys", cases.Case),
    ("cost.md", "Check keys", cases.CheckSpec),
    ("crews.md", "Crew keys", crew.CrewSpec),
    ("crews.md", "Input keys", crew.InputSpec),
    ("crews.md", "Agent keys", crew.AgentSpec),
    ("crews.md", "Task keys", crew.TaskSpec),
    ("crews.md", "Begin keys", crew.BeginSpec),
    ("crews.md", "Loop keys", crew.LoopSpec),
    ("crews.md", "Hierarchical keys", crew.DelegationSpec),
    ("crews.md", "Limit keys", crew.Limits),
    ("crews.md", "Scope keys", crew.ScopeSpec),
    ("plans.md", "Plan keys", crew.PlanSpec),
    ("plans.md", "Step keys", Step),
    ("workspace.md", "Role keys", crew.RoleSpec),
    ("memory.md", "Profile keys", memory.MemoryProfile),
    ("memory.md", "Window keys", memory.WindowSpec),
    ("memory.md", "Session keys", memory.SessionSpec),
    ("memory.md", "Long-term keys", memory.LongtermSpec),
    ("memory.md", "Episode keys", memory.EpisodesSpec),
    ("models.md", "Model keys", models.ModelsConfig),
    ("models.md", "Keys of one model", models.ModelEntry),
    ("models.md", "Group keys", models.GroupSpec),
    ("models.md", "Routing keys", models.RoutingSpec),
    ("models.md", "Cache keys", models.CacheSpec),
    ("models.md", "Rate keys", models.RateSpec),
    ("models.md", "Price keys", models.Price),
    ("budgets.md", "Limits file keys", limits.LimitsConfig),
    ("governance.md", "Governance file keys", governance.GovernanceConfig),
    ("governance.md", "Keys of a tool", governance.ToolClass),
    ("governance.md", "Rule keys", governance.PolicyRule),
    ("governance.md", "Trial keys", governance.TrialSpec),
    ("audit.md", "Monitor keys", governance.MonitorSpec),
    ("audit.md", "Audit keys", governance.AuditSpec),
    ("budgets.md", "Budget keys", limits.BudgetSpec),
    ("files.md", "Root keys", governance.RootSpec),
    ("mcp.md", "Servers file keys", mcp.McpConfig),
    ("mcp.md", "Server keys", mcp.ServerSpec),
    ("secrets.md", "Redaction keys", governance.RedactSpec),
    ("web.md", "Services file keys", services.ServicesConfig),
    ("web.md", "Web keys", services.WebSpec),
    ("web.md", "Search keys", services.SearchSpec),
    ("web.md", "API keys", services.ApiSpec),
    ("web.md", "Auth keys", services.AuthSpec),
    ("web.md", "Database keys", services.DatabaseSpec),
    ("web.md", "Query keys", services.QuerySpec),
    ("web.md", "Query parameter keys", services.QueryParameter),
    ("web.md", "Mail keys", services.MailSpec),
    ("web.md", "Slack keys", services.SlackSpec),
]
NEVER_OUTCOMES = {"limit_delegations"}
"""The manager is told so as the result of its call; it ends nothing."""


def rows(page: str, heading: str) -> dict[str, list[str]]:
    """Return the first table below a heading by its first column, without the backticks."""
    text = (DOCS / page).read_text(encoding="utf-8")
    section = re.split(rf"^#+ {re.escape(heading)}$", text, flags=re.MULTILINE)[1]
    section = re.split(r"^#", section, maxsplit=1, flags=re.MULTILINE)[0]
    table = [line for line in section.splitlines() if line.startswith("| `") or line.startswith("| 1 ")]
    cells = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in table]
    return {first.strip("`"): rest for first, *rest in cells}


def numbers(field: FieldInfo) -> set[float]:
    """Return the bounds of a field, those inside `Annotated[...] | None` included."""
    annotated = [field, *(part for part in get_args(field.annotation) if part is not type(None))]
    metadata = [m for part in annotated for m in getattr(part, "metadata", getattr(part, "__metadata__", ()))]
    metadata += [m for item in metadata for m in getattr(item, "metadata", ())]
    found = {getattr(m, key, None) for m in metadata for key in ("ge", "gt", "le", "lt")}
    return {float(number) for number in found if number is not None}


def default_of(field: FieldInfo) -> Any:
    value = field.get_default(call_default_factory=True, validated_data={})
    return list(value) if isinstance(value, tuple) else value


@pytest.mark.parametrize(("page", "heading", "model"), KEYS, ids=[heading for _, heading, _ in KEYS])
def test_every_key_stands_with_its_default_and_bound(page: str, heading: str, model: type[BaseModel]) -> None:
    told = rows(page, heading)
    assert set(told) == set(model.model_fields)
    for key, field in model.model_fields.items():
        meaning, default, bound = told[key]
        assert meaning, key
        value = default_of(field)
        if value is PydanticUndefined:
            assert default == "required", key
        elif value is None:
            assert default.startswith("none"), key
        elif value == "":
            assert default.startswith("empty"), key
        elif not isinstance(value, BaseModel):
            assert f"`{json.dumps(value)}`" in default, key
        stated = {float(number.replace(",", "")) for number in re.findall(r"\d[\d,]*(?:\.\d+)?", bound)}
        assert numbers(field) <= stated, f"{key}: {bound!r} does not name {numbers(field) - stated}"


def test_the_bounds_of_fields_are_found() -> None:
    assert numbers(crew.TaskSpec.model_fields["max_turns"]) == {1, 200}
    assert numbers(crew.Limits.model_fields["usd"]) == {0}
    assert numbers(crew.CrewSpec.model_fields["concurrency"]) == {1, 64}


def codes_in_source() -> set[str]:
    """Return every code that the source gives to an error or an outcome."""
    found: set[str] = {f"model_{kind}" for kind in get_args(ModelErrorKind)}
    found |= {f"limit_{name}" for name in get_args(LimitName)}
    for file in (ROOT / "src" / "quarterdeck").rglob("*.py"):
        if "testing" in file.parts:
            continue
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.keyword) and node.arg == "code" and isinstance(node.value, ast.Constant):
                found.add(str(node.value.value))
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                place = {"Outcome": 1, "TaskResult": 3}.get(node.func.id)
                given = node.args[place] if place is not None and len(node.args) > place else None
                if isinstance(given, ast.Constant):
                    found.add(str(given.value))
    return found


def codes_in_pages() -> set[str]:
    headings = ("success", "limits", "answers and functions", "models")
    told = {code for heading in headings for code in rows("runs.md", f"Codes of {heading}")}
    return told | set(rows("runs.md", "Errors of the journal")) | set(rows("runs.md", "Errors of other commands"))


def test_every_code_is_explained() -> None:
    # `error` and `interrupted` are what a failure without a code, and a run without an end, are called
    extra = {"oscillation", "needs_failed", "error", *_journal_codes()}
    assert codes_in_pages() == ((codes_in_source() | extra) - NEVER_OUTCOMES - {"interrupted"})


def _journal_codes() -> set[str]:
    """Return the codes that the docstring of `JournalError` promises."""
    return set(re.findall(r"`(\w+)`", (JournalError.__doc__ or "").split("code:")[1]))


def test_statuses_and_exit_codes() -> None:
    told = rows("runs.md", "Statuses of a run")
    assert set(told) == {*get_args(RunStatus), "interrupted"}
    assert {status: int(cells[-1]) for status, cells in told.items() if cells[-1]} == EXIT
    others = re.findall(r"^\| (\d+) \|", (DOCS / "runs.md").read_text(), re.MULTILINE)
    errors = {kind.exit_code for kind in _tree(QuarterdeckError)} - set(EXIT.values())
    assert {int(code) for code in others} == errors | {70, 130}


def _tree(kind: type[QuarterdeckError]) -> list[type[QuarterdeckError]]:
    return [kind, *(below for child in kind.__subclasses__() for below in _tree(child))]


@pytest.mark.parametrize(
    ("heading", "function"),
    [("The port: every model call", build_port), ("The gate: every tool call", Gate._stages)],
    ids=["port", "gate"],
)
def test_the_stages_stand_in_their_true_order(heading: str, function: Any) -> None:
    text = (DOCS / "architecture.md").read_text().split(f"## {heading}")[1].split("\n## ")[0]
    told = re.findall(r"^\d+\. `(\w+)`", text, re.MULTILINE)
    made: list[tuple[int, int, str]] = []
    for node in ast.walk(ast.parse(textwrap.dedent(inspect.getsource(function)))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id[0].isupper():
            made.append((node.lineno, node.col_offset, node.func.id))
    assert told == [name for *_, name in sorted(made)]


def test_every_shipped_tool_and_role_is_named() -> None:
    text = (DOCS / "workspace.md").read_text(encoding="utf-8")
    tools = tool_names(tool_files([ROOT / "tools"]))
    assert tools and not [name for name in tools if f"`{name}`" not in text]
    assert not [role.stem for role in (ROOT / "roles").glob("*.yaml") if f"`{role.stem}`" not in text]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
        assert "://" in target or (page.parent / target).exists(), f"{page.name}: {target}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_pages_stay_short(page: Path) -> None:
    assert len(page.read_text(encoding="utf-8").splitlines()) <= 250
