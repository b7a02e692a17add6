"""The time, and reckoning with dates: what a model cannot know, and often gets wrong."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import Field

from quarterdeck.tools.calendar_time import add_to, between, described, parsed, zone_of
from quarterdeck.tools.manifest import tool

__all__ = ["add", "describe", "difference", "now"]

Moment = Annotated[
    str, Field(max_length=64, description="In ISO 8601: 2026-05-01, 2026-05-01T14:30 or 2026-05-01T14:30+02:00.")
]
Zone = Annotated[str, Field(max_length=64, description="A time zone such as Europe/Berlin; for times without one.")]
Count = Annotated[int, Field(ge=-100_000, le=100_000)]
Small = Annotated[int, Field(ge=-10_000_000, le=10_000_000)]


@tool(effect="read", owner="quarterdeck", sinks={}, isolated=False)
def now(zone: Zone = "UTC") -> dict[str, Any]:
    """Return the present time in a time zone, with its weekday and week. Use it before you name a date.

    Args:
        zone: The time zone.

    Returns:
        The moment in ISO 8601, with what is known of its day.
    """
    return described(datetime.now(UTC).astimezone(zone_of(zone)).replace(microsecond=0))


@tool(effect="read", owner="quarterdeck", sinks={}, isolated=False)
def describe(moment: Moment, zone: Zone = "UTC") -> dict[str, Any]:
    """Return weekday, ISO week, day of the year and UTC time of a moment. Use it to look up a date.

    Args:
        moment: The moment.
        zone: Its time zone.

    Returns:
        The moment in ISO 8601, with what is known of its day.
    """
    return described(parsed(moment, zone))


@tool(effect="read", owner="quarterdeck", sinks={}, isolated=False)
def add(
    moment: Moment,
    years: Count = 0,
    months: Count = 0,
    weeks: Count = 0,
    days: Small = 0,
    hours: Small = 0,
    minutes: Small = 0,
    zone: Zone = "UTC",
) -> dict[str, Any]:
    """Add to a moment, or take away with negative numbers. A month later is the same day, or the month's last.

    Args:
        moment: From when.
        years: Calendar years.
        months: Calendar months.
        weeks: Calendar weeks.
        days: Calendar days; the clock shows the same time after them.
        hours: Elapsed hours.
        minutes: Elapsed minutes.
        zone: Its time zone.

    Returns:
        The new moment, as `clock.describe` returns it.
    """
    return described(
        add_to(parsed(moment, zone), months=12 * years + months, days=7 * weeks + days, minutes=60 * hours + minutes)
    )


@tool(effect="read", owner="quarterdeck", sinks={}, isolated=False)
def difference(start: Moment, end: Moment, zone: Zone = "UTC") -> dict[str, Any]:
    """Return how much time lies between two moments, and how many calendar days. Use it to compare dates.

    Args:
        start: The first moment.
        end: The second one; before the first gives negative numbers.
        zone: Their time zone.

    Returns:
        The time between them, and the calendar days.
    """
    return between(parsed(start, zone), parsed(end, zone))
