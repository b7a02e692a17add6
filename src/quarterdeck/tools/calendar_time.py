"""Dates and times in time zones: reading, adding, subtracting, describing."""

from __future__ import annotations

import calendar
import re
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from quarterdeck.errors import ToolError
from quarterdeck.spec.problem import did_you_mean

_ZONE = re.compile(r"[A-Za-z][A-Za-z0-9_+-]*(?:/[A-Za-z0-9_+-]+){0,2}")


def zone_of(name: str) -> ZoneInfo:
    """Return a time zone by its name in the IANA database.

    Raises:
        ToolError: There is none of this name.
    """
    try:
        if _ZONE.fullmatch(name):
            return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        pass
    hint = did_you_mean(name[:64], available_timezones()) or "; write one such as Europe/Berlin, or UTC."
    raise ToolError(f'There is no time zone "{name[:64]}"{hint}')


def parsed(moment: str, zone: str) -> datetime:
    """Read a moment in ISO 8601; one without an offset is in the zone.

    Raises:
        ToolError: It is none, or there is no such zone.
    """
    place = zone_of(zone)
    try:
        read = datetime.fromisoformat(moment.strip())
        return read.replace(tzinfo=place) if read.tzinfo is None else read.astimezone(place)
    except (ValueError, OverflowError):
        raise ToolError(f'"{moment[:64]}" is no moment in ISO 8601; write 2026-05-01 or 2026-05-01T14:30.') from None


def add_to(moment: datetime, *, months: int = 0, days: int = 0, minutes: int = 0) -> datetime:
    """Add calendar months and days, then elapsed minutes.

    Raises:
        ToolError: The result is before the year 1 or after 9999.
    """
    try:
        year, month = divmod(moment.year * 12 + moment.month - 1 + months, 12)
        last = calendar.monthrange(year, month + 1)[1]
        local = moment.replace(year=year, month=month + 1, day=min(moment.day, last)) + timedelta(days=days)
        # through UTC: hours are elapsed time, and a time that the clock skips becomes one that it shows
        return (local.astimezone(UTC) + timedelta(minutes=minutes)).astimezone(moment.tzinfo)
    except (ValueError, OverflowError):
        raise ToolError("The result is before the year 1 or after the year 9999.") from None


def between(start: datetime, end: datetime) -> dict[str, Any]:
    """Return the elapsed and the calendar time between two moments."""
    seconds = int((end.astimezone(UTC) - start.astimezone(UTC)).total_seconds())
    sign, rest = ("-" if seconds < 0 else ""), abs(seconds)
    days, hours, minutes = rest // 86400, rest % 86400 // 3600, rest % 3600 // 60
    return {
        "seconds": seconds,
        "hours": round(seconds / 3600, 4),
        "calendar_days": (end.date() - start.date()).days,
        "elapsed": f"{sign}{days} d {hours} h {minutes} min {rest % 60} s",
    }


def described(moment: datetime) -> dict[str, Any]:
    """Return a moment with what a calendar says of it."""
    try:
        utc = moment.astimezone(UTC).isoformat()
    except OverflowError:
        raise ToolError("The moment is too near the end of time.") from None
    year, week, _ = moment.isocalendar()
    return {
        "moment": moment.isoformat(),
        "weekday": calendar.day_name[moment.weekday()],
        "iso_week": f"{year}-W{week:02d}",
        "day_of_year": moment.timetuple().tm_yday,
        "utc": utc,
        "zone": str(moment.tzinfo),
    }
