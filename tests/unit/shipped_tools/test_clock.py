"""Dates and times: zones, calendar steps, elapsed hours over changes of the clock."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quarterdeck.errors import ToolError
from quarterdeck.tools.loading import Toolbox

ROOT = Path(__file__).parents[3]
TOOLS = Toolbox.load([ROOT / "tools"], display_root=ROOT)


def call(name: str, **arguments: Any) -> Any:
    return TOOLS[f"clock.{name}"].function(**arguments)


def test_now_is_now_in_the_zone() -> None:
    told = call("now", zone="Asia/Tokyo")
    moment = datetime.fromisoformat(told["moment"])
    assert abs((moment - datetime.now(UTC)).total_seconds()) < 5 and told["moment"].endswith("+09:00")


def test_a_moment_is_described() -> None:
    assert call("describe", moment="2027-01-01T00:30", zone="Europe/Berlin") == {
        "moment": "2027-01-01T00:30:00+01:00",
        "weekday": "Friday",
        "iso_week": "2026-W53",
        "day_of_year": 1,
        "utc": "2026-12-31T23:30:00+00:00",
        "zone": "Europe/Berlin",
    }


@pytest.mark.parametrize(
    ("moment", "step", "wanted"),
    [
        ("2028-01-31", {"months": 1}, "2028-02-29T00:00:00+01:00"),
        ("2028-02-29", {"years": 1}, "2029-02-28T00:00:00+01:00"),
        ("2026-03-31", {"months": -1}, "2026-02-28T00:00:00+01:00"),
        ("2026-12-31", {"days": 1}, "2027-01-01T00:00:00+01:00"),
        # the clock goes forward on 29 March 2026: a day later is the same time, 24 hours later is not
        ("2026-03-28T12:00", {"days": 1}, "2026-03-29T12:00:00+02:00"),
        ("2026-03-28T12:00", {"hours": 24}, "2026-03-29T13:00:00+02:00"),
        ("2026-03-28T02:30", {"days": 1}, "2026-03-29T03:30:00+02:00"),
        ("2026-10-25T02:30", {"minutes": 60}, "2026-10-25T02:30:00+01:00"),
        ("2026-05-01T12:00+00:00", {"weeks": 1}, "2026-05-08T14:00:00+02:00"),
        ("2026-05-01", {}, "2026-05-01T00:00:00+02:00"),
    ],
)
def test_adding(moment: str, step: dict[str, int], wanted: str) -> None:
    assert call("add", moment=moment, zone="Europe/Berlin", **step)["moment"] == wanted


def test_the_difference_is_elapsed_and_calendar_time() -> None:
    told = call("difference", start="2026-03-28T12:00", end="2026-03-29T12:00", zone="Europe/Berlin")
    assert told == {"seconds": 82800, "hours": 23.0, "calendar_days": 1, "elapsed": "0 d 23 h 0 min 0 s"}
    assert call("difference", start="2026-03-02", end="2026-03-01")["elapsed"] == "-1 d 0 h 0 min 0 s"


@pytest.mark.parametrize(
    "zone", ["Europe/Berln", "../../etc/passwd", "/etc/localtime", "", "UTC\0", "a" * 64, "Europe"]
)
def test_a_zone_that_is_none_is_refused(zone: str) -> None:
    with pytest.raises(ToolError, match="no time zone"):
        call("now", zone=zone)


@pytest.mark.parametrize("moment", ["tomorrow", "2026-13-01", "2026-02-30", "", "99999-01-01"])
def test_a_moment_that_is_none_is_refused(moment: str) -> None:
    with pytest.raises(ToolError, match="no moment"):
        call("describe", moment=moment)


@pytest.mark.parametrize("step", [{"years": 100_000}, {"days": -10_000_000}, {"hours": 10_000_000_0}])
def test_what_lies_beyond_the_calendar_is_refused(step: dict[str, int]) -> None:
    with pytest.raises(ToolError, match="9999"):
        call("add", moment="2026-05-01", **step)


@given(st.datetimes(datetime(1971, 1, 1), datetime(2400, 1, 1)), st.integers(-10_000, 10_000))
def test_hours_added_are_hours_elapsed(moment: datetime, hours: int) -> None:
    there = call("add", moment=moment.isoformat(), hours=hours, zone="America/New_York")["moment"]
    told = call("difference", start=moment.isoformat(), end=there, zone="America/New_York")
    assert told["seconds"] == 3600 * hours
