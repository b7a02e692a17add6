"""Quantiles of measured values, such as the 95th percentile of latencies."""

from __future__ import annotations

from collections.abc import Sequence


def quantile(values: Sequence[float], share: float) -> float | None:
    """Return the value below which a share of all values lies, interpolated between neighbours.

    The same as NumPy's default and type 7 of Hyndman and Fan (1996).

    Args:
        values: In any order.
        share: 0 to 1; 0.95 for the 95th percentile.

    Returns:
        The quantile, or None when there are no values.
    """
    if not values:
        return None
    ordered = sorted(values)
    place = share * (len(ordered) - 1)
    below = int(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (place - below)
