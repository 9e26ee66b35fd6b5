"""Memory of a node and what a shortage costs.

`USABLE` of a node's memory may be filled; above it every process there is slowed by `THRASH` (the factor of
Amir et al.). Bytes throughout.
"""

from __future__ import annotations

USABLE = 0.95
RESERVE = 0.05  # the rest
THRASH = 10.0


def slowdown(used_bytes: float, total_bytes: float) -> float:
    """By how much every process of the node is slowed: 1, or THRASH once memory is short."""
    return THRASH if used_bytes > USABLE * total_bytes else 1.0


def shortage_bytes(used_bytes: float, total_bytes: float) -> float:
    """How much has to leave the node for it to stop thrashing; 0 when nothing has to."""
    return max(0.0, used_bytes - USABLE * total_bytes)


def fits(rss_bytes: float, free_bytes: float, total_bytes: float) -> bool:
    """True when a process of this size leaves the node its reserve (5 %)."""
    return rss_bytes <= free_bytes - RESERVE * total_bytes
