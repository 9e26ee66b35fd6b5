"""Means, percentiles and confidence intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec

# Two-sided 95 % quantiles of Student's t for 1..30 degrees of freedom.
_T95 = (
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131,
    2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042,
)  # fmt: skip


class Interval(msgspec.Struct, frozen=True):
    """A mean with its 95 % confidence interval over independent seeds."""

    mean: float
    low: float
    high: float
    count: int


def mean(values: Sequence[float]) -> float:
    """The mean; 0 for nothing."""
    return math.fsum(values) / len(values) if values else 0.0


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least `share` (0..1) of the values do not exceed; 0 for nothing."""
    if not values:
        return 0.0
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def interval(values: Sequence[float]) -> Interval:
    """Mean and 95 % interval of independent values."""
    count = len(values)
    middle = mean(values)
    if count < 2:
        return Interval(middle, middle, middle, count)
    deviation = math.sqrt(math.fsum((value - middle) ** 2 for value in values) / (count - 1))
    t = _T95[count - 2] if count - 1 <= len(_T95) else 1.96
    half = t * deviation / math.sqrt(count)
    return Interval(middle, middle - half, middle + half, count)


def ratio_interval(above: Sequence[float], below: Sequence[float]) -> Interval:
    """Ratio of the sums of paired values, with a 95 % interval (jackknife over the pairs)."""
    total_above, total_below = math.fsum(above), math.fsum(below)
    middle = total_above / total_below if total_below else 0.0
    count = len(above)
    if count < 2 or not total_below:
        return Interval(middle, middle, middle, count)
    parts = [(total_above - a) / (total_below - b) for a, b in zip(above, below, strict=True)]
    centre = mean(parts)
    deviation = math.sqrt((count - 1) / count * math.fsum((part - centre) ** 2 for part in parts))
    t = _T95[count - 2] if count - 1 <= len(_T95) else 1.96
    return Interval(middle, middle - t * deviation, middle + t * deviation, count)


def jain(values: Sequence[float]) -> float:
    """Jain's fairness index, 1/n..1."""
    total = math.fsum(values)
    squares = math.fsum(value * value for value in values)
    return total * total / (len(values) * squares) if squares else 1.0
