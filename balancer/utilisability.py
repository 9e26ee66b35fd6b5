"""Utilisability: the share of a node's CPUs that did useful work or stood ready for it.

openMosix shows 100 per CPU, less while the node waits for its swapped pages, and divides loads by it, so
that a paging node looks as loaded as it is. Here it comes from pressure: the share of time in which
processes stalled on memory.
"""

from __future__ import annotations

KEEP = 3 / 4  # openMosix: E = (3 E + new) / 4, once a second
FLOOR = 0.05  # a node that only pages is 20 times as loaded as it looks, not infinitely


def step(efficiency: float, memory_stall: float) -> float:
    """The filtered efficiency (0.05..1) after one second with `memory_stall` (0..1, PSI "some" for memory)."""
    useful = 1.0 - min(max(memory_stall, 0.0), 1.0)
    return max(FLOOR, KEEP * efficiency + (1 - KEEP) * useful)


def percent(efficiency: float, cpus: float) -> int:
    """As openMosix shows it: 100 for each CPU."""
    return round(100 * efficiency * cpus)
