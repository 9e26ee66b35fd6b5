"""The load of this node as openMosix filters it: one number for own use, one to tell others.

Owns the two averages of openmosix.md 13.3: the accumulated load falls at once and rises slowly, the upper
load rises at once and falls slowly and already contains one process more. Pure: samples in, numbers out.
"""

from __future__ import annotations

from omdiscd.core.admin import STANDARD_SPEED

PROCESS_LOAD = 100.0
"""Load of one runnable process on one standard processor."""
_LOWEST_EFFICIENCY = 1.0
_ONE_MORE = 1.02
"""The exported load counts one process more, with a margin of two per cent."""


class NodeLoad:
    """Filters of one node; `sample` once a second. Speeds in openMosix units, loads 100 per process."""

    def __init__(self) -> None:
        self._accumulated = 0.0
        self._upper = 0.0
        self._efficiency = 100.0
        self._cpus = 1
        self._speed = STANDARD_SPEED

    def sample(self, runnable: float, paging_share: float, cpus: int, speed: int) -> None:
        """One second: mean number of runnable processes, and the share (0..1) lost waiting for memory."""
        self._cpus, self._speed = max(1, cpus), max(1, speed)
        load = max(0.0, runnable) * PROCESS_LOAD * STANDARD_SPEED / (self._speed * self._cpus)
        if load <= self._accumulated:
            self._accumulated = load
        else:
            self._accumulated = (5 * self._accumulated + 3 * load) / 8
        self._upper = load if load >= self._upper else (7 * self._upper + load) / 8
        useful = 100.0 * (1.0 - min(max(paging_share, 0.0), 1.0))
        self._efficiency = (3 * self._efficiency + useful) / 4

    @property
    def local(self) -> int:
        """What the node uses about itself and answers to queries; time lost to paging inflates it."""
        return round(self._accumulated * 100.0 / max(self._efficiency, _LOWEST_EFFICIENCY))

    @property
    def exported(self) -> int:
        """What the node tells others: pessimistic, with one more process."""
        one = PROCESS_LOAD * STANDARD_SPEED / (self._speed * self._cpus)
        return round((self._upper + _ONE_MORE * one) * 100.0 / max(self._efficiency, _LOWEST_EFFICIENCY))

    @property
    def utilizability(self) -> int:
        """Share of time that does not go into waiting for swapped pages, in per cent; 100 x cpus is full."""
        return round(self._efficiency * self._cpus)


def shown_load(raw_load: float, yardstick: int) -> int:
    """A raw load in the units people see: as if on the processor of the yardstick."""
    return round(raw_load * yardstick / STANDARD_SPEED)
