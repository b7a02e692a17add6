"""What runs cost, as a person and a program see it; health of models; the chart."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from quarterdeck.cli.chart import Bar, bars, svg
from quarterdeck.cli.cost_view import near, seconds, short
from quarterdeck.cli.health import by_model
from quarterdeck.cli.text import exact
from quarterdeck.journal.events import Decision, Event, ModelCalled, ModelFailed, RunEnded
from quarterdeck.journal.run import RunJournal
from quarterdeck.journal.store import Store

SPEC = {"crew": {"agents": {"clerk": {"role": "Harbour clerk"}}}, "model": ""}


def a_call(path: str, usd: str | None = "0.0012", **other: Any) -> ModelCalled:
    values: dict[str, Any] = {
        "model": "openai/gpt-4o-mini-2024-07-18", "prompt_tokens": 1000, "completion_tokens": 100, "seconds": 1.25,
        "cached_tokens": 200, "agent": "clerk", "task": path.split("/")[0],
    }  # fmt: skip
    return ModelCalled(path=path, request_hash="", request={}, reply={}, cost_usd=usd, **{**values, **other})


def a_run(folder: Path, run_id: str, *events: Event, crew: str = "research", tenant: str = "") -> None:
    async def write() -> None:
        with Store.open(f"sqlite:///{folder}/runs/journal.db") as store:
            journal = await RunJournal.start(
                store, crew=crew, spec=SPEC, inputs={}, spec_hash="s", version="0", run_id=run_id, tenant=tenant
            )
            async with journal:
                for event in events:
                    await journal.append(event)
                await journal.end(RunEnded(status="succeeded", code="goal_met"))

    asyncio.run(write())


ROUTE = Decision(
    path="gather/turn-1/route", what="route", why="starts at the first rung", task="gather",
    chosen="openai/gpt-4o-mini-2024-07-18", alternatives=("openai/gpt-4o-mini-2024-07-18", "openai/gpt-4o-2024-08-06"),
)  # fmt: skip
FAILED = ModelFailed(
    path="gather/turn-2", task="gather", agent="clerk", request_hash="", model="openai/gpt-4o-mini-2024-07-18",
    error="busy", error_kind="rate_limited", attempt=1, seconds=0.2,
)  # fmt: skip


@pytest.fixture
def paid(workspace: Path) -> Path:
    a_run(workspace, "one", ROUTE, a_call("gather/turn-1"), FAILED, a_call("gather/turn-2", "0.0013"), tenant="acme")
    a_run(workspace, "two", a_call("report/turn-1", None), crew="other")
    return workspace


def test_all_runs_by_crew_and_an_unknown_price_is_not_zero(cli: Any, paid: Path) -> None:
    done = cli("cost")
    assert done.code == 0 and done.err == ""
    assert done.out.startswith("2 runs since ")
    assert "\n3 calls   1 failed attempt   3.0k tokens in (600 cached)   300 out\n" in done.out
    assert "\ncost unknown for 1 call, $0.0025 for the rest" in done.out
    assert "research      2       1  2.0k     400  200  1.25/1.25/1.25  $0.0025" in done.out
    assert "other         1       0  1.0k     200  100  1.25/1.25/1.25  unknown" in done.out
    assert max(map(len, done.out.splitlines())) <= 80


@pytest.mark.parametrize(
    ("by", "names"),
    [
        ("run", {"one", "two"}),
        ("crew", {"research", "other"}),
        ("role", {"Harbour clerk"}),
        ("agent", {"clerk"}),
        ("model", {"openai/gpt-4o-mini-2024-07-18"}),
        ("task", {"gather", "report"}),
        ("tenant", {"acme", "(none)"}),
        ("decision", {"route openai/gpt-4o-mini-2024-07-18", "(none)"}),
    ],
)
def test_by_anything_and_the_sum_is_the_total(cli: Any, paid: Path, by: str, names: set[str]) -> None:
    data = json.loads(cli("cost", "--by", by, "--json").out)
    assert {group["name"] for group in data["by"][by]} == names
    assert sum(Decimal(group["known_usd"]) for group in data["by"][by]) == Decimal(data["total"]["known_usd"])
    assert data["total"]["usd"] is None and data["total"]["known_usd"] == "0.0025"
    assert cli("cost", "--by", by).code == 0


def test_one_run_with_its_decisions_and_what_routing_saved(cli: Any, paid: Path) -> None:
    out = cli("cost", "one").out
    assert out.startswith("research  run one  succeeded\n2 calls   1 failed attempt")
    assert "route openai/gpt-4o-mini-2024-07-18: starts at the first rung\n    2 calls   2.2k tokens   $0.0025" in out
    # 2 x (800 x 2.5 + 200 x 1.25 + 100 x 10) USD a million tokens
    assert "Routing saved $0.004 against always asking the most expensive model" in out
    assert "2 of 2 routed calls compared; 2 calls in all" in out
    assert "= $0.0065 for the same tokens at the highest price - $0.0025 paid" in out
    data = json.loads(cli("cost", "one", "--json").out)
    assert data["routing"]["saved_usd"] == "0.004" and data["decisions"][0]["usd"] == "0.0025"
    assert set(data["by"]) == {"task", "agent", "model"}
    assert [group["name"] for group in json.loads(cli("cost", "one", "--by", "call", "--json").out)["by"]["call"]] == [
        "one gather/turn-1", "one gather/turn-2",
    ]  # fmt: skip
    assert cli("cost", "two").out.count("unknown") > 1


def test_projection_prints_its_inputs(cli: Any, paid: Path) -> None:
    out = cli("cost", "one", "--volume", "10000").out
    assert "10,000 runs of research would cost $25.00 (95 % interval $25.00 to $25.00)" in out
    assert "= 10,000 x $0.0025, the mean of 1 ended run" in out and "2,000 resamples, seed 20, n = 1" in out
    assert "n = 1 is too few" in out and "of other" not in out
    assert "runs of other would cost an unknown amount" in cli("cost", "--volume", "10").out


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("nope",), 2, "There is no run 'nope'"),
        (("--since", "soon"), 2, "--since soon: write a number"),
        (("--since", "2026-13-99"), 2, "--since 2026-13-99"),
        (("--by", "call"), 2, "quarterdeck cost RUN --by call"),
        (("--svg", "no/such/folder/x.svg"), 2, "cannot be written"),
    ],
)
def test_mistakes_are_one_clear_line(cli: Any, paid: Path, arguments: tuple[str, ...], code: int, said: str) -> None:
    done = cli("cost", *arguments)
    assert done.code == code and said in done.err and len(done.err.splitlines()) == 1


def test_nothing_run_yet(cli: Any, workspace: Path) -> None:
    done = cli("cost")
    assert done.code == 4 and "nothing has been run here yet" in done.err


def test_since_leaves_out_older_runs(cli: Any, paid: Path) -> None:
    assert json.loads(cli("cost", "--since", "2100-01-01", "--json").out)["runs"] == 0
    assert cli("cost", "--since", "2100-01-01").out.splitlines()[1].startswith("0 calls")


def test_svg_is_well_formed_accessible_and_escaped(cli: Any, paid: Path) -> None:
    assert cli("cost", "--by", "model", "--svg", "cost.svg").out.endswith("Chart: cost.svg\n")
    root = ElementTree.parse(paid / "cost.svg").getroot()
    space = "{http://www.w3.org/2000/svg}"
    assert root.get("role") == "img" and root.get("aria-labelledby") == "title desc"
    assert (root.findtext(f"{space}title") or "").endswith("cost in USD by model")
    assert "openai/gpt-4o-mini-2024-07-18: unknown" in (root.findtext(f"{space}desc") or "")
    assert "prefers-color-scheme: dark" in (root.findtext(f"{space}style") or "")
    hostile = svg([Bar('</text><script>"&\x1b\x00\ud800', 1.0, "<b>")], title="<&>", description="]]>")
    parsed = ElementTree.fromstring(hostile)
    assert parsed.findtext(f"{space}title") == "<&>" and parsed.find(f"{space}script") is None


def test_bars_fit_and_are_ascii_where_they_must_be() -> None:
    chart = [Bar("a" * 90, 2.0, "$2.00"), Bar("b", 1.0, "$1.00"), Bar("c", None, "unknown"), Bar("d", 0.0, "$0.00")]
    lines = bars(chart, width=60, unicode=False)
    assert all(line.isascii() and len(line) <= 60 for line in lines)
    assert (
        abs(lines[0].count("#") - 2 * lines[1].count("#")) <= 1
        and lines[1].count("#") > 5
        and "?" in lines[2]
        and "#" not in lines[3]
    )
    assert "\u2588" in bars(chart, width=60)[0]
    assert bars([]) == []


def test_health_of_models(cli: Any, paid: Path) -> None:
    opened = Decision(
        path="gather/turn-3/breaker", what="circuit of openai/gpt-4o-mini-2024-07-18: open", why="5", chosen="open"
    )
    a_run(paid, "three", opened, a_call("a/turn-1", source="cache"))
    out = cli("models", "health", "--since", "1h").out
    assert "openai/gpt-4o-mini-2024-07-18  3      1       1.25   1.25   open" in out
    assert "openai/gpt-4o-mini-2024-07-18 failed: rate_limited 1" in out
    (model,) = json.loads(cli("models", "health", "--json").out)
    assert (model["calls"], model["failures"], model["error_rate"]) == (3, {"rate_limited": 1}, 0.25)
    assert model["breaker"]["state"] == "open" and model["breaker"]["run_id"] == "three"
    assert cli("models", "health", "--since", "2100-01-01").out == "No model was asked in the last 2100-01-01.\n"
    assert by_model([]) == {}


@pytest.mark.parametrize("arguments", [["cost", "one", "--volume", "100"], ["models", "health"]])
def test_no_vendor_is_loaded(paid: Path, arguments: list[str]) -> None:
    program = """
import sys, time
from quarterdeck.__main__ import main
try:
    main(sys.argv[1:])
except SystemExit as end:
    vendors = {"crewai", "litellm", "xllamacpp", "alembic", "rich"} & set(sys.modules)
    print(end.code, time.process_time(), *vendors)
"""
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments], cwd=paid, capture_output=True, text=True, timeout=60
    )
    code, cpu, *vendors = done.stdout.splitlines()[-1].split()
    assert (code, vendors) == ("0", []), done.stdout + done.stderr
    assert float(cpu) < 3 * 0.6  # the figure itself is measured elsewhere; this only catches a slip


@pytest.mark.parametrize(
    ("function", "value", "expected"),
    [
        (exact, Decimal("0.00003910"), "$0.0000391"),
        (exact, Decimal("1234.5"), "$1,234.50"),
        (exact, Decimal("-0.004"), "-$0.004"),
        (exact, Decimal("0E-9"), "$0.00"),
        (exact, Decimal(120), "$120.00"),
        (exact, None, "unknown"),
        (near, 0.000123456, "$0.0001235"),
        (near, 0.00000391, "$0.0000039"),
        (near, -12.345, "-$12.35"),
        (short, 999, "999"),
        (short, 12_345, "12.3k"),
        (short, 3_999_999, "4.0M"),
        (seconds, None, "-"),
        (seconds, 9.999, "10.0"),
        (seconds, 0.123, "0.12"),
        (seconds, 123.4, "123"),
    ],
)
def test_figures(function: Callable[[Any], str], value: Any, expected: str) -> None:
    assert function(value) == expected
